"""The images that texts name: found again in shards and tables of any ending, here and behind addresses."""

import io
from pathlib import Path

import fsspec
import pytest

from magic_cli.data.images import UnreadableImage
from magic_cli.data.named_images import ImageRoot, image_at, typed_image
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.data.shard_dataset import ShardDataset
from magic_cli.data.stored_images import RemoteImage
from magic_cli.errors import MagicError
from tests.unit.data.test_packed_datasets import shard, table_bytes

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def bucket():
    """A folder behind an address, empty."""
    system = fsspec.filesystem("memory")
    yield lambda name, data: system.pipe(f"/named/{name}", data)
    system.rm("/named", recursive=True)


@pytest.mark.parametrize("place", ["{folder}", "memory://named"])
def test_images_in_files_of_other_endings_are_found_again(place, tmp_path, bucket):
    def write(name, data):
        bucket(name, data)
        (tmp_path / name).write_bytes(data)

    place = place.format(folder=tmp_path)
    write("a.wds", shard([("x/1.jpg", b"cat")]))
    write("b.arrow-table", table_bytes({"im/age": [b"dog", b"cow"]}))
    records = [
        *ShardDataset("shards", files=f"{place}/*.wds").load(),
        *ParquetDataset("parquet", files=f"{place}/b.*", image="im/age").load(),
    ]
    assert [str(image_at(str(record.path))) for record in records] == [str(record.path) for record in records]
    assert [image_at(str(record.path)).read_bytes() for record in records] == [b"cat", b"dog", b"cow"]


def test_file_without_ending_is_found_here_and_told_of_behind_an_address(tmp_path, bucket):
    (tmp_path / "part-0").write_bytes(shard([("1.jpg", b"cat")]))
    [record] = ShardDataset("shards", files=f"{tmp_path}/part-*").load()
    assert image_at(str(record.path)) == record.path
    bucket("part-0", shard([("1.jpg", b"cat")]))
    dataset = ShardDataset("shards", files="memory://named/part-*")
    [record] = dataset.load()
    assert image_at(str(record.path)) != record.path
    assert any(
        "part-0: its name has no ending, so evaluations and reports will not find its images" in n for n in dataset.notes()
    )


def test_text_that_names_no_part_of_a_file_is_a_path_or_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no shard")
    (tmp_path / "photos.tar").mkdir()
    (tmp_path / "photos.tar" / "1.jpg").write_bytes(b"cat")
    for text in (
        f"{tmp_path}/notes.txt/1.jpg",
        f"{tmp_path}/photos.tar/1.jpg",
        f"{tmp_path}/none.tar/1.jpg",
        "none/1.jpg",
        "1.jpg",
        "",
    ):
        assert image_at(text) == Path(text)
    assert image_at(f"file://{tmp_path}/photos.tar/1.jpg").read_bytes() == b"cat"
    for address in ("https://host.com/a/1.jpg?v=2/3", "zip://photos.tar/1.jpg::s3://bucket/x.zip", "memory://1.jpg"):
        assert image_at(address) == RemoteImage(address)


def test_images_below_a_root_are_paths_or_addresses(tmp_path):
    here, away = ImageRoot(tmp_path), ImageRoot("https://host/photos?key=1")
    assert here.image("a/1.jpg") == tmp_path / "a" / "1.jpg"
    assert away.image("./a/1 2.jpg") == away.image("a/1 2.jpg") == RemoteImage("https://host/photos/a/1%202.jpg?key=1")
    for root in (here, away):
        assert root.image("/data/1.jpg") == root.image("file:///data/1.jpg") == Path("/data/1.jpg")
    for root in (away, ImageRoot(tmp_path, follows=True), ImageRoot(tmp_path, file="s3://bucket/a.json")):
        assert root.image("s3://bucket/1.jpg") == RemoteImage("s3://bucket/1.jpg")


def test_address_in_a_file_of_this_machine_is_not_followed(tmp_path, bucket):
    bucket("1.jpg", b"cat")
    for image in (ImageRoot(tmp_path).image("memory://named/1.jpg"), image_at("memory://named/1.jpg", follows=False)):
        with pytest.raises(UnreadableImage, match="an address .*read"):
            image.read_bytes()
        assert not image.exists() and (str(image), image.name) == ("memory://named/1.jpg", "1.jpg")
    assert ImageRoot(tmp_path).folder("a").absolute().image("s3://b/c.jpg") == ImageRoot(tmp_path).image("s3://b/c.jpg")


@pytest.mark.parametrize("root", ["memory://named", "{folder}/photos"])
def test_file_from_elsewhere_names_nothing_of_this_machine(root, tmp_path):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "1.jpg").write_bytes(b"secret")
    root = ImageRoot(root.format(folder=tmp_path), file="s3://bucket/a.json").absolute()
    for name in (f"{tmp_path}/1.jpg", f"FILE://{tmp_path}/1.jpg", f"simplecache::file://{tmp_path}/1.jpg", f"local://{tmp_path}/1.jpg",
                 f"zip://1.jpg::{tmp_path}/1.zip"):  # fmt: skip
        with pytest.raises(UnreadableImage, match="a place on this machine that a file behind an address names"):
            root.image(name).read_bytes()
    if isinstance(root.place, Path):
        assert root.folder("a").image("1.jpg") == tmp_path / "photos/a/1.jpg" and root.folder("..").image("1.jpg") == root.image(
            "1.jpg"
        )
        with pytest.raises(UnreadableImage, match="a place on this machine"):
            root.image("../1.jpg").read_bytes()


def test_server_is_asked_what_a_file_is_only_when_an_image_is_read(bucket, monkeypatch):
    bucket("v1.2/1.jpg", b"cat")
    bucket("v1.2/b.wds", shard([("1.jpg", b"dog")]))
    system, asked = type(fsspec.filesystem("memory")), []
    read = system.cat_file
    monkeypatch.setattr(system, "cat_file", lambda self, path, **limits: asked.append(path) or read(self, path, **limits))
    images = [image_at(f"memory://named/{name}") for name in ("v1.2/1.jpg", "v1.2/b.wds/1.jpg", "v1.2/1.jpg/2.jpg")]
    assert not asked and [(image.name, image.exists()) for image in images] == [("1.jpg", True)] * 2 + [("2.jpg", True)]
    assert [image.read_bytes() for image in images[:2]] == [b"cat", b"dog"]
    asked.clear()
    with pytest.raises(UnreadableImage, match="there is no file memory://named/v1.2/1.jpg/2.jpg"):
        images[2].read_bytes()
    assert asked == ["/named/v1.2/1.jpg/2.jpg"], "an image holds no other"


def test_server_that_does_not_answer_once_is_asked_again(bucket, monkeypatch):
    bucket("c.wds", shard([("1.jpg", b"dog")]))
    image = image_at("memory://named/c.wds/1.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(
            type(fsspec.filesystem("memory")), "cat_file", lambda self, path, **limits: (_ for _ in ()).throw(TimeoutError())
        )
        with pytest.raises(UnreadableImage, match="no answer in time"):
            image.read_bytes()
    assert image.read_bytes() == b"dog"


def test_typed_image_of_an_unknown_kind_of_address_is_one_line(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_image("~/a.jpg", "x") == Path("/home/me/a.jpg") and typed_image("file:///a.jpg", "x") == Path("/a.jpg")
    for chain in ("zip://a.jpg::memory://b.zip", "zip://b/a.jpg::photos.zip"):
        assert typed_image(chain, "x").name == "a.jpg"
    for address, problem in (("nosuch://b/a.jpg", "nosuch:// is no known"), ("simplecache::nosuch://b/a.jpg", "nosuch:// is")):
        with pytest.raises(MagicError, match=f"dataset.paths={address}: {problem}") as error:
            typed_image(address, "dataset.paths")
        assert "\n" not in str(error.value)


def test_image_inside_a_zip_file_behind_an_address_is_read(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a/1.jpg", b"cat")
    image = image_at(f"zip://a/1.jpg::{tmp_path}/photos.zip")
    assert (image.read_bytes(), image.name) == (b"cat", "1.jpg")


def test_answer_that_does_not_come_is_a_reason(monkeypatch):
    system = type(fsspec.filesystem("memory"))
    for fault, told in ((TimeoutError(), "no answer in time"), (io.UnsupportedOperation("no\nreading"), "no reading")):

        def fail(self, path, fault=fault, **options):
            raise fault

        monkeypatch.setattr(system, "cat_file", fail)
        with pytest.raises(UnreadableImage, match=told) as error:
            image_at("memory://named/1.jpg").read_bytes()
        assert "\n" not in str(error.value)


def test_whole_image_is_asked_for_without_limits(monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(fsspec.filesystem("memory")), "cat_file", lambda self, path, **limits: asked.append(limits) or b"cat"
    )
    assert RemoteImage("memory://named/1.jpg").read_bytes() == b"cat" and asked == [{}], "a range would need a second request"
