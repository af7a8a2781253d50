"""``magic interleave``: texts and images in turn by a random model, from the command line to the files of the run folder."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magic_cli.cli.main import main

ONCE = {"text": "What next?", "once": True}


@pytest.fixture
def words(interleaved_folder, tmp_path, monkeypatch):
    """A command in an empty folder: the random model, short answers, few steps, an image in each answer."""
    monkeypatch.chdir(tmp_path)
    parts = [f"interleaved_model.{part}.path={interleaved_folder / part}" for part in ("language_model", "vision", "diffusion")]
    shape = [
        "interleaved_model.vokens=null",
        "interleaved_model.mapper.layers=1",
        "interleaved_model.mapper.heads=2",
        "interleaved_model.mapper.queries=6",
    ]
    return [
        "interleave",
        *parts,
        *shape,
        "decoding.decoding_len=120",
        "max_new_tokens=12",
        "steps=3",
        "run.threads=1",
        "force_image=last",
    ]


@pytest.fixture
def stories(tiny_photos, tmp_path):
    """Three stories of two or three steps with true answers, one item without, and one that cannot be read."""
    photos = tmp_path / "photos"
    shutil.copytree(tiny_photos, photos)
    target = lambda text, name: [{"text": text}, {"image": f"photos/{name}.jpg"}]
    records = [
        {"id": "sea & <b>sun</b>", "steps": [{"parts": [{"text": "Draw:", "once": True}, {"text": "A dog"}], "target": target("They swim.", "sky")},
                                             {"parts": [ONCE], "target": target("It is late.", "sunset")}, {"parts": [ONCE]}]},
        {"id": "walk", "steps": [{"parts": [{"text": "Two dogs"}], "target": target("They run.", "disc")}, {"parts": [ONCE], "target": target("End.", "noise")}]},
        {"id": "tell", "parts": [{"text": "Look at"}, {"image": "photos/stripes.jpg"}, {"text": "and tell."}]},
        {"id": "lost", "parts": [{"image": "photos/lost.jpg"}]},
        {"id": "tree", "steps": [{"parts": [{"image": "photos/gradient.jpg"}], "target": target("A tree.", "sky")}, {"parts": [ONCE]}]},
    ]  # fmt: skip
    return write_items(tmp_path / "stories.jsonl", records)


def write_items(file, records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def keep_only(file, *ids):
    write_items(file, [record for record in map(json.loads, file.read_text().splitlines()) if record["id"] in ids])


def run(words, *more, status=0):
    assert main([*words, *map(str, more)]) == status


def predictions(folder):
    return {one["id"]: one for one in map(json.loads, (Path(folder) / "predictions.jsonl").read_text().splitlines())}


def files(folder):
    """Everything that must not depend on interruptions."""
    folder = Path(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name not in ("manifest.json", "settings.yaml", ".lock")}  # fmt: skip


def pixels(folder, prediction):
    return [np.asarray(Image.open(Path(folder) / step["image"]), dtype=int) for step in prediction["steps"]]


def texts(prediction):
    return [step["token_ids"] for step in prediction["steps"]]


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


def test_stories_are_the_same_bytes_when_run_again(words, stories, capsys):
    for folder in ("a", "b"):
        run(words, "--items", stories, f"run.dir={folder}", status=3)
    assert files("a") == files("b") and len(files("a")) == 3 + 8
    assert "magic: no text for lost: " in (err := capsys.readouterr().err) and "photos/lost.jpg: no such file" in err
    assert re.search(r"magic: 4 texts with images, 1 item could not be written; 4 new in .+ s.*; run folder: b\n$", err)
    assert [len(one["steps"]) for one in predictions("a").values()] == [3, 2, 1, 2]
    before = files("a")
    run(words, "--items", stories, "run.dir=a", status=3)  # nothing is left to do
    assert files("a") == before and "language_model" not in json.loads(Path("a/manifest.json").read_text())["sessions"][1]


def test_neither_order_nor_batch_changes_an_item(words, stories, tmp_path):
    run(words, "--items", stories, "history=self", "run.dir=a", status=3)
    records = [json.loads(line) for line in stories.read_text().splitlines()]
    backwards = write_items(tmp_path / "backwards.jsonl", records[::-1])
    run(words, "--items", backwards, "history=self", "run.dir=b", "run.batch_size=2", status=3)
    one, other = predictions("a"), predictions("b")
    assert one.keys() == other.keys() and list(one) == list(other)[::-1]
    for item in one:
        assert texts(one[item]) == texts(other[item])
        for drawn, again in zip(pixels("a", one[item]), pixels("b", other[item]), strict=True):
            assert np.abs(drawn - again).max() <= 1  # of 256 levels: float32 rounds otherwise beside other rows


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


def test_another_seed_draws_anew_and_its_runs_have_their_own_folders(words, capsys):
    run(words, "--part", "A dog", "run.repeats=2", "run.dir=out", "decoding=greedy")
    one, two = (predictions(f"out/repeat-{n}")["parts"] for n in (1, 2))
    assert texts(one) == texts(two) and one["steps"][0]["image_sha256"] != two["steps"][0]["image_sha256"]


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


def test_method_that_looks_at_an_image_says_so_where_there_is_none(words, capsys):
    run(words, "--part", "A dog", "decoding=magic", "run.dir=out", status=3)
    assert (
        "magic: no text for parts: step 1: decoding=magic looks at the last image before the answer, and there is none\n"
        in capsys.readouterr().err
    )


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


def test_changed_files_are_written_again_and_nothing_else_is(words, stories, tiny_photos, tmp_path, capsys):
    run(words, "--items", stories, "run.dir=out", status=3)
    before, old = files("out"), predictions("out")
    shutil.copy(tiny_photos / "noise.jpg", tmp_path / "photos" / "disc.jpg")  # the past of walk's second step
    (tmp_path / "out" / old["tree"]["steps"][0]["image"]).unlink()
    (tmp_path / "out" / "images" / "left-over-1.png").write_bytes(b"from a killed start")
    capsys.readouterr()
    run(words, "--items", stories, "run.dir=out", status=3)
    assert "magic: 2 items have changed since they were written and are written again, e.g. walk" in capsys.readouterr().err
    new = predictions("out")
    assert {item for item in old if old[item] != new[item]} == {"walk"} and texts(new["walk"])[1] != texts(old["walk"])[1]
    assert files("out").keys() == before.keys() and texts(new["walk"])[0] == texts(old["walk"])[0]


def test_true_answers_that_nobody_looked_at_are_brought_up_to_date(words, stories):
    run(words, "--items", stories, "run.dir=out", "history=self", status=3)
    old = predictions("out")
    records = [json.loads(line) for line in stories.read_text().splitlines()]
    records[1]["steps"][0]["target"][0]["text"] = "They sleep."
    run(words, "--items", write_items(stories, records), "run.dir=out", "history=self", status=3)
    new = predictions("out")
    assert new["walk"]["steps"][0]["target"][0] == {"text": "They sleep."} and texts(new["walk"]) == texts(old["walk"])
    assert json.loads(Path("out/manifest.json").read_text())["sessions"][1].get("work", {}) == {}


def test_item_that_is_gone_is_kept_aside_with_its_images(words, stories):
    run(words, "--items", stories, "run.dir=out", status=3)
    before, lines = files("out"), stories.read_text().splitlines(keepends=True)
    stories.write_text("".join(lines[:1] + lines[2:]))
    run(words, "--items", stories, "run.dir=out", status=3)
    assert "walk" not in predictions("out") and (Path("out") / "images" / "walk-2.png").is_file()
    stories.write_text("".join(lines))
    run(words, "--items", stories, "run.dir=out", status=3)
    assert files("out").keys() - {"dropped.jsonl"} == before.keys() and predictions("out").keys() == predictions("out").keys()
    assert (
        texts(predictions("out")["walk"])
        and json.loads(Path("out/manifest.json").read_text())["sessions"][2].get("work", {}) == {}
    )


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
    assert "step 1: is told no text to draw from" in capsys.readouterr().err  # of what an image alone tells
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


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "nothing to go on: give --part TEXT and --part image:FILE, or --items FILE (see magic interleave --help)"),
        (["--part", "A dog", "--items", "a.jsonl"], "--part and --items cannot be combined: each chooses the items"),
        (["--items", "a.jsonl"], "dataset.items=a.jsonl: no such file"),
        (["--part", "A dog", "scheduler=foo"], "scheduler: allowed: pndm, ddim, ddpm, euler, dpm_solver, got 'foo'"),
        (["--part", "A dog", "guidance=-1"], "guidance must be at least 1, got -1.0"),
        (["--part", "A dog", "guidance=nan"], "guidance must be"),
        (["--part", "A dog", "steps=100000"], "steps must be in [1, 1000], got 100000"),
        (
            ["--part", "A dog", "steps=1000", "scheduler=ddim"],
            "steps=1000: scheduler=ddim draws in fewer than 1000 steps with this model; lower it",
        ),
        (["--part", "A dog", "force_image=true"], "force_image: allowed: none, first, last, got 'True'"),
        (
            ["--part", "A dog", "max_new_tokens=4"],
            "max_new_tokens=4: an image takes 4 tokens, and force_image=last wants one; raise it",
        ),
        (
            ["--part", "A dog", "decoding=zerocap", "decoding.step_size=1"],
            "decoding=zerocap reads no prompts with images; name another method, such as nucleus",
        ),
        (["--part", "A dog", "run.objective=clip_i"], "run.objective=clip_i: no step of dataset=parts has a true image; give"),
        (
            ["--part", "A dog", "run.objective=bleu_words_1"],
            "run.objective=bleu_words_1: no step of dataset=parts has a true text",
        ),
        (["--part", "A dog", "run.objective=cider"], "run.objective=cider: no step of dataset=parts has a true text"),
        (["--part", "A dog", "run.objective=clip_j"], "run.objective=clip_j: no such measure; did you mean clip_t"),
        (["--part", "A dog", "draw_from=text"], "draw_from: allowed: vokens, answer, told, got 'text'"),
        (["--part", "A dog", "draw_from=told"], "force_image=last: with draw_from=told each text gets its image"),
        (["dataset=files", "dataset.paths=[a.jpg]"], "dataset=files holds no texts and images in turn; give --part or --items"),
        (["--part", "A dog", "prompt.template=hello"], "prompt.template='hello': must hold {parts} once"),
        (["--part", "A dog", "task=caption"], "task=caption: this is `magic interleave`"),
        (["--part", "A dog", "interleaved_model.vokens=nowhere"], "interleaved_model.vokens=nowhere: no such folder"),
        (["--part", "A dog", "interleaved_model=big"], "interleaved_model=big is unknown"),
    ],
)
def test_careless_use_is_one_line_and_status_2(words, more, told, capsys):
    run(words, *more, status=2)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and told in err


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"parts": [{"text": "A [IMG0] dog"}]}, "step 1: a text holds '[IMG0]', which stands for an image; take it out"),
        ({"parts": [{"text": "dog " * 200}]}, "leaves no room for an answer in decoding.decoding_len=120; shorten it"),
        (
            {"steps": [{"parts": [{"text": "a"}]}, {"parts": []}]},
            "step 1 has no target, which history=gt puts before the next step; give it one, or set history=self",
        ),
        ({"parts": [{"image": "text.jpg"}]}, "text.jpg: UnidentifiedImageError"),
    ],
)
def test_item_that_cannot_be_written_stops_no_other(words, record, reason, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    items = write_items(tmp_path / "items.jsonl", [record, {"id": "fine", "parts": [{"text": "A dog"}]}])
    run(words, "--items", items, "run.dir=out", status=3)
    assert list(predictions("out")) == ["fine"]
    [failure] = map(json.loads, Path("out/failures.jsonl").read_text().splitlines())
    assert failure["id"] == "1" and reason in failure["reason"]
    assert f"magic: no text for 1: {failure['reason']}" in capsys.readouterr().err


def test_missing_extra_is_one_line_that_says_what_to_install(words, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    run(words, "--part", "A dog", status=2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "pip install" in err and "interleaved" in err
