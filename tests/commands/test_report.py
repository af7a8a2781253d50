"""magic report from the command line: argv in; a page, stdout, stderr and exit status out."""

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from magic_cli.cli.main import main
from tests.files import written
from tests.hostile_strings import HOSTILE

pytestmark = pytest.mark.usefixtures("in_tmp_path")

QUICK = ("--metrics", "repetition", "bootstrap.samples=50")


def data_of(page, name="data"):
    """What the page's script reads."""
    [block] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', Path(page).read_text(), re.DOTALL)
    return json.loads(block)


@pytest.fixture
def captions(tmp_path):
    """Two files of captions of the same four photos, of which one is not there."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (300, 200), "red").save(tmp_path / "photos" / f"{i}.jpg")
    for name in ("magic", "greedy"):
        records = [
            {
                "id": str(i),
                "image": f"photos/{i}.jpg",
                "caption": f"{name} sees {i} dogs and {i} dogs",
                "references": ["two dogs", "dogs"],
            }
            for i in range(4)
        ]
        written(tmp_path, f"{name}.jsonl", records)
    return ["magic.jsonl", "greedy.jsonl"]


def write_run(folder, predictions, *, identity=None, failures=(), trace=(), settings=None):
    """A run folder as a command leaves it."""
    folder.mkdir()
    written(folder, "predictions.jsonl", predictions)
    written(folder, "failures.jsonl", list(failures))
    if trace:
        written(folder, "trace.jsonl", list(trace))
    written(folder, "settings.yaml", yaml.safe_dump(settings or {"run": {"seed": 0}}))
    sessions = [{"seconds": 2.5, "device": "cpu", "threads": 2, "work": {"texts_encoded": 5}}, {"seconds": 1.0}]
    counts = {
        "planned": len(predictions) + len(failures),
        "predictions": len(predictions),
        "failures": len(failures),
        "skipped": 0,
    }
    manifest = {"identity": identity or {}, "status": "complete", "sessions": sessions, "counts": counts, "models": {}}
    written(folder, "manifest.json", manifest)
    return folder.name


def test_page_holds_captions_scores_pictures_and_tests(captions, capsys):
    assert main(["report", *captions, *QUICK, "--output", "page.html", "picture_side=64"]) == 0
    out, err = capsys.readouterr()
    assert out == "page.html\n" and "4 items by 2 systems" in err
    assert (
        "1 of 4 images cannot be shown (3.jpg: no such file); if they are elsewhere now, name their folder with --images" in err
    )
    data, pictures = data_of("page.html"), data_of("page.html", "pictures")
    assert [system["name"] for system in data["systems"]] == ["magic", "greedy"] and data["noun"] == ["image", "images"]
    item = data["items"][2]
    assert item["texts"] == {"0": "magic sees 2 dogs and 2 dogs", "1": "greedy sees 2 dogs and 2 dogs"}
    assert item["references"] == ["two dogs", "dogs"] and len(item["scores"]["0"]) == len(data["measures"])
    assert pictures[item["image"]]["src"].startswith("data:image/webp;base64,")
    assert [one.get("fault") for one in pictures] == [None, None, None, "no such file"]
    assert data["comparison"]["n"] == 4 and {row["system"] for row in data["comparison"]["rows"]} == {1}
    assert not Path("runs").exists()  # nothing but the page is written


def test_runs_of_different_photos_are_shown_beside_each_other_and_not_tested(captions, tmp_path, capsys):
    written(tmp_path, "other.jsonl", [{"id": "x", "caption": "a dog"}])
    assert main(["report", captions[0], "other.jsonl", *QUICK, "--output", "page.html", "pictures=none"]) == 0
    data = data_of("page.html")
    assert len(data["items"]) == 5 and data["comparison"] == {
        "reason": "magic and other are not captions of the same images (5 images are in one of them only, e.g. '0'); compare what they "
        "share with --common"
    }
    directions = {measure["key"]: measure["higher_is_better"] for measure in data["measures"]}
    assert directions["mean_length"] is None and directions["rep_2"] is False and directions["diversity"] is True


def test_page_that_cannot_be_put_in_its_place_leaves_nothing(captions, tmp_path, capsys):
    (tmp_path / "page.html").mkdir()
    before = sorted(tmp_path.iterdir())
    assert main(["report", *captions, *QUICK, "--output", "page.html"]) == 2
    assert "output=page.html: cannot be written (Is a directory); set output to another file" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_quick_measures_are_those_that_the_files_allow(captions, tmp_path, capsys):
    assert main(["report", *captions, "--output", "a.html", "pictures=none"]) == 0
    assert {"bleu_4", "rouge_l", "cider"} <= {measure["key"] for measure in data_of("a.html")["measures"]}
    written(tmp_path, "bare.jsonl", [{"id": "a", "caption": "a dog"}])
    assert main(["report", "bare.jsonl", "--output", "b.html"]) == 0
    assert "distinct_captions" in {measure["key"] for measure in data_of("b.html")["measures"]}


def test_run_has_settings_work_failures_and_steps(tmp_path, capsys):
    steps = [
        {"id": "a", "step": 0, "choice": 1, "token_ids": [1, 2], "p": [0.5, 0.2], "penalty": [0.1, 0.2], "f": [0.6, 0.4],
         "score": [0, 0], "tokens": ["x", "y"]}
    ]  # fmt: skip
    run = write_run(
        tmp_path / "run",
        [{"id": "a", "caption": "a dog", "token_ids": [1]}, {"id": "b", "caption": "a cat"}],
        identity={"decoding": {"method": "magic", "alpha": 0.1, "beta": 2.0}},
        failures=[{"id": "c", "image": "c.jpg", "reason": "no such file"}],
        trace=steps,
        settings={"decoding": {"alpha": 0.1}, "run": {"seed": 0}},
    )
    assert main(["report", run, *QUICK]) == 0
    assert capsys.readouterr().out == "run/report.html\n"
    [system] = data_of("run/report.html")["systems"]
    assert system["settings"] == {"decoding.alpha": "0.1", "run.seed": "0"} and system["seconds"] == 3.5
    assert system["work"] == {"texts_encoded": 5} and system["machines"] == ["cpu, 2 threads"] and system["starts"] == 2
    assert system["failures"] == [{"id": "c", "image": "c.jpg", "reason": "no such file", "skipped": False}]
    assert system["weights"] == {"alpha": 0.1, "beta": 2.0, "guides": [["beta", 0, "image score"]]}
    traces = data_of("run/report.html", "traces")
    assert traces["traces"][0]["0"][0]["choice"] == [1] and traces["tokens"][0] == {"1": "x", "2": "y"}


def test_scores_of_an_earlier_evaluation_are_shown_too(captions, capsys):
    assert main(["evaluate", captions[0], "--metrics", "rouge_l", "bootstrap.samples=0", "--output", "scores"]) == 0
    written(Path(), "run.jsonl", [])
    folder = Path("run")
    write_run(folder, [{"id": "a", "caption": "a dog", "references": ["the dog"]}])
    assert main(["evaluate", "run", "--metrics", "rouge_l", "bootstrap.samples=0"]) == 0
    assert main(["report", "run", *QUICK]) == 0
    data = data_of("run/report.html")
    assert "rouge_l" in {measure["key"] for measure in data["measures"]} and len(data["measures"]) > 1
    assert main(["evaluate", "run", "--metrics", "rouge_l,mauve", "bootstrap.samples=0"]) == 3
    assert main(["report", "run", *QUICK]) == 0
    assert "mauve" not in capsys.readouterr().err.rpartition("not scored")[2], "nobody asked the page for it"


def test_stories_have_titles_and_the_images_of_their_rank(tmp_path, capsys):
    for name in ("1", "2"):
        Image.new("RGB", (40, 40), "blue").save(tmp_path / f"{name}.png")
    records = [
        {"id": f"5#{rank}", "title_id": "5", "title": "A day", "rank": rank, "image": str(tmp_path / f"{rank}.png"), "story": f"Story {rank}.",
         "reference": "The true one."} for rank in (1, 2)
    ]  # fmt: skip
    trace = [{"id": "5#2", "step": 0, "choice": 1, "tokens": ["x"]}]
    run = write_run(tmp_path / "run", records, trace=trace)
    assert main(["report", run, *QUICK, "image_ranks=[1,2]", "--output", "page.html"]) == 0
    data = data_of("page.html")
    [item] = data["items"]
    assert (
        item["title"] == "A day"
        and item["texts"] == {"0": "Story 1.", "1": "Story 2."}
        and item["references"] == ["The true one."]
    )
    assert item["image"] != item["images"]["1"] and data["noun"] == ["title", "titles"]
    assert [list(of_system) for of_system in data_of("page.html", "traces")["traces"]] == [[], ["0"]]


def test_interleaved_run_shows_history_steps_truth_and_their_scores(tmp_path, capsys):
    for name in ("seen", "drawn", "true"):
        Image.new("RGB", (16, 16), "green").save(tmp_path / f"{name}.png")
    steps = [
        {"parts": [{"text": "Two friends."}, {"image": str(tmp_path / "seen.png")}], "text": "They swim far.", "image": None,
         "target": [{"text": "They swim."}]},
        {"parts": [{"text": "What next?"}], "text": "", "image": "../drawn.png", "image_sha256": "0", "target": [{"image": str(tmp_path / "true.png")}, {"text": "Home."}]},
    ]  # fmt: skip
    record = {"id": "sea", "text": "They swim far.", "history": [{"text": "Before."}], "steps": steps}
    run = write_run(tmp_path / "run", [record])
    assert main(["report", run, "--metrics", "rouge_f", "bootstrap.samples=0"]) == 0
    data = data_of("run/report.html")
    [item] = data["items"]
    first, second = item["steps"]["0"]
    assert item["history"] == [{"text": "Before."}] and first["told"][0] == {"text": "Two friends."}
    assert first["answer"] == [{"text": "They swim far."}] and first["truth"] == [{"text": "They swim."}]
    names = [one["name"] for one in data_of("run/report.html", "pictures")]
    assert [names[part["image"]] for part in (first["told"][1], second["answer"][0], second["truth"][0])] == [
        "seen.png",
        "drawn.png",
        "true.png",
    ]
    assert first["scores"][0] > 0.5 and second["scores"][0] == 0


def test_retrieved_images_are_shown_by_query(tmp_path, capsys):
    Image.new("RGB", (30, 30), "green").save(tmp_path / "a.png")
    (tmp_path / "found").mkdir()
    found = [{"query": "a dog", "images": [{"image": "../a.png", "id": "a", "score": 0.31}]}, {"query": "a cat", "images": []}]
    written(tmp_path / "found", "retrieved.jsonl", found)
    assert main(["report", "found"]) == 0
    data = data_of("found/report.html")
    assert [item["title"] for item in data["items"]] == ["a dog", "a cat"] and data["systems"][0]["overall"] == [
        [0.31, None, None]
    ]
    assert data["items"][0]["found"]["0"] == [{"image": 0, "id": "a", "score": 0.31}]


def test_thumbnails_beside_the_page_are_linked(captions, capsys):
    assert main(["report", *captions, *QUICK, "--output", "deep/page.html", "pictures=links"]) == 0
    linked = [one["src"] for one in data_of("deep/page.html", "pictures") if "src" in one]
    assert len(linked) == 3 and all((Path("deep") / address).is_file() for address in linked)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "systems is empty"),
        (["nothing"], "systems=nothing: no such file or folder"),
        (["."], "no run folder; it holds run: name runs, as in './*'"),
        (["magic.jsonl", "--output", "page.txt"], "output=page.txt: must be the name of a page that ends in .html"),
        (["magic.jsonl", "picture_side=8"], "picture_side must be at least 32, got 8"),
        (["magic.jsonl", "story.jsonl"], "hold different kinds of texts; report them apart"),
        (["magic.jsonl", "found"], "systems=magic.jsonl: holds no retrieved images, and found does"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_reported_is_one_line(captions, tmp_path, capsys, words, message):
    written(tmp_path, "story.jsonl", [{"id": "1", "title": "A day", "story": "It rained."}])
    write_run(tmp_path / "run", [{"id": "a", "caption": "a dog"}])
    (tmp_path / "found").mkdir()
    written(tmp_path / "found", "retrieved.jsonl", [])
    assert main(["report", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_hostile_strings_stay_data(tmp_path, capsys):
    texts = [text for text in HOSTILE if text.strip()]
    records = [{"id": text, "caption": text, "references": [text], "image": text.replace("\0", "")[:100]} for text in texts]
    written(tmp_path, "evil.json", records)
    assert main(["report", "evil.json", *QUICK, "--output", "page.html", "--title", HOSTILE[1]]) == 0
    page = Path("page.html").read_text()
    assert len(re.findall("<script", page, re.IGNORECASE)) == 4 and "onerror=w" not in page.partition("<main")[0]
    assert [item["id"] for item in data_of("page.html")["items"]] == texts
