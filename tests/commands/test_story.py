"""``magic story`` as its user meets it: titles and images in; stories, files and exit status out."""

import gzip
import json
import os
import re
import signal
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from magic_cli.data.stories import read_titles
from tests.commands.test_crash import start, wait, wait_for_lines
from tests.files import lines

OUTPUTS = ("predictions.jsonl", "failures.jsonl", "released_format.json")


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def models(tiny_language_model_folder, tiny_clip_folder):
    return [
        f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}",
        "prompt=null", "run.threads=1",
    ]  # fmt: skip


@pytest.fixture
def guided(models):
    return [*models, "decoding.k=5", "decoding.alpha=0.1", "decoding.beta=2", "decoding.decoding_len=40"]


@pytest.fixture
def titles(tmp_path):
    """Three titles, the first twice, with stories."""
    file = tmp_path / "titles.txt"
    file.write_text("A red bus\tIt drove. It stopped.\nThe dog\tA dog ran. It barked.\nA red bus\tAnother bus came.\n")
    return file


@pytest.fixture
def retrieved(tmp_path, tiny_photos):
    """Four images for one title, two for the other, as `magic retrieve-images query` writes them."""
    photos = sorted(tiny_photos.iterdir())
    queries = {"A red bus": photos[:4], "The dog": photos[4:6]}
    lines = [
        {
            "id": str(i),
            "query": query,
            "images": [{"image": os.path.relpath(p, tmp_path), "id": p.name, "score": 0.3} for p in found],
        }
        for i, (query, found) in enumerate(queries.items())
    ]
    file = tmp_path / "retrieved.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_stories_for_the_best_images_go_to_stdout_and_the_run_folder(titles, retrieved, guided, tiny_photos, capsys):
    assert main(["story", "--titles", str(titles), "--retrieved", str(retrieved), *guided, "run.dir=out"]) == 0
    out, err = capsys.readouterr()
    predictions = lines("out/predictions.jsonl")
    assert [p["id"] for p in predictions] == ["1#1", "1#2", "1#3", "2#1", "2#2", "3#1", "3#2", "3#3"]
    assert [line.split("\t") for line in out.splitlines()] == [[p["title"], p["story"]] for p in predictions]
    assert [Path(p["image"]).name for p in predictions[:3]] == [p.name for p in sorted(tiny_photos.iterdir())[:3]]
    assert len({p["story"] for p in predictions[:3]}) > 1, "stories depend on the image"
    assert predictions[5]["story"] == predictions[0]["story"], "one title and image, one story"
    assert predictions[5]["reference"] == "Another bus came." and predictions[0]["reference"] == "It drove. It stopped."
    assert re.search(r"magic: 8 stories; 8 new in .+ s, .+ s of it loading: .+; run folder: out\n", err)
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["stories_by_rank"] == {"1": 3, "2": 3, "3": 2}
    released = json.loads(Path("out/released_format.json").read_text())["evaluation_result"]
    assert [list(entry["generated_result"]) for entry in released] == [["0", "1", "2"], ["0", "1"], ["0", "1", "2"]]
    first = released[0]["generated_result"]["0"]
    assert first["image_name"] == Path(predictions[0]["image"]).name
    assert (
        first["generated_full_text"]
        == f"{released[0]['prefix_text']} {predictions[0]['story']}"
        == f"A red bus <|endoftext|> {predictions[0]['story']}"
    )
    assert released[1]["reference_continuation_text"] == "A dog ran. It barked."


@pytest.mark.parametrize("method", ["contrastive", "greedy", "beam", "top_k", "nucleus", "typical"])
def test_methods_that_look_at_no_image_write_one_story_a_title(method, titles, models, capsys):
    extra = ["decoding.k=5", "decoding.alpha=0.1"] if method == "contrastive" else []
    assert (
        main(["story", "--titles", str(titles), "--decoding", method, *models, *extra, "decoding.decoding_len=30", "run.dir=out"])
        == 0
    )
    predictions = lines("out/predictions.jsonl")
    assert [p["id"] for p in predictions] == ["1", "2", "3"] and all("image" not in p for p in predictions)
    same = predictions[0]["story"] == predictions[2]["story"]
    assert same == (method not in ("top_k", "nucleus", "typical")), "of two equal titles, samples are drawn for each"
    document = json.loads(Path("out/released_format.json").read_text())
    assert document["decoding_method"] == method and list(document["evaluation_result"][0]["generated_result"]) == ["0"]


def test_repeats_are_the_runs_that_repeat_gives(titles, models, capsys):
    words = ["story", "--titles", str(titles), "--decoding", "nucleus", *models, "decoding.decoding_len=30"]
    assert main([*words, "run.repeats=2", "run.dir=all"]) == 0
    assert main([*words, "run.repeat=2", "run.dir=second"]) == 0
    one, two = (Path("all", f"repeat-{number}", "predictions.jsonl").read_bytes() for number in (1, 2))
    assert one != two and two == Path("second/predictions.jsonl").read_bytes()


def test_batch_size_and_resuming_change_no_story(titles, retrieved, guided, capsys):
    words = ["story", "--titles", str(titles), "--retrieved", str(retrieved), *guided]
    for size in (1, 3):
        assert main([*words, f"run.dir=b{size}", f"run.batch_size={size}"]) == 0
    one, three = ([Path(f"b{size}", name).read_bytes() for name in OUTPUTS] for size in (1, 3))
    assert one == three
    done = Path("b3/predictions.jsonl").read_text().splitlines(keepends=True)
    Path("b3/predictions.jsonl").write_text("".join(done[:2]) + done[2][:20])  # killed in the middle of a line
    assert main([*words, "run.dir=b3", "run.batch_size=3"]) == 0
    assert [Path("b3", name).read_bytes() for name in OUTPUTS] == one
    words[2] = str(titles.with_name("changed.txt"))
    Path(words[2]).write_text(titles.read_text().replace("The dog", "A cat"))
    assert main([*words, "run.dir=b3"]) == 2
    assert "dataset.titles" in capsys.readouterr().err, "another file is another run"


def test_changed_title_is_written_about_again(titles, models, capsys):
    words = ["story", "--titles", str(titles), "--decoding", "greedy", *models, "decoding.decoding_len=20", "run.dir=out"]
    assert main(words) == 0
    titles.write_text(titles.read_text().replace("The dog", "The cat"))
    assert main(words) == 0
    assert "1 title or image has changed since its story was written; the story is written again, 2" in capsys.readouterr().err
    assert sorted((p["id"], p["title"]) for p in lines("out/predictions.jsonl")) == [
        ("1", "A red bus"),
        ("2", "The cat"),
        ("3", "A red bus"),
    ]


def test_people_s_stories_that_come_later_reach_the_finished_run(titles, models, capsys):
    whole = titles.read_text()
    titles.write_text("A red bus\nThe dog\tTold otherwise.\nA red bus\n")
    words = ["story", "--titles", str(titles), "--decoding", "greedy", *models, "decoding.decoding_len=20", "run.batch_size=2"]
    assert main([*words, "run.dir=out"]) == 0
    assert [p.get("reference") for p in lines("out/predictions.jsonl")] == [None, "Told otherwise.", None]
    titles.write_text(whole)
    assert main([*words, "run.dir=out"]) == 0 and main([*words, "run.dir=whole"]) == 0
    assert json.loads(Path("out/manifest.json").read_text())["sessions"][1]["work"] == {}  # nothing was written again
    for name in OUTPUTS:
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.slow
def test_killed_run_ends_byte_identical_to_an_undisturbed_one(tmp_path, titles, retrieved, guided):
    import torch  # noqa: F401 - imported before forking

    titles.write_text("".join(f"The dog\tStory {i}.\n" for i in range(6)))
    guided[-1] = "decoding.decoding_len=24"
    words = ["story", "--titles", str(titles), "--retrieved", str(retrieved), *guided, "run.batch_size=2", "run.trace=true"]
    assert wait(start([*words, "run.dir=whole"])) == 0
    files = (*OUTPUTS, "trace.jsonl")
    expected = [Path("whole", name).read_bytes() for name in files]
    written = []
    for wanted in (1, 5, 9):
        folder = tmp_path / f"killed{wanted}"
        done = folder / "predictions.jsonl"
        pid = start([*words, f"run.dir={folder}"])
        wait_for_lines(done, wanted, pid)
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        written.append(done.read_bytes().count(b"\n"))
        assert wait(start([*words, f"run.dir={folder}"])) == 0
        assert [(folder / name).read_bytes() for name in files] == expected
    assert any(0 < number < 12 for number in written), "a kill hit a run in the middle"


def test_titles_without_image_and_unreadable_images_are_failures_of_their_own(titles, retrieved, guided, tmp_path, capsys):
    titles.write_text(titles.read_text() + "Nobody looked\tA story.\n" + "long " * 60 + "\tStory.\n")
    entries = lines(retrieved)
    (tmp_path / "broken.jpg").write_text("no picture")
    entries[1]["images"][0]["image"] = "broken.jpg"
    entries.append({"id": "x", "query": ("long " * 60).strip(), "images": entries[0]["images"][:1]})
    retrieved.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert main(["story", "--titles", str(titles), "--retrieved", str(retrieved), *guided, "run.dir=out"]) == 3
    err = capsys.readouterr().err
    failures = {f["id"]: f["reason"] for f in lines("out/failures.jsonl")}
    assert failures.keys() == {"2#1", "4#1", "5#1"}
    assert failures["4#1"] == "it has no image" and "decoding.decoding_len=40 counts them" in failures["5#1"]
    assert "no story for 'Nobody looked' (id 4#1): it has no image" in err
    assert [p["id"] for p in lines("out/predictions.jsonl")] == ["1#1", "1#2", "1#3", "2#2", "3#1", "3#2", "3#3"]


def test_one_title_with_one_image_from_the_command_line(guided, tiny_photos, capsys):
    photo = sorted(tiny_photos.iterdir())[0]
    assert (
        main(["story", "--title", "A\tbus, a dog", "--title", "A bus, a dog", "--image", str(photo), *guided, "run.dir=out"]) == 0
    )
    [prediction] = lines("out/predictions.jsonl")
    assert (prediction["id"], prediction["title"]) == ("A bus, a dog#1", "A bus, a dog"), (
        "tabs are spaces, and the same title is told once"
    )
    assert capsys.readouterr().out == f"A bus, a dog\t{prediction['story']}\n"


def test_prompt_template_takes_the_title(models, capsys):
    words = ["story", "--title", "The dog", "--decoding", "greedy", *models, "decoding.decoding_len=20"]
    assert main([*words, "--prompt", "A story of {title}:", "run.dir=a"]) == 0
    assert main([*words, "--prompt", "Two dogs, {title}:", "run.dir=b"]) == 0
    assert lines("a/predictions.jsonl")[0]["token_ids"] != lines("b/predictions.jsonl")[0]["token_ids"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to write about: give --title TEXT"),
        (["--title", " \t"], "the title is empty"),
        (["--title", "a", "--titles", "t.txt"], "--title and --titles cannot be combined: each chooses the titles"),
        (["--title", "a"], "dataset.retrieved is not set"),
        (["--title", "a", "--image", "nowhere.jpg"], "dataset.image=nowhere.jpg: no such file"),
        (["--title", "a", "--image", "b.jpg", "--retrieved", "r.jsonl"], "dataset.image and dataset.retrieved both choose"),
        (["--title", "a", "--image", "b.jpg", "--prompt", "Once"], "must contain {title}"),
        (["--title", "a", "dataset.images_per_title=0"], "dataset.images_per_title must be at least 1, got 0"),
        (["--titles", "none.txt"], "dataset.titles=none.txt: no such file"),
        (["--titles", "none.txt", "dataset.limit=0"], "dataset.limit must be at least 1"),
        (["dataset=photos", "dataset.root=."], "dataset=photos holds images, not titles"),
        (["--experiment", "story_magik"], "did you mean table3/story_magic?"),
        (["task=caption", "--title", "a"], "task=caption"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, message, capsys):
    assert main(["story", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert not Path("runs").exists()


def test_captions_are_not_written_for_titles(capsys):
    assert main(["caption", "dataset=title", "dataset.title=[a]"]) == 2
    assert "dataset=title holds titles, not images" in capsys.readouterr().err


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_title_may_open_with_a_bracket_and_its_file_be_packed(pack, tmp_path):
    (tmp_path / "t").write_bytes(pack(b"[Untitled]\tIt was.\r\nThe end\r\n"))
    first, second = read_titles(tmp_path / "t")
    assert (first.title, first.reference, second.title) == ("[Untitled]", "It was.", "The end")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\tb\nC\td\te\n", "line 2: has 2 tabs"),
        ("A\tb\n\n \tno title\n", "line 3: the title is empty"),
        ('{"title": "a", "id": 1}\n{"title": "b", "id": "1"}\n', "record 2: the id '1' appears twice"),
        ('{"title": "a"}\n{"titel": "b"}\n', "record 2: no title"),
        ('[{"title": "a", "story": 3}]', "record 1: story must be a text, got 3"),
        ("", "no titles found"),
    ],
)
def test_faults_of_a_title_file_name_the_line(text, message, capsys):
    Path("t.txt").write_text(text)
    assert main(["story", "--titles", "t.txt", "--decoding", "greedy"]) == 2
    assert message in capsys.readouterr().err
