"""VIST, MMDialog and CC3M, from the owners' and the released files to written texts, drawn images and their scores."""

import json
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from tests.commands.interleaving import predictions, words  # noqa: F401  a fixture
from tests.files import lines
from tests.interleaved_files import TURNS, cc3m_table, mmdialog, vist_official, vist_released

FORMATS = {
    "vist": (vist_released, "annotations", ["dataset.steps=last"], ["40470"], ["40471"]),
    "vist_official": (vist_official, "annotations", ["dataset.tasks=[multimodal]", "dataset.steps=last"], ["40470"], []),
    "mmdialog": (
        lambda folder: mmdialog(folder, TURNS[1:4], [*TURNS[2:4], ("gone", "-1")]),
        "conversations",
        [],
        ["0", "1"],
        ["1_2"],
    ),
    "cc3m": (cc3m_table, "captions", [], ["cc3m_0", "cc3m_1"], []),
}


@pytest.mark.parametrize("name", FORMATS)
def test_data_set_is_written_drawn_and_scored(name, words, tmp_path, tiny_clip_folder, capsys):
    make, setting, more, written, left_out = FORMATS[name]
    (tmp_path / "data").mkdir()
    file = make(tmp_path / "data")
    run = [
        *words,
        "--dataset",
        name.partition("_")[0],
        f"dataset.{setting}={file}",
        *more,
        "prompt.system=Tell:",
        "decoding.decoding_len=200",
    ]
    assert main([*run, "run.dir=out"]) == (3 if left_out else 0)
    assert list(predictions("out")) == written and [failure["id"] for failure in lines("out/failures.jsonl")] == left_out
    if name == "cc3m":
        assert main([*run, "run.dir=again"]) == 0
        assert Path("out/predictions.jsonl").read_bytes() == Path("again/predictions.jsonl").read_bytes()
    clip = ["image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}", "bootstrap.samples=0"]
    names = {
        "cc3m": "clip_i,clip_t,fid_image_text",
        "mmdialog": "clip_i,bleu_words,rouge_f,mm_relevance_minigpt5,mm_relevance_mmdialog",
    }.get(name, "clip_i,clip_t")
    assert main(["evaluate", "out", "--metrics", names, *clip]) == 0
    scores = json.loads(Path("out/metrics.json").read_text())
    assert scores["n"] == len(written) and all(measure["value"] is not None for measure in scores["metrics"].values())


def test_experiments_of_the_four_contexts_differ_in_what_is_seen(words, tmp_path):
    file = vist_released(tmp_path)
    seen = {}
    for context in ("none", "text", "image", "both"):
        run = [
            *words,
            "--experiment",
            f"minigpt5/vist_{context}",
            f"dataset.annotations={file}",
            "prompt.system=Tell:",
            "decoding.decoding_len=200",
            f"run.dir={context}",
        ]
        assert main(run) == 3  # a story lacks its photos
        seen[context] = predictions(context)["40470"]["steps"][0]["image_sha256"]
    assert len(set(seen.values())) == 4 and None not in seen.values()
