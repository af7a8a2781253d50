"""Photos, folders and annotation files behind addresses: the same records as of this machine."""

import gzip
import json
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from magic_cli.data import addresses
from magic_cli.data.datasets import CocoCaptionsDataset, KarpathyDataset, PhotoFiles, PhotoFolder
from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.images import UnreadableImage
from magic_cli.data.interleaved_datasets import ItemFile, PartList
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.stored_images import RemoteImage
from magic_cli.data.stories import read_retrieved
from magic_cli.data.story_datasets import TitleFile, TitleList
from magic_cli.errors import MagicError
from magic_cli.retrieval.bank import list_images
from tests.unit.data.test_packed_datasets import shard

pytestmark = pytest.mark.usefixtures("own_cache")
COCO = {
    "images": [{"id": 7, "file_name": "a/1.jpg"}, {"id": 8, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 7, "caption": "a cat"}],
}


@pytest.fixture
def system():
    """Files behind ``memory://away/``, the same as in the folder of the test."""
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/away"):
        system.rm("/away", recursive=True)


@pytest.fixture
def write(system, tmp_path):
    def write(name, data):
        system.pipe(f"/away/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    return write


def contents(records):
    return [(record.id, record.image_name, record.references, record.path.read_bytes()) for record in records]


def test_photos_are_named_by_their_file_or_by_all_of_their_address(write):
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        write(name, name.encode())
    paths = ["memory://away/a/1.jpg", "memory://away/b/1.jpg", "memory://away/b/2.jpg", "memory://away/b/2.jpg"]
    records = PhotoFiles("files", paths=paths).load()
    assert [record.id for record in records] == [*paths[:2], "2.jpg"]
    assert [record.path.read_bytes() for record in records] == [b"a/1.jpg", b"b/1.jpg", b"b/2.jpg"]
    for paths, problem in (
        (["memory://away/b/"], "is a folder; for all photos"),
        (["s3://b/a.jpg"], "s3://b/a.jpg: needs a package .*s3fs"),
    ):
        with pytest.raises(MagicError, match=problem):
            PhotoFiles("files", paths=paths).load()


def test_folder_behind_an_address_has_the_photos_of_one_here(write, tmp_path):
    for name in ("b.JPG", "a/c.png", "a/notes.txt", ".hidden/d.jpg", "a/.e.jpg", "a/._f.jpg"):
        write(name, name.encode())
    here, away = (PhotoFolder("photos", root=root) for root in (str(tmp_path), "memory://away/"))
    assert contents(away.load()) == contents(here.load()) and len(away.load()) == 2
    others, hidden = away.notes()
    assert others == "memory://away/: 1 file of another kind is left out (1 .txt)"
    assert "hidden images and folders are left out: .hidden/d.jpg and 1 more" in hidden
    for root, problem in (
        ("memory://away/none", "no such file or folder; set dataset.root"),
        ("memory://away/b.JPG", "for one photo, type --image memory://away/b.JPG"),
    ):
        with pytest.raises(MagicError, match=problem):
            PhotoFolder("photos", root=root).load()
    with pytest.raises(MagicError, match="images=memory://away: a folder is searched on this machine only"):
        ImageLookup("memory://away")


def test_annotations_and_their_photos_may_lie_behind_addresses(write, tmp_path):
    for name in ("a/1.jpg", "2.jpg"):
        write(name, name.encode())
    write("coco.json.gz", gzip.compress(json.dumps(COCO).encode()))
    write("karpathy.json", json.dumps({"images": [
        {"filename": "1.jpg", "filepath": "a", "split": "test", "sentences": [{"raw": "a cat"}]},
        {"filename": "2.jpg", "split": "test", "sentences": [{"raw": "a dog"}]},
    ]}).encode())  # fmt: skip
    for kind, name in ((CocoCaptionsDataset, "coco.json.gz"), (KarpathyDataset, "karpathy.json")):
        here, away, mixed = (
            kind("x", annotations=f"{place}/{name}", root=str(root)).load()
            for place, root in ((tmp_path, tmp_path), ("memory://away", "memory://away"), (f"file://{tmp_path}", "memory://away"))
        )
        assert contents(away) == contents(here) == contents(mixed) and len(here) == 2


@pytest.mark.parametrize(
    ("data", "address", "problem"),
    [
        (b"{", "memory://away/x.json", "not valid JSON"),
        (b"\x1f\x8b\x08broken", "memory://away/x.json", "gzip data is damaged"),
        (b"{}", "memory://away/none.json", "no such file; set dataset.annotations"),
        (b"{}", "s3://away/x.json", "needs a package that is not installed .*s3fs"),
    ],
)
def test_annotations_that_cannot_be_had_are_one_line(data, address, problem, write):
    write("x.json", data)
    with pytest.raises(MagicError, match=f"dataset.annotations={address}.*{problem}") as error:
        CocoCaptionsDataset("x", annotations=address, root="memory://away").load()
    assert "\n" not in str(error.value)


def test_parts_items_titles_and_retrieved_images_may_be_addresses(write, tmp_path):
    write("1.jpg", b"cat")
    address = "memory://away/1.jpg"
    [item] = PartList("parts", parts=["What is it?", f"image:{address}"]).load()
    assert item.steps[0].parts[1].image.read_bytes() == b"cat" and item.as_record()["parts"][1] == {"image": address}
    (tmp_path / "items.jsonl").write_text(json.dumps({"parts": [{"image": "1.jpg"}, {"image": address}]}))
    [item] = ItemFile("items", items=str(tmp_path / "items.jsonl"), root="memory://away").load()
    assert {part.image for part in item.steps[0].parts} == {item.steps[0].parts[1].image}
    (tmp_path / "titles.jsonl").write_text(json.dumps({"title": "A cat", "image": "1.jpg"}))
    with pytest.raises(
        MagicError, match="no image can be read, e.g. memory://away/1.jpg, an address that a file of this machine"
    ):
        (tmp_path / "addresses.jsonl").write_text(json.dumps({"title": "A cat", "image": address}))
        TitleFile("titles", titles=str(tmp_path / "addresses.jsonl")).load(needs_image=True)
    for titles in (
        TitleFile("titles", titles=str(tmp_path / "titles.jsonl"), root="memory://away"),
        TitleList("title", title=["A cat"], image=address),
    ):
        [story] = titles.load(needs_image=True)
        assert str(story.path) == address and story.path.read_bytes() == b"cat"
    (tmp_path / "retrieved.jsonl").write_text(json.dumps({"query": "A cat", "images": [{"image": address}, {"image": "2.jpg"}]}))
    [[first, second]] = read_retrieved(tmp_path / "retrieved.jsonl", setting="x").values()
    assert (str(first), second) == (address, tmp_path / "2.jpg")


def test_image_of_an_annotation_file_is_not_looked_for_elsewhere(write, tmp_path):
    write("1.jpg", b"cat")
    for file_name, place, root, problem in (
        ("memory://away/1.jpg", tmp_path, tmp_path, "memory://away/1.jpg, an address that a file of this machine names"),
        (f"{tmp_path}/1.jpg", "memory://away", "memory://away", "1.jpg, a place on this machine that a file behind an address"),
    ):
        write("coco.json", json.dumps({"images": [{"id": 1, "file_name": file_name}], "annotations": []}).encode())
        with pytest.raises(MagicError, match=f"dataset=x: its images cannot be read, e.g. .*{problem}"):
            CocoCaptionsDataset("x", annotations=f"{place}/coco.json", root=str(root)).load()


def test_packed_file_among_images_is_a_failure_of_its_own(write, tmp_path):
    write("1.jpg", b"cat")
    write("a.tar", shard([("1.jpg", b"cat")]))
    assert len(PhotoFiles("files", paths=[f"{tmp_path}/1.jpg", f"{tmp_path}/a.tar"]).load()) == 2
    with pytest.raises(MagicError, match="a.tar is not an image; .*--dataset shards"):
        PhotoFiles("files", paths=[f"{tmp_path}/a.tar"]).load()


def test_fault_in_a_list_of_images_names_list_and_line(write, tmp_path):
    write("photos/3.jpg", b"cow")
    write("list.txt", b"photos/3.jpg\n\nnosuch://a/b.jpg\n")
    with pytest.raises(MagicError, match=f"{tmp_path}/list.txt line 3: nosuch://a/b.jpg: nosuch:// is no known kind of address"):
        list_images([f"{tmp_path}/list.txt"], limit=None)
    write("more.LST.gz", gzip.compress(f"photos/3.jpg\n{tmp_path}/photos/3.jpg\n".encode()))
    known, refused = list_images(["memory://away/more.LST.gz"], limit=None).images
    assert known.file.read_bytes() == b"cow" and "a place on this machine that a file behind an address names" in refused.fault


def test_photos_of_a_web_server_are_read_and_its_silence_is_a_reason(write, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp")
    for name in ("b.jpg", "a c.jpg", "notes.txt", "d/e.jpg"):
        write(name, name.encode())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_address[1]}"
    records = PhotoFolder("photos", root=root).load()
    assert [(record.id, record.path.read_bytes()) for record in records] == [("a c.jpg", b"a c.jpg"), ("b.jpg", b"b.jpg")]
    assert ImageRoot(root).image("a c.jpg") == records[0].path
    with pytest.raises(UnreadableImage, match="there is no file"):
        ImageRoot(root).image("none.jpg").read_bytes()
    server.shutdown(), server.server_close()
    monkeypatch.setattr(addresses, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnreadableImage, match="no answer in time"):
        RemoteImage(f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg").read_bytes()


def test_bank_of_addresses_is_that_of_this_machine(write, system, tmp_path):
    write("a.tar", shard([("1.jpg", b"cat"), ("x/2.png", b"dog")]))
    write("photos/3.jpg", b"cow")
    write("list.txt", b"photos/3.jpg\nmemory://away/photos/3.jpg\n")
    for words in (["a.tar"], ["*.tar"], ["photos"], ["photos/3.jpg"], ["a.tar", "photos"]):
        here = list_images([f"{tmp_path}/{word}" for word in words], limit=None)
        away = list_images([f"memory://away/{word}" for word in words], limit=None)
        assert [(one.id, one.file.read_bytes()) for one in away.images] == [
            (one.id, one.file.read_bytes()) for one in here.images
        ]
    both = list_images(["memory://away/list.txt"], limit=None).images
    assert [image.id for image in both] == ["photos/3.jpg", "memory://away/photos/3.jpg"]
    assert both[0].place == both[1].place == "memory://away/photos/3.jpg" and both[0].file.read_bytes() == b"cow"
    before = list_images(["memory://away/a.tar"], limit=None).digest
    assert list_images(["memory://away/a.tar"], limit=None).digest == before
    write("a.tar", shard([("1.jpg", b"cat"), ("x/2.png", b"new")]))
    assert list_images(["memory://away/a.tar"], limit=None).digest != before
    for word, problem in (
        ("memory://away/none", "no such file or folder"),
        ("s3://b/*.tar", "s3fs"),
        ("memory://away/a.zip", "packed"),
    ):
        with pytest.raises(MagicError, match=problem):
            list_images([word], limit=None)
