"""run.batch_size=auto as its user meets it: the same files, a line that says what was found, and one of what it is not for."""

import json
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from magic_cli.runs.decoder import Decoder
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def manifest(folder) -> dict:
    return json.loads(Path(folder, "manifest.json").read_text())


METHODS = ["magic", "contrastive", "beam", "nucleus", "rerank", "magic_beam"]


def words_of(method) -> list[str]:
    return {"rerank": ["--base", "nucleus", "decoding.num=3"], "magic_beam": ["decoding.num_beams=2", "decoding.k=8"]}.get(
        method, []
    )


@pytest.mark.parametrize("method", METHODS)
def test_batch_that_is_found_changes_no_file(method, tiny_photos, models, device, capsys):
    settings = [word for word in models if not word.startswith("decoding.k=") or method in ("magic", "contrastive")]
    words = ["caption", "--images", str(tiny_photos), "--decoding", method, *settings, *words_of(method), f"run.device={device}"]
    for folder, size in (("auto", "auto"), ("six", "6")):
        assert main([*words, f"run.dir={folder}", f"run.batch_size={size}", "run.cache_images=false"]) == 0
    found = manifest("auto")["batch_size"]
    assert found["chosen"] == 6 and found["bytes_needed"].keys() == {"2", "6"}
    assert "magic: run.batch_size=auto: 6 side by side (6 take " in capsys.readouterr().err
    assert lines("auto/predictions.jsonl") == lines("six/predictions.jsonl")
    [of_auto], [of_six] = (manifest(folder)["sessions"] for folder in ("auto", "six"))
    assert of_auto["work"] == of_six["work"], "the trial is no work of the run"


def test_trial_takes_what_the_dearest_step_of_a_run_would(tiny_photos, models, monkeypatch):
    tried = []

    def counted(decoder, item, number):
        before = decoder.work.counts.copy()
        try_texts(decoder, item, number)
        tried.append((number, decoder.work.counts - before))

    try_texts = Decoder.try_texts
    monkeypatch.setattr(Decoder, "try_texts", counted)
    words = ["caption", "--images", str(tiny_photos), *models, "decoding.beta=0.0001", "run.batch_size=auto"]
    for lazy in ("true", "false"):  # with so small a weight, few candidates can win
        assert main([*words, f"run.lazy={lazy}", f"run.dir={lazy}"]) == 0
    assert [number for number, _ in tried] == [1, 2, 6] * 2
    assert tried[:3] == tried[3:] and "steps_unasked" not in tried[0][1]
    of_lazy, of_all = (manifest(folder)["sessions"][0]["work"]["lm_positions"] for folder in ("true", "false"))
    assert of_lazy < of_all


def test_run_goes_on_with_the_batches_of_its_first_start(tiny_photos, models, capsys):
    words = ["caption", "--images", str(tiny_photos), *models, "run.dir=out", "run.trace=true", "run.batch_size=auto"]
    assert main(words) == 0
    whole = [Path("out", name).read_bytes() for name in ("predictions.jsonl", "trace.jsonl")]
    facts = manifest("out") | {"status": "interrupted"}
    facts["batch_size"]["chosen"] = 3
    Path("out/manifest.json").write_text(json.dumps(facts))
    kept = whole[0].splitlines(keepends=True)[:2]
    Path("out/predictions.jsonl").write_bytes(b"".join(kept))
    capsys.readouterr()
    assert main(words) == 0
    assert "run.batch_size=auto: 3 side by side" in capsys.readouterr().err
    assert Path("out/predictions.jsonl").read_bytes() == whole[0]
    assert main([*words, "run.batch_size=2"]) == 0
    assert "batch_size" not in manifest("out"), "it says what was found for the texts that are asked for"


def test_story_and_retrieval_find_their_batches(tiny_photos, models, tmp_path, capsys):
    photo = str(sorted(tiny_photos.iterdir())[0])
    length = [word for word in models if "decoding_len" not in word]
    story = ["story", "--title", "A red bus", "--image", photo, *length, "decoding.decoding_len=24", "run.batch_size=auto"]
    assert main(story) == 0
    (tmp_path / "captions.json").write_text(json.dumps(["a red bus", "two dogs run", "a plate of food"]))
    clip = [word for word in models if word.startswith(("image_text_model", "run."))]
    retrieved = ["caption", "--images", str(tiny_photos), "--decoding", "clipre", *clip, "decoding.captions_file=captions.json"]
    assert main([*retrieved, "run.batch_size=auto", "run.dir=found"]) == 0
    assert manifest("found")["batch_size"]["chosen"] == 6
    assert capsys.readouterr().err.count("side by side") == 2


@pytest.mark.parametrize("value", ["hot", "7.5", "[1]", "Auto"])
def test_other_words_are_one_line(value, tiny_photos, models, capsys):
    assert main(["caption", "--images", str(tiny_photos), *models, f"run.batch_size={value}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("magic: run.batch_size must be a whole number")
