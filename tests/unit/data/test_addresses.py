"""Files behind addresses: what names them, what is read of them, and what becomes of faults of the network."""

import re
import sys
import zipfile
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from magic_cli.data import addresses, text_files
from magic_cli.data.datasets import PhotoFolder
from magic_cli.data.images import UnreadableImage
from magic_cli.data.json_files import read_json
from magic_cli.data.listing import places
from magic_cli.data.named_images import image_at, typed_image
from magic_cli.data.parquet import Table
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.data.place_names import is_address
from magic_cli.data.shard_dataset import ShardDataset
from magic_cli.data.shards import read_shard
from magic_cli.errors import MagicError
from tests.unit.data.test_packed_datasets import shard, table_bytes

pytestmark = pytest.mark.usefixtures("own_cache")


class Web(AbstractFileSystem):
    """Files behind https, by their whole address."""

    protocol = "https"
    cachable = False
    files: dict[str, bytes] = {}
    fault: Exception | None = None
    sent: list[int] = []
    ignores_ends = False

    @classmethod
    def _strip_protocol(cls, path):
        return path

    def unstrip_protocol(self, name):
        return name

    def info(self, path, **kwargs):
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.files[path]), "type": "file", "ETag": str(hash(self.files[path]))}

    def isdir(self, path):
        raise AssertionError("the web would send the whole file")

    def glob(self, path, **kwargs):
        return [name for name in self.files if name.startswith(path.partition("*")[0])]

    def _open(self, path, mode="rb", **options):
        options.pop("autocommit", None)
        return WebFile(self, path, mode, **options)

    def cat_file(self, path, start=None, end=None, **kwargs):
        return self.files[path][start:] if self.ignores_ends else self.files[path][start:end]


class WebFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        if self.fs.fault is not None:
            raise self.fs.fault
        data = self.fs.files[self.path][start:end]
        self.fs.sent.append(len(data))
        return data


@pytest.fixture
def web(monkeypatch):
    for name, value in {"files": {}, "fault": None, "sent": [], "ignores_ends": False}.items():
        monkeypatch.setattr(Web, name, value)
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "https", Web)
    return Web


SIGNED = "https://host/b/00000.tar?part=1&signature=a%2Fb"


def test_query_of_an_address_is_no_pattern_and_no_part_of_ids(web):
    web.files = {SIGNED: shard([("1.jpg", b"cat")]), "https://host/b/photo.jpg?v=2": b"dog"}
    [record] = ShardDataset("shards", files=SIGNED).load()
    assert record.id == "00000/1" and record.path.read_bytes() == b"cat"
    assert image_at(str(record.path)) == record.path
    photo = image_at("https://host/b/photo.jpg?v=2")
    assert photo.name == "photo.jpg" and photo.read_bytes() == b"dog"
    web.files = {"https://host/b/0.tar?key=a%2Fb": shard([("1.jpg", b"cat")])}
    [record] = ShardDataset("shards", files="https://host/b/0.tar?key=a/b").load()
    assert record.id == "0/1" and image_at(str(record.path)).read_bytes() == b"cat"
    web.files = {f"https://host/b/{number}.tar": b"" for number in "01"}
    assert places("https://host/b/*.tar", ".tar", setting="x", hint="y") == list(web.files)


def test_paths_in_a_table_start_from_its_folder_without_its_query(web):
    web.files = {
        "https://host/b/0.parquet?key=c%2Fd": table_bytes({"file": ["a/1.jpg"]}),
        "https://host/b/a/1.jpg": b"cat",
        "https://host/p/a/1.jpg?key=2": b"dog",
    }
    for root, data in ((None, b"cat"), ("https://host/p/?key=2", b"dog")):
        [row] = ParquetDataset("parquet", files="https://host/b/0.parquet?key=c/d", image="file", root=root).load()
        assert row.path.read_bytes() == data and row.image_name == "1.jpg"


def test_kind_of_an_address_counts_in_capitals_too(web, tmp_path):
    web.files = {"https://host/A.jpg?v=1": b"cat", "https://host/a.json": b"[1]"}
    image = typed_image("HTTPS://host/A.jpg?v=1", "x")
    assert (image.name, image.read_bytes()) == ("A.jpg", b"cat") and read_json("HTTPS://host/a.json", setting="x", hint="y") == [
        1
    ]
    assert typed_image(f"FILE://{tmp_path}/a.jpg", "x") == tmp_path / "a.jpg" and not is_address("FILE:///a.jpg")


def test_page_of_a_folder_is_asked_for_with_its_key(web, monkeypatch):
    links = ["a%20dog.jpg", "./b%25.jpg", "?C=N;O=D", "#top", "mailto:me@host", "../c.jpg", "notes.txt"]
    found = [f"https://host/d/?key=1/{link}" for link in links] + ["http://host/d/e.jpg", "https://host/d/e.jpg"]
    monkeypatch.setattr(Web, "ls", lambda self, path, **kwargs: [
        {"name": name, "type": "file"} for name in found if path == "https://host/d/?key=1"
    ])  # fmt: skip
    folder = PhotoFolder("photos", root="https://host/d/?key=1")
    records = folder.load()
    assert [record.image_name for record in records] == ["a dog.jpg", "b%.jpg", "e.jpg"]
    assert [str(record.path) for record in records][:2] == ["https://host/d/a%20dog.jpg?key=1", "https://host/d/b%25.jpg?key=1"]
    assert folder.notes() == ["https://host/d/?key=1: 1 file of another kind is left out (1 .txt)"]


def test_names_of_images_are_those_of_this_machine(web, tmp_path):
    rows = table_bytes({"file": ["b/a dog.jpg", "100%25.jpg", "https://host/c/a%20cat.jpg"]})
    web.files = {"https://host/b/0.parquet": rows}
    (tmp_path / "0.parquet").write_bytes(rows)
    for place in (tmp_path, "https://host/b"):
        records = ParquetDataset("parquet", files=f"{place}/0.parquet", image="file").load()
        assert [record.image_name for record in records] == ["a dog.jpg", "100%25.jpg", "a cat.jpg"]


def test_text_that_is_too_large_is_not_fetched(web, monkeypatch):
    web.files = {"https://host/a.json": b"[1, 2]"}
    monkeypatch.setattr(text_files, "LARGEST_FILE", 5)
    monkeypatch.setattr(Web, "cat_file", None)
    with pytest.raises(MagicError, match="a.json: holds more than"):
        read_json("https://host/a.json", setting="x", hint="y")


def test_servers_of_the_web_have_an_hour_also_in_chains(monkeypatch):
    monkeypatch.setattr(addresses, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "aiohttp", SimpleNamespace(ClientTimeout=dict))
    limits = {"client_kwargs": {"timeout": {"total": 3600, "sock_connect": 60, "sock_read": 60}}}
    assert addresses._limits("https://host/a.jpg") == addresses._limits("zip://a.jpg::https://host/b.zip") == {"https": limits}
    assert addresses._limits("s3://bucket/a.jpg") == {}


@pytest.mark.parametrize("fault", [RuntimeError("connection\nreset"), KeyError("Credentials")])
def test_fault_of_the_network_is_one_line(fault, web):
    web.files = {"https://host/a.tar": shard([("1.jpg", b"cat")]), "https://host/a.parquet": b"PAR1" * 9}
    web.fault = fault
    for read, place in ((read_shard, "https://host/a.tar"), (Table, "https://host/a.parquet")):
        with pytest.raises(MagicError, match=f"{place}: cannot be read .*(reset|Credentials)") as error:
            read(place)
        assert "\n" not in str(error.value)


def test_shard_whose_parts_cannot_be_asked_for_is_a_reason(web):
    web.files = {"https://host/a.tar": shard([("1.jpg", b"cat")])}
    [record] = ShardDataset("shards", files="https://host/a.tar").load()
    web.ignores_ends = True
    with pytest.raises(UnreadableImage, match="9728 bytes came instead of 3"):
        record.path.read_bytes()


def test_large_images_are_skipped_when_a_shard_is_looked_through(web):
    web.files = {
        "https://host/a.tar": shard([("1.jpg", bytes(6 << 20)), ("1.txt", b"cat"), ("2.jpg", bytes(6 << 20)), ("2.txt", b"dog")])
    }
    found = read_shard("https://host/a.tar", caption_key="caption")
    assert found.captions == {"1": ("cat",), "2": ("dog",)}
    assert sum(web.sent) < 4 << 20 and len(web.sent) <= 4
    web.files = {"https://host/b.tar": shard([(f"{number}.jpg", bytes(20_000)) for number in range(200)])}
    web.sent.clear()
    assert len(read_shard("https://host/b.tar").images) == 200 and len(web.sent) <= 5


def test_kinds_in_capitals_and_a_file_of_one_word_at_the_end_of_a_chain(web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("photos", "w") as photos:
        photos.writestr("A.jpg", "x")
    MemoryFileSystem().pipe("/Capitals/photos.zip", (tmp_path / "photos").read_bytes())
    for place in (
        "zip://A.jpg::photos",
        "ZIP://A.jpg::photos",
        f"zip://A.jpg::{tmp_path}/photos",
        "Zip://A.jpg::MEMORY://Capitals/photos.zip",
    ):
        assert addresses.read_place(place) == b"x"
    MemoryFileSystem().rm("/Capitals", recursive=True)
    addresses.require_file_systems(["HTTPS://host/a.jpg", "Memory://a", "zip://a.jpg::photos"], setting="dataset.paths")
    for place, kind in (("NOSUCH://a", "nosuch"), ("zip://a.jpg::NoSuch://a", "nosuch"), ("nosuch::memory://a", "nosuch")):
        with pytest.raises(MagicError, match=f"^{place}: {kind}:// is no known kind of address"):
            addresses.file_system(place)


def test_query_that_was_asked_for_is_not_called_part_of_a_missing_files_name(web, monkeypatch):
    def missing(self, path, **options):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Web, "cat_file", missing)
    for place, hint in (
        ("https://host/a.jpg?w=300", "$"),
        ("https://host/a.jpg%3Fw=300", '; "[?]w=300" counts as part of its name'),
    ):
        with pytest.raises(UnreadableImage, match=f"^there is no file {re.escape(place)}{hint}"):
            typed_image(place, "dataset.paths").read_bytes()
