"""Images in webdataset shards and Parquet files: found in order, read where they lie, refused where they are damaged."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import fsspec
import pytest

from magic_cli.data.images import UnreadableImage, digest_of, open_image
from magic_cli.data.named_images import image_at
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.data.shard_dataset import ShardDataset
from magic_cli.errors import MagicError, SettingsError
from tests.files import table_bytes

pytestmark = pytest.mark.usefixtures("own_cache")


def shard(members):
    """A tar file of ``(name, content)``, as bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture
def photos(tiny_photos):
    return [file.read_bytes() for file in sorted(tiny_photos.iterdir())[:5]]


@pytest.fixture
def shards(photos, tmp_path):
    """Two shards, with captions of three kinds."""
    captions = [("a/1.txt", b"one  dog\n"), ("a/2.json", b'{"caption": ["two cats", "cats"], "url": 1}')]
    (tmp_path / "00000.tar").write_bytes(shard([("a/1.jpg", photos[0]), *captions, ("a/2.jpg", photos[1]), ("3.PNG", photos[2])]))
    (tmp_path / "00001.tar").write_bytes(shard([("./1.jpg", photos[3]), ("broken.jpg", b"no image")]))
    return ShardDataset("shards", files=str(tmp_path / "*.tar"))


def test_records_of_shards_are_their_images_in_order_with_captions(shards, photos, tmp_path):
    records = shards.load()
    assert [record.id for record in records] == ["00000/a/1", "00000/a/2", "00000/3", "00001/1", "00001/broken"]
    assert [record.references for record in records][:3] == [("one dog",), ("two cats", "cats"), ()]
    assert [record.image_name for record in records][:2] == ["1.jpg", "2.jpg"]
    assert [record.path.read_bytes() for record in records][:4] == photos[:4]
    assert str(records[3].path) == f"{tmp_path}/00001.tar/1.jpg" and image_at(str(records[3].path)) == records[3].path
    assert records[-1] == records[4] and records[1:3] == [records[1], records[2]] and len(records) == 5
    assert len(ShardDataset("shards", files=str(tmp_path), limit=2).load()) == 2
    with pytest.raises(UnreadableImage, match="cannot identify image file broken.jpg"):
        open_image(records[4].path)


def test_what_is_known_of_shards_is_kept_until_they_change(shards, photos, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("read again")

    expected, states = list(shards.load()), shards.states()
    with monkeypatch.context() as patch:
        patch.setattr("magic_cli.data.shard_index.read_shard", refuse)
        again = ShardDataset("shards", files=str(tmp_path))
        assert list(again.load()) == expected and again.states() == states
    [kept, *_] = (tmp_path / "cache" / "magic" / "shards").iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    (tmp_path / "00001.tar").write_bytes(shard([("new.jpg", photos[4])]))
    changed = ShardDataset("shards", files=str(tmp_path))
    assert [record.id for record in changed.load()] == ["00000/a/1", "00000/a/2", "00000/3", "00001/new"]
    assert {Path(place).stem for place, state in changed.states().items() if states[place] == state} == {"00000"}


@pytest.mark.parametrize("place", ["{folder}/cut.tar", "nosuch://bucket/a.tar"])
def test_image_of_a_shard_that_cannot_be_read_is_one_unreadable_image(place, tmp_path):
    (tmp_path / "cut.tar").write_bytes(b"cut")
    place = place.format(folder=tmp_path)
    with pytest.raises(UnreadableImage, match=f"{place}: "):
        image_at(f"{place}/1.jpg").read_bytes()


def test_shards_can_be_sent_to_another_process_without_their_records(shards):
    records = shards.load()
    assert len(pickle.dumps(shards)) < 500
    assert pickle.loads(pickle.dumps(records[0])) == records[0]


@pytest.mark.parametrize(
    ("members", "settings", "problem"),
    [
        ([("1.jpg", b"x"), ("1.png", b"y")], {}, "the key '1' has two images, 1.jpg and 1.png; say which"),
        ([("1.txt", b"a dog")], {}, "no images found"),
        (None, {}, "no such file"),
        (b"cut", {}, "is not a complete tar file"),
    ],
)
def test_shard_that_cannot_be_used_is_one_line(members, settings, problem, tmp_path):
    if members is not None:
        (tmp_path / "a.tar").write_bytes(members if isinstance(members, bytes) else shard(members))
    with pytest.raises(MagicError, match=problem) as error:
        ShardDataset("shards", files=str(tmp_path / "a.tar"), **settings).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("1.txt", "ein Käfer".encode("latin-1"), "1.txt"),
        ("1.json", b'{"caption": "a b', "1.json: not valid JSON"),
        ("1.json", b'{"caption": 7}', "1.json, caption: must be a text or a list"),
        ("1.txt", b"cat " * (1 << 18) + b"!", "1.txt: has more than 1 MiB"),
        ("1.json", b" " * (1 << 20) + b"{}", "1.json: has more than 1 MiB"),
    ],
)
def test_caption_that_cannot_be_read_is_left_out_and_told(name, data, problem, photos, tmp_path):
    members = [("1.jpg", photos[0]), (name, data), ("2.jpg", photos[1]), ("2.txt", b"two cats"), ("README.txt", b"\xff")]
    (tmp_path / "a.tar").write_bytes(shard(members))
    for _ in ("looked through", "from the cache"):
        dataset = ShardDataset("shards", files=str(tmp_path / "a.tar"))
        assert [record.references for record in dataset.load()] == [(), ("two cats",)]
        [note] = dataset.notes()
        assert note.startswith(f"{tmp_path}/a.tar: 1 image whose caption cannot be read has no references; the first: {problem}")


def test_extension_says_which_image_of_a_key_is_meant(photos, tmp_path):
    (tmp_path / "a.tar").write_bytes(shard([("1.jpg", photos[0]), ("1.seg.png", photos[1]), ("2.jpg", photos[2])]))
    for extension, count in (("jpg", 2), ("seg.png", 1)):
        records = ShardDataset("shards", files=str(tmp_path / "a.tar"), extension=extension).load()
        assert len(records) == count and records[0].id == "a/1" and records[0].image_name == f"1.{extension}"


def test_files_behind_an_address_are_read_like_local_ones(shards, photos, tmp_path):
    system = fsspec.filesystem("memory")
    for name in ("00000.tar", "00001.tar"):
        system.pipe(f"/bucket/{name}", (tmp_path / name).read_bytes())
    system.pipe("/bucket/rows.parquet", table_bytes({"image": photos[:2]}))
    remote = ShardDataset("shards", files="memory://bucket/*.tar")
    records = remote.load()
    assert [record.id for record in records] == [record.id for record in shards.load()]
    assert [record.path.read_bytes() for record in records][:4] == photos[:4]
    assert image_at(str(records[0].path)) == records[0].path and len(remote.states()) == 2
    rows = ParquetDataset("parquet", files="memory://bucket").load()
    assert [row.path.read_bytes() for row in rows] == photos[:2]
    for address, problem in (
        ("memory://none/*.tar", "no such file"),
        ("nosuch://a", "nosuch:// is no known kind of address; known are https://, s3://, .*pip install that"),
        ("htps://a/b.tar", "htps:// is no known kind of address; did you mean https://"),
        ("zip://a.tar::foo://b.zip", "foo:// is no known kind of address"),
        ("s3://a/*.tar", "s3fs"),
    ):
        with pytest.raises(MagicError, match=f"dataset.files={address.replace('*', '.')}.*{problem}") as error:
            ShardDataset("shards", files=address).load()
        assert "\n" not in str(error.value)
    system.rm("/bucket", recursive=True)
    assert digest_of(records[0].path) is None


def test_files_of_one_name_whose_images_get_one_id_are_refused_with_a_remedy(photos, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.tar").write_bytes(shard([("1.jpg", photos[0])]))
        (tmp_path / folder / "0.parquet").write_bytes(table_bytes({"image": photos[:1]}))
    for dataset in (ShardDataset("s", files=f"{tmp_path}/*/*.tar"), ParquetDataset("p", files=f"{tmp_path}/*/*.parquet")):
        with pytest.raises(MagicError, match="stands for both .*; ids begin with .*: rename one of the files, or caption each"):
            dataset.load()
    (tmp_path / "b" / "0.tar").write_bytes(shard([("2.jpg", photos[0])]))
    assert len(ShardDataset("s", files=f"{tmp_path}/*/*.tar").load()) == 2, "keys that differ are enough"


def test_files_must_be_named(tmp_path):
    with pytest.raises(MagicError, match=r"dataset.files=.*: holds no .tar file; set dataset.files"):
        ShardDataset("shards", files=str(tmp_path)).load()
    with pytest.raises(SettingsError, match="dataset.files is not set; set dataset.files to webdataset shards"):
        ShardDataset("shards")


def test_json_of_what_is_kept_is_plain(shards, tmp_path):
    shards.load()
    for file in (tmp_path / "cache" / "magic" / "shards").iterdir():
        assert set(json.loads(file.read_text())) >= {"place", "state", "names", "offsets", "sizes"}
