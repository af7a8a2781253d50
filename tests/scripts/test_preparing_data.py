"""The prepare scripts on archives of the official names and sizes, from folders and from a server on this machine."""

import csv
import email.message
import functools
import http.client
import http.server
import importlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from magic_cli.cli.main import main

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SPLITS = {
    "coco": {"train": 82_783, "val": 5_000, "test": 5_000, "restval": 30_504},
    "flickr30k": {"train": 29_000, "val": 1_014, "test": 1_000},
}


def prepare(name, *words, cwd):
    command = [sys.executable, str(SCRIPTS / f"prepare_{name}.py"), *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | {"NO_PROXY": "127.0.0.1"}, capture_output=True, text=True, timeout=100
    )


def dataset(name, **changed):
    """Karpathy's file: as many images a split as his, or as ``changed`` says."""
    folder = {"filepath": "val2014"} if name == "coco" else {}
    sizes = SPLITS[name] | changed
    images = ((f"{split}{i}.jpg", split) for split, size in sizes.items() for i in range(size))
    return {"images": [{**folder, "split": split, "filename": file, "sentences": [{"raw": "a"}] * 5} for file, split in images]}


def archives(folder, name, document, *, images=None):
    """caption_datasets.zip, and the images of val and test in the archive of their name."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "caption_datasets.zip", "w") as archive:
        archive.writestr(f"dataset_{name}.json", json.dumps(document))
        archive.writestr("dataset_flickr8k.json", "{}")
    names = [image["filename"] for image in document["images"] if image["split"] in ("val", "test")][:images]
    if name == "coco":
        with zipfile.ZipFile(folder / "val2014.zip", "w") as archive:
            archive.writestr("val2014/", "")
            for file in names:
                archive.writestr(f"val2014/{file}", "x")
        return
    with tarfile.open(folder / "flickr30k-images.tar.gz", "w:gz") as archive:
        for file in names:
            member = tarfile.TarInfo(f"flickr30k-images/{file}")
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))


@pytest.fixture(scope="module")
def flickr30k(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flickr30k")
    archives(folder, "flickr30k", dataset("flickr30k"))
    return folder


@pytest.mark.slow
def test_coco_is_unpacked_where_its_dataset_expects_it(tmp_path):
    archives(tmp_path / "downloads", "coco", dataset("coco"))
    result = prepare("coco", "--from", "downloads", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "train 82783, val 5000, test 5000, restval 30504; the 10000 images of val and test" in result.stdout
    assert (tmp_path / "data/coco/dataset_coco.json").is_file() and (
        tmp_path / "data/coco/val2014/test4999.jpg"
    ).read_text() == "x"
    (tmp_path / "data/coco/val2014/test7.jpg").write_text("")
    (tmp_path / "data/coco/val2014/test8.jpg").unlink()
    assert prepare("coco", "--from", "downloads", cwd=tmp_path).returncode == 0
    assert (tmp_path / "data/coco/val2014/test7.jpg").read_text() == (tmp_path / "data/coco/val2014/test8.jpg").read_text() == "x"


def test_flickr30k_is_unpacked_where_its_dataset_expects_it_or_used_where_it_lies(flickr30k, tmp_path):
    result = prepare("flickr30k", "--from", flickr30k, "--images", flickr30k / "flickr30k-images.tar.gz", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "train 29000, val 1014, test 1000; the 2014 photos of val and test" in result.stdout
    photos = tmp_path / "data/flickr30k/flickr30k-images"
    assert len(list(photos.iterdir())) == 2014
    photos.rename(tmp_path / "mine")
    again = prepare("flickr30k", "--from", flickr30k, "--images", "mine", cwd=tmp_path)
    assert again.returncode == 0 and "dataset.root=mine" in again.stdout
    (tmp_path / "mine" / "test3.jpg").unlink()
    lacking = prepare("flickr30k", "--from", flickr30k, "--images", "mine", cwd=tmp_path)
    assert lacking.returncode == 1 and "1 of the 2014 images of val and test are missing, e.g. mine/test3.jpg" in lacking.stderr
    none = prepare("flickr30k", "--from", flickr30k, cwd=tmp_path)
    assert none.returncode == 1 and "request the photos by the form" in none.stderr


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"test": 999}, "not the official splits (test 999 instead of 1000)"),
        ({"restval": 3}, "not the official splits (restval 3 instead of 0)"),
        ("captions", "1 images have not 5 to 5 captions, e.g. train0.jpg"),
        ("twice", "train1.jpg stands in it twice"),
    ],
)
def test_files_of_other_counts_are_refused(spoil, message, tmp_path):
    document = dataset("flickr30k", **(spoil if isinstance(spoil, dict) else {}))
    if spoil == "captions":
        document["images"][0] = document["images"][0] | {"sentences": []}
    if spoil == "twice":
        document["images"][0] = document["images"][1]
    archives(tmp_path / "downloads", "flickr30k", document, images=1)
    result = prepare("flickr30k", "--from", "downloads", cwd=tmp_path)
    assert result.returncode == 1 and message in result.stderr and result.stderr.count("\n") == 1


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; answers ranges, and breaks a download off in the middle once."""

    breaks = 0
    asked: list = []

    def do_GET(self):
        data = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        Server.asked.append(begin)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if Server.breaks:
            Server.breaks -= 1
            self.wfile.write(data[begin : begin + len(data) // 2])
        else:
            self.wfile.write(data[begin:])

    def log_message(self, *args):
        pass


def test_download_that_broke_off_is_resumed(flickr30k, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(flickr30k)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.breaks, Server.asked = 1, []
    words = ["--mirror", f"http://127.0.0.1:{server.server_port}/", "--images", flickr30k / "flickr30k-images.tar.gz"]
    try:
        broken = prepare("flickr30k", *words, cwd=tmp_path)
        assert broken.returncode == 1 and "start again to go on" in broken.stderr
        half = (tmp_path / "data/flickr30k/caption_datasets.zip.part").stat().st_size
        assert prepare("flickr30k", *words, cwd=tmp_path).returncode == 0
    finally:
        server.shutdown()
        server.server_close()
    assert Server.asked == [0, half] and half > 1000
    assert (tmp_path / "data/flickr30k/caption_datasets.zip").read_bytes() == (flickr30k / "caption_datasets.zip").read_bytes()


@pytest.fixture(scope="module")
def rocstories(tmp_path_factory):
    """Two CSV files of the official names and columns, and a test file of 1,500 of their stories."""
    folder, number = tmp_path_factory.mktemp("rocstories"), 0
    for file, count in (
        ("ROCStories__spring2016 - ROCStories_spring2016.csv", 2_000),
        ("ROCStories_winter2017 - ROCStories_winter2017.csv", 2_500),
    ):
        with (folder / file).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["storyid", "storytitle", *[f"sentence{n}" for n in range(1, 6)]])
            for _ in range(count):
                number += 1
                writer.writerow([number, f"Title {number % 4_000}", f"It's story {number}.", "A, b.", "C.", 'D "said" so.', "E."])
    lines = [f'Title {n}\tIt\u2019s  story {n}. A, b. C. D "said" so. E.\n' for n in range(10, 3_010, 2)]
    (folder / "rocstories_test.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def test_rocstories_are_split_by_the_authors_test_file(rocstories, tmp_path):
    result = prepare("rocstories", "--from", rocstories, "--test", rocstories / "rocstories_test.txt", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "data/rocstories"
    assert (folder / "rocstories_test.txt").read_bytes() == (rocstories / "rocstories_test.txt").read_bytes()
    train = (folder / "rocstories_train.txt").read_text(encoding="utf-8").splitlines()
    assert len(train) == 2_000 + 2_500 - 1_500 and train[0] == 'Title 1\tIt\'s story 1. A, b. C. D "said" so. E.'
    assert not {f"It's story {n}." for n in range(10, 3_010, 2)} & {line.split("\t")[1].split(" A,")[0] for line in train}


@pytest.fixture
def official_files(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("official_files")


def test_ctrl_c_is_one_line(official_files, capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        official_files.run(interrupted)
    assert stop.value.code == 130 and capsys.readouterr().err == "stopped; the same command goes on where it stopped\n"


class Answer(io.BytesIO):
    status, headers = 200, email.message.Message()


def test_download_of_unknown_length_is_taken_whole(official_files, monkeypatch, tmp_path):
    monkeypatch.setattr("urllib.request.urlopen", lambda request: Answer(b"all of it"))
    official_files.download("http://host/file", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"all of it"


def test_connection_that_breaks_is_one_line(official_files, monkeypatch, tmp_path):
    class Broken(Answer):
        def read(self, *args):
            raise http.client.IncompleteRead(b"", 5)

    monkeypatch.setattr("urllib.request.urlopen", lambda request: Broken())
    with pytest.raises(SystemExit, match="IncompleteRead.*start again to go on"):
        official_files.download("http://host/file", tmp_path / "part")


def test_prepared_rocstories_are_all_that_finetuning_asks_for(rocstories, tmp_path, monkeypatch, capsys):
    assert prepare("rocstories", "--from", rocstories, "--test", rocstories / "rocstories_test.txt", cwd=tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    assert main(["finetune-lm", "experiment=finetune_rocstories", "language_model.path=none"]) == 2
    assert capsys.readouterr().err.startswith("magic: language_model.path=none: no such file or folder"), "the texts were found"


def test_rocstories_that_are_no_utf_8_are_one_line(rocstories, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    for csv_file in rocstories.glob("*.csv"):
        (folder / csv_file.name).write_bytes(csv_file.read_bytes().replace(b"It's", b"It\x92s"))
    result = prepare("rocstories", "--from", folder, "--test", rocstories / "rocstories_test.txt", cwd=tmp_path)
    assert (
        result.returncode == 1
        and "byte 0x92 is not UTF-8; it looks like Latin-1 (Windows-1252)" in result.stderr
        and result.stderr.count("\n") == 1
    )


def test_rocstories_of_another_edition_are_refused(rocstories, tmp_path):
    test = rocstories / "rocstories_test.txt"
    (tmp_path / "few.txt").write_text("A title\tA story.\n")
    (tmp_path / "other.txt").write_text(test.read_text(encoding="utf-8").replace("story 50.", "story fifty."), encoding="utf-8")
    lines = test.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "twice.txt").write_text("".join([*lines[:-1], lines[0]]), encoding="utf-8")
    cut = tmp_path / "cut"
    cut.mkdir()
    for csv_file in rocstories.glob("*.csv"):
        rows = csv_file.read_text().splitlines(keepends=True)
        (cut / csv_file.name).write_text("".join(rows[:1_000]))
    for place, file, message in (
        (rocstories, "few.txt", "1 lines instead of 1500"),
        (rocstories, "twice.txt", "a story stands in it twice"),
        (cut, test, "of its stories are in none of the CSV files"),
        (rocstories, "other.txt", "1 of its stories are in none of the CSV files"),
        (tmp_path, test, "needs one CSV file of spring2016, found none; request the stories by the form"),
        (rocstories, "gone.txt", "take rocstories_test.txt from the MAGIC authors' repository"),
    ):
        result = prepare("rocstories", "--from", place, "--test", file, cwd=tmp_path)
        assert result.returncode == 1 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
