"""``magic interleave``: texts and images in turn by a random model, from the command line to the files of the run folder."""

import json
import re
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from magic_cli.cli.main import main
from tests.commands.interleaving import ONCE, files, keep_only, predictions, run, stories, texts, words, write_items  # noqa: F401  fixtures


def test_parts_of_the_command_line_get_a_text_and_an_image(words, tiny_photos, tmp_path, capsys):
    run(
        words,
        "--part",
        "Look, a disc:",
        "--part",
        f"image:{tiny_photos / 'disc.jpg'}",
        "--part",
        "What is it?",
        "--run-dir",
        "out",
    )
    out, err = capsys.readouterr()
    [record] = predictions("out").values()
    [step] = record["steps"]
    assert (
        out.startswith("parts\t")
        and out.endswith(" [images/parts-1.png]\n")
        and step["text"]
        and re.fullmatch(r"magic: 1 text; 1 new in .+ s, .+ s of it loading: .+; run folder: out\n", err)
    )
    assert [list(part)[0] for part in step["parts"]] == ["text", "image", "text"] and len(step["parts"][1]["sha256"]) == 64
    image = Image.open("out/images/parts-1.png")
    assert (image.mode, image.size) == ("RGB", (16, 16)) and "target" not in step
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["identity"]["task"] == "interleave" and set(manifest["models"]) == {"language_model", "vision", "diffusion"}
    assert manifest["sessions"][0]["work"]["images_drawn"] == 1


def test_history_is_the_true_one_or_the_own_one(words, stories, tmp_path):
    keep_only(stories, "walk", "tree")
    run(words, "--items", stories, "run.dir=gt")
    run(words, "--items", stories, "history=self", "run.dir=self")
    gt, own = predictions("gt"), predictions("self")
    for item in ("walk", "tree"):
        assert texts(gt[item])[0] == texts(own[item])[0] and texts(gt[item])[1] != texts(own[item])[1]
    # the own history written down as the true one gives the same second step
    first = own["walk"]["steps"][0]
    answer = [{"text": first["text"]}, {"image": str(tmp_path / "self" / first["image"])}]
    story = {"id": "walk", "steps": [{"parts": first["parts"], "target": answer}, {"parts": [ONCE]}]}
    run(words, "--items", write_items(tmp_path / "own.jsonl", [story]), "run.dir=again")
    again = predictions("again")["walk"]
    assert texts(again)[1] == texts(own["walk"])[1]


def test_context_decides_what_is_seen_of_the_history(words, stories):
    second = {}
    keep_only(stories, "walk")
    for context in ("none", "text", "image", "both"):
        run(words, "--items", stories, f"context={context}", f"run.dir={context}")
        second[context] = texts(predictions(context)["walk"])[1]
        [step, _] = predictions(context)["walk"]["steps"]
        assert ("sha256" in step["target"][1]) == (context in ("image", "both"))  # an image that nobody sees is not read
    assert len({tuple(ids) for ids in second.values()}) == 4


@pytest.mark.parametrize("decoding", ["greedy", "beam", "contrastive", "typical", "top_k", "magic", "rerank"])
def test_every_method_writes(words, decoding, tiny_photos, capsys):
    more = ["decoding.num=2"] if decoding == "rerank" else ["decoding.num_beams=3"] if decoding == "beam" else []
    run(
        words,
        "--part",
        f"image:{tiny_photos / 'sky.jpg'}",
        f"decoding={decoding}",
        *more,
        "run.dir=out",
        "dataset.num_steps=2",
        "history=self",
    )
    assert all(step["text"] and step["image"] for step in predictions("out")["parts"]["steps"])


def test_trace_tells_of_every_token_of_every_answer(words, stories):
    keep_only(stories, "walk", "tell")
    run(words, "--items", stories, "run.dir=out", "run.trace=true", "force_image=first")
    steps = [json.loads(line) for line in Path("out/trace.jsonl").read_text().splitlines()]
    told = [step["choice"] for step in steps if (step["id"], step["answer"]) == ("walk", 2)]
    assert told == texts(predictions("out")["walk"])[1]


def test_page_shows_all_in_order_and_escapes_it(words, stories):
    run(words, "--items", stories, "run.dir=out", status=3)
    page = Path("out/index.html").read_text()
    assert "<h2>sea &amp; &lt;b&gt;sun&lt;/b&gt;</h2>" in page and "<b>sun" not in page and "<script" not in page
    assert page.count("truth</b>") == 5 and page.count('src="data:image/png') >= 8
    assert page.index("They swim.") < page.index("It is late.") < page.index("They run.")
    run(words, "--items", stories, "run.dir=out", "page.kind=links", "page.items=1", status=3)
    page = Path("out/index.html").read_text()
    assert "The first 1 of 4 items." in page and 'src="../photos/sky.jpg"' in page and 'src="data:' not in page
    assert 'src="images/' in page


def test_two_stages_draw_what_was_written(words, stories):
    keep_only(stories, "walk", "tell")
    plain = [*words, "--items", str(stories), "force_image=none"]
    run(plain, "draw_from=answer", "run.dir=out")
    steps = [step for record in predictions("out").values() for step in record["steps"]]
    assert (
        len(steps) == 3
        and all(bool(step["text"]) == bool(step["image"]) for step in steps)
        and any(step["image"] for step in steps)
    )
    before = files("out")
    for name in ("predictions.jsonl", "index.html"):
        (Path("out") / name).unlink()
    run(plain, "draw_from=answer", "run.dir=out", "run.batch_size=1")
    assert predictions("out")["tell"]["text"] == json.loads(before["predictions.jsonl"].splitlines()[1])["text"]


def test_diffusion_model_alone_draws_what_is_told_and_reads_nothing_else(words, stories, monkeypatch, capsys):
    from magic_cli.interleaved import loading

    monkeypatch.setattr(loading, "load_interleaved_model", None)  # nobody may ask for it
    monkeypatch.setattr(loading, "read_causal_model", None)
    told = [*words, "--items", str(stories), "force_image=none", "draw_from=told"]
    run(told, "context=none", "run.dir=none", status=3)
    run(told, "context=text", "run.dir=text", status=3)
    one, other = predictions("none"), predictions("text")
    assert list(one) == ["sea & <b>sun</b>", "walk", "tell"] and {text["text"] for text in one.values()} == {""}
    assert all(step["image"] and step["token_ids"] == [] for record in one.values() for step in record["steps"])
    drawn = lambda record: [step["image_sha256"] for step in record["steps"]]
    assert drawn(one["walk"])[0] == drawn(other["walk"])[0] and drawn(one["walk"])[1] != drawn(other["walk"])[1]
    assert "step 1: its prompt has no text to draw from" in capsys.readouterr().err  # of what an image alone tells
    assert set(json.loads(Path("none/manifest.json").read_text())["models"]) == {"diffusion"}
    before = files("text")
    lines = (Path("text") / "predictions.jsonl").read_text().splitlines(keepends=True)
    (Path("text") / "predictions.jsonl").write_text("".join(lines[:1]))
    run(told, "context=text", "run.dir=text", status=3)
    assert files("text") == before


def test_sweep_over_guidance_and_steps_is_measured_point_by_point(words, stories, tiny_clip_folder, capsys):
    keep_only(stories, "walk")
    clip = ["image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}"]
    sweep = [*words, "--items", str(stories), *clip, "-m", "guidance=1,5", "steps=2,3"]
    run(sweep, "run.objective=fid_image_text")
    err = capsys.readouterr().err
    values = [line.split()[-1] for line in err.splitlines() if line.startswith("magic: fid_image_text ")]
    assert len(values) == 4 and len(set(values)) == 4 and "point 4 of 4: steps=3 guidance=5" in err
    runs = sorted(Path("runs/interleave").iterdir())
    assert len(runs) == 4
    scores = [json.loads((folder / "metrics.json").read_text())["metrics"] for folder in runs]
    assert {f"{next(iter(one.values()))['value']:.4f}" for one in scores} == set(values)
    assert main(["table", "sweep", *map(str, runs), "--metric", next(iter(scores[0])), "--format", "csv"]) == 0
    out = capsys.readouterr().out
    assert all(name in out.splitlines()[0] for name in ("guidance", "steps")) and len(out.splitlines()) >= 5


def test_part_behind_an_address_is_answered_like_a_file(words, tiny_photos, capsys):
    system, photo = fsspec.filesystem("memory"), tiny_photos / "disc.jpg"
    system.pipe("/parts/disc.jpg", photo.read_bytes())
    for place, folder in ((photo, "file"), ("memory://parts/disc.jpg", "away")):
        run(words, "--part", f"image:{place}", "--part", "What is it?", f"run.dir={folder}", "page.kind=embedded")
    [here], [away] = (predictions(folder).values() for folder in ("file", "away"))
    assert texts(here) == texts(away) and away["steps"][0]["parts"][0]["image"] == "memory://parts/disc.jpg"
    assert here["steps"][0]["parts"][0]["sha256"] == away["steps"][0]["parts"][0]["sha256"]
    assert Path("away/index.html").read_text().count("<img") == Path("file/index.html").read_text().count("<img") > 1
    system.rm("/parts", recursive=True)
