"""``magic retrieve-images`` as its user meets it: images in, an index, results and a page out."""

import base64
import io
import os
import re
import shutil
import signal
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

from magic_cli.cli.main import main
from tests.commands.test_crash import start, wait, wait_for_lines
from tests.files import lines
from tests.unit.retrieval.conftest import write as features

TITLES = ["a dog on the beach", "the squirrel", "Sky & <sea>"]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".lock"}


class Page(HTMLParser):
    """Collects a page's images and headings, and checks that its tags close."""

    def __init__(self, text):
        super().__init__()
        self.images, self.headings, self._open = [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        elif tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def test_images_that_fit_best_come_first(photos, model, loaded_clip, image_features, tmp_path, capsys):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    assert capsys.readouterr().out == "bank\n"
    words = [word for title in TITLES for word in ("--query", title)]
    assert main(["retrieve-images", "query", *words, *model, "--top-k", "4", "--output", "found"]) == 0
    names = sorted(photo.name for photo in photos.iterdir())
    a, b = (torch.nn.functional.normalize(f, dim=1) for f in (loaded_clip.encode_texts(TITLES), image_features))
    results = lines(tmp_path / "found" / "retrieved.jsonl")
    assert [(r["id"], r["query"]) for r in results] == [(str(i), title) for i, title in enumerate(TITLES, start=1)]
    for result, cosines in zip(results, (a @ b.T).numpy(), strict=True):
        best = np.sort(cosines)[::-1][:4]
        assert [image["score"] for image in result["images"]] == pytest.approx(best, abs=1e-3)  # features are float16
        assert [cosines[names.index(image["id"])] for image in result["images"]] == pytest.approx(best, abs=1e-3)
        assert [image["image"] for image in result["images"]] == [str(photos / image["id"]) for image in result["images"]]
    out = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert out == [[r["query"], i["id"], f"{i['score']:.6f}"] for r in results for i in r["images"]]
    assert main(["retrieve-images", "query", "--query", TITLES[0], *model, "--top-k", "99"]) == 0
    out = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(out) == len(names) and all(len(line) == 2 for line in out)


def test_second_build_changes_nothing_and_a_changed_bank_is_noticed(photos, model, tmp_path, capsys):
    words = ["retrieve-images", "build", "photos", *model]
    assert main(words) == 0
    before = files(tmp_path / "bank")
    assert main(words) == 0
    assert files(tmp_path / "bank") == before
    shutil.copy(photos / "sky.jpg", photos / "sky2.jpg")
    assert main(words) == 2
    assert "index=bank: was built from something else (inputs" in capsys.readouterr().err


def test_unreadable_images_are_listed_and_the_others_are_found(photos, model, tmp_path, capsys):
    (photos / "broken.jpg").write_text("no picture")
    (tmp_path / "list.txt").write_text("\n".join([*(f"photos/{p.name}" for p in sorted(photos.iterdir())), "photos/missing.jpg"]))
    words = ["retrieve-images", "build", "list.txt", *model, "run.batch_size=2"]
    for _ in range(2):  # also when nothing is left to do
        assert main(words) == 3
        err = capsys.readouterr().err
        assert "photos/missing.jpg: no such file" in err and "photos/broken.jpg: UnidentifiedImageError" in err
        assert "6 images in the index, 2 images could not be read" in err
    assert [f["id"] for f in lines(tmp_path / "bank" / "failures.jsonl")] == ["photos/broken.jpg", "photos/missing.jpg"]
    assert len(lines(tmp_path / "bank" / "items.jsonl")) == 6


def test_bank_without_a_readable_image_is_one_line(model, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert main(["retrieve-images", "build", "photos", *model]) == 2
    assert "photos: no images found" in capsys.readouterr().err
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    assert main(["retrieve-images", "build", "photos", *model]) == 3
    assert main(["retrieve-images", "query", "--query", "x", *model]) == 2
    assert "index=bank: holds no image (see its failures.jsonl)" in capsys.readouterr().err


def test_contact_sheet_opens_with_its_thumbnails_inside(photos, model, tmp_path, capsys):
    (tmp_path / "titles.txt").write_text("\n".join(f"{title}\tits story" for title in TITLES))
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    assert main(["retrieve-images", "query", "titles.txt", *model, "--output", "found", "contact_sheet_queries=2"]) == 0
    assert capsys.readouterr().err.endswith("results in found, page: found/contact_sheet.html\n")
    text = (tmp_path / "found" / "contact_sheet.html").read_text()
    page = Page(text)
    assert page.headings == TITLES[:2] and len(page.images) == 6 and "the first 2 of 3 queries" in text
    for source in page.images:
        kind, _, data = source.partition(",")
        assert kind == "data:image/png;base64"  # smaller than a thumbnail, without loss
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == 80
    assert main(["retrieve-images", "query", "titles.txt", *model, "--output", "found", "contact_sheet=links"]) == 0
    page = Page((tmp_path / "found" / "contact_sheet.html").read_text())
    assert "".join(page.headings) == "".join(TITLES) and len(page.images) == 9
    assert all((tmp_path / "found" / unquote(source)).resolve().is_file() for source in page.images)
    assert main(["retrieve-images", "query", "titles.txt", *model, "--output", "found", "contact_sheet=none"]) == 0
    assert not (tmp_path / "found" / "contact_sheet.html").exists()


def test_results_of_another_question_are_not_overwritten(photos, model, tmp_path, capsys, monkeypatch):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    (tmp_path / "titles.txt").write_text("a dog\na cat\n")
    words = ["retrieve-images", "query", "titles.txt", *model]
    assert main([*words, "--output", "found"]) == 0
    results = tmp_path / "found" / "retrieved.jsonl"
    before = results.read_bytes()
    results.write_text("")  # the same question is answered anew
    assert main([*words, "--output", "found", "search.memory_gib=0"]) == 0 and results.read_bytes() == before
    capsys.readouterr()

    def refused(*more):
        with monkeypatch.context() as patch:
            patch.setattr("magic_cli.retrieval.image_index.ImageIndex", lambda *_: pytest.fail("a model was loaded"))
            assert main([*words, "--output", "found", *more]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and results.read_bytes() == before
        return err

    assert refused("--top-k", "2") == (
        "magic: found/retrieved.jsonl: answers another question (top_k 3 -> 2); set --output to another folder, or delete this file\n"
    )
    (tmp_path / "titles.txt").write_text("a dog\na cow\n")
    assert "found/retrieved.jsonl: answers another question (queries " in refused()
    assert main(words) == 0
    (tmp_path / "titles.txt").write_text("a dog\na cat\n")
    assert main(words) == 0
    assert len(list((tmp_path / "runs" / "retrieve-images").iterdir())) == 2, "each question in a folder of its own"
    (tmp_path / "found" / "manifest.json").rename("manifest.json")
    capsys.readouterr()
    assert "found/retrieved.jsonl: exists, but no manifest.json says which query it answers" in refused()
    results.unlink()
    assert main([*words, "--output", "found"]) == 0 and results.read_bytes() == before


def test_results_are_not_written_over_an_index(photos, model, tmp_path, capsys):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    before = files(tmp_path / "bank")
    assert main(["retrieve-images", "query", "--query", "x", *model, "--output", "bank"]) == 2
    assert (
        "bank/manifest.json: does not describe a query, so it belongs to something else and would be overwritten; set --output"
        in capsys.readouterr().err
    )
    assert files(tmp_path / "bank") == before


def test_released_titles_are_cut_as_the_released_code_cuts(photos, model, tmp_path, capsys):
    (tmp_path / "titles.jsonl").write_text('{"id": "a", "title": "the squirrel"}\n{"title": "he squirrel"}\n')
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    scores = {}
    for titles in ("whole", "released"):
        assert main(["retrieve-images", "query", "titles.jsonl", *model, "--output", titles, f"titles={titles}"]) == 0
        scores[titles] = [[image["score"] for image in r["images"]] for r in lines(tmp_path / titles / "retrieved.jsonl")]
    assert [r["id"] for r in lines(tmp_path / "whole" / "retrieved.jsonl")] == ["a", "2"]
    assert [r["query"] for r in lines(tmp_path / "released" / "retrieved.jsonl")] == ["the squirrel", "he squirrel"], (
        "the story has the whole title"
    )
    assert scores["whole"][0] != scores["whole"][1] and scores["released"][0] == scores["whole"][1]


def test_index_of_captions_is_no_index_of_images(tmp_path, capsys):
    features(tmp_path / "bank", np.eye(3, dtype=np.float32), identity={"kind": "texts"})
    assert main(["retrieve-images", "query", "--query", "dog", "--index", "bank"]) == 2
    assert "index=bank: holds texts, not images; name an index that `magic retrieve-images build` made" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_index_is_built_beside_the_features_and_finds_the_same(kind, photos, model, tmp_path, capsys):
    words = [*model, "--kind", kind, "search.nlist=2"]
    assert main(["retrieve-images", "build", "photos", *words]) == 0
    assert len(list((tmp_path / "bank").glob(f"{kind}-*.faiss"))) == 1
    assert "building" in capsys.readouterr().err
    assert main(["retrieve-images", "query", "--query", "x", *words, "--output", "found"]) == 0
    assert main(["retrieve-images", "query", "--query", "x", *model, "--output", "exact"]) == 0
    assert "building" not in capsys.readouterr().err
    assert (tmp_path / "found" / "retrieved.jsonl").read_bytes() == (tmp_path / "exact" / "retrieved.jsonl").read_bytes()


def test_another_model_is_refused(photos, model, tiny_clip_folder, tmp_path, capsys):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    other = shutil.copytree(tiny_clip_folder, tmp_path / "other")
    (other / "extra.json").write_text("{}")
    assert main(["retrieve-images", "query", "--query", "x", *model, "image_text_model.path=other"]) == 2
    assert "index=bank: was built with another image_text_model (files.extra.json" in capsys.readouterr().err


def test_damaged_index_is_refused(photos, model, tmp_path, capsys):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    file = tmp_path / "bank" / "features-00000.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert main(["retrieve-images", "query", "--query", "x", *model]) == 2
    assert "features-00000.bin: is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["build", "photos"], ["query", "--query", "x"]])
def test_index_with_an_empty_features_file_is_refused(words, photos, model, tmp_path, capsys):
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    (tmp_path / "bank" / "features-00000.bin").write_bytes(b"")
    assert main(["retrieve-images", *words, *model]) == 2
    assert re.search(
        r"features-00000.bin: is damaged: it has 0 bytes, and \d+ were written; delete bank and build it again\n$",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "retrieve-images: say what to do: build or query"),
        (["biuld"], "unknown action 'biuld'; did you mean build?"),
        (["action=biuld", "--index", "bank"], "action: did you mean build?"),
        (["build", "--index", "bank"], "nothing to build from"),
        (["build", "photos"], "index is not set"),
        (["query", "--index", "bank"], "nothing to look for"),
        (["build", "nowhere", "--index", "bank"], "nowhere: no such file or folder"),
        (["query", "nowhere.txt", "--index", "bank"], "nowhere.txt: no such file"),
        (["query", "--query", "x", "--index", "bank"], "index=bank: there is no index; build it first"),
        (["query", "--query", "x", "--index", "bank", "--top-k", "0"], "top_k must be at least 1, got 0"),
        (["query", "--query", "x", "--index", "bank", "titles=half"], "titles='half' is unknown"),
        (["query", "--query", "x", "--index", "bank", "search.nprobe=0"], "search.nprobe must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line_before_a_model_loads(words, message, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("magic_cli.models.loading.load_image_text_model", refuse)
    assert main(["retrieve-images", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.slow
def test_killed_build_goes_on_and_ends_byte_identical(photos, model, tmp_path):
    import magic_cli.cli.hydra_app
    import magic_cli.retrieval.image_index  # noqa: F401 - imported before forking

    for number in range(30):
        for photo in ("noise", "disc", "sky"):
            shutil.copy(photos / f"{photo}.jpg", photos / f"{number}-{photo}.jpg")
    (photos / "9-broken.jpg").write_text("no picture")
    words = ["retrieve-images", "build", "photos", *model[:-1]]
    extra = ["run.batch_size=4", "--kind", "ivf", "run.workers=1"]
    assert wait(start([*words, "undisturbed", *extra])) == 3
    expected = files(tmp_path / "undisturbed")
    for batches in (1, 9, 20):
        folder = tmp_path / f"bank{batches}"
        while True:  # until the kill comes in the middle
            pid = start([*words, folder.name, *extra])
            wait_for_lines(folder / "progress.jsonl", batches, pid)
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL and (folder / "progress.jsonl").exists():
                break
            shutil.rmtree(folder)
        assert wait(start([*words, folder.name, *extra])) == 3
        found = files(folder)
        assert found.keys() == expected.keys()
        # the index file's description tells how long it took
        assert {n: d for n, d in found.items() if not n.startswith("ivf-") or n.endswith(".faiss")} == {
            n: d for n, d in expected.items() if not n.startswith("ivf-") or n.endswith(".faiss")
        }
