"""Images in webdataset shards and Parquet files: found in order, read where they lie, refused where they are damaged."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from magic_cli.data.images import ImageBytes, UnreadableImage, digest_of, open_image
from magic_cli.data.named_images import image_at
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.data.shard_dataset import ShardDataset
from magic_cli.errors import MagicError, SettingsError

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


def test_caption_of_a_row_that_cannot_be_read_is_left_out_and_told(photos, tmp_path):
    (tmp_path / "a.parquet").write_bytes(table_bytes({"image": photos[:3], "texts": [["a"], ["b", None], [None]]}))
    dataset = ParquetDataset("parquet", files=str(tmp_path), caption="texts")
    assert [record.references for record in dataset.load()] == [("a",), (), ()]
    [note] = dataset.notes()
    assert "a.parquet: 2 images whose captions cannot be read have no references; the first: row 1: texts: every entry" in note


def test_captions_may_be_lists_of_categories(tmp_path):
    kept = pyarrow.array([["a cat"], ["a dog", "a cat"]], pyarrow.list_(pyarrow.dictionary(pyarrow.int8(), pyarrow.string())))
    (tmp_path / "a.parquet").write_bytes(table_bytes({"image": [b"cat", b"dog"], "caption": kept}))
    records = ParquetDataset("parquet", files=str(tmp_path), caption="caption").load()
    assert [record.references for record in records] == [("a cat",), ("a dog", "a cat")]


def test_only_row_of_a_file_may_have_a_caption_that_cannot_be_read(photos, tmp_path):
    for number, caption in enumerate(([None], ["a"])):
        (tmp_path / f"{number}.parquet").write_bytes(table_bytes({"image": photos[:1], "texts": [caption]}))
    dataset = ParquetDataset("parquet", files=str(tmp_path), caption="texts")
    assert [record.references for record in dataset.load()] == [(), ("a",)] and len(dataset.notes()) == 1


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


def table_bytes(columns, **options):
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream, **options)
    return stream.getvalue()


def test_rows_of_parquet_files_are_images_in_any_order(photos, tmp_path):
    for number, part in enumerate((photos[:3], photos[3:])):
        captions = [["a", "b"], None, ["c"]][: len(part)]
        (tmp_path / f"part-{number}.parquet").write_bytes(
            table_bytes({"image": part, "texts": captions, "key": [f"k{number}{i}" for i in range(len(part))]}, row_group_size=2)
        )
    records = ParquetDataset("parquet", files=str(tmp_path), caption="texts").load()
    assert [record.id for record in records] == ["part-0/0", "part-0/1", "part-0/2", "part-1/0", "part-1/1"]
    assert [record.references for record in records] == [("a", "b"), (), ("c",), ("a", "b"), ()]
    for row in (4, 0, 2, 1, 1, 3, 0):
        assert records[row].path.read_bytes() == photos[row] and digest_of(image_at(str(records[row].path)))
    named = ParquetDataset("parquet", files=str(tmp_path), id="key").load()
    assert [record.id for record in named][2:4] == ["k02", "k10"]


def test_row_group_that_ends_early_is_a_reason(photos, tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(table_bytes({"image": photos[:2]}))
    rows = ParquetDataset("parquet", files=str(tmp_path)).load()
    monkeypatch.setattr("magic_cli.data.parquet.Table.cells", lambda self, column, group: iter(()))
    with pytest.raises(UnreadableImage, match="row group 0 ends before its last row"):
        rows[0].path.read_bytes()


def test_parquet_of_hugging_face_and_of_paths_are_read(photos, tiny_photos, tmp_path):
    [first, second, *_] = sorted(tiny_photos.iterdir())
    structs = [{"bytes": photos[0], "path": "a.jpg"}, {"bytes": None, "path": None}]
    (tmp_path / "hf.parquet").write_bytes(table_bytes({"image": structs}))
    one, none = ParquetDataset("parquet", files=str(tmp_path / "hf.parquet")).load()
    assert one.path.read_bytes() == photos[0]
    with pytest.raises(UnreadableImage, match="there is no image in this row"):
        none.path.read_bytes()
    system = fsspec.filesystem("memory")
    system.pipe("/away.jpg", photos[2])
    (tmp_path / "paths.parquet").write_bytes(table_bytes({"file": [first.name, str(second), "memory://away.jpg"]}))
    rows = ParquetDataset("parquet", files=str(tmp_path / "paths.parquet"), image="file", root=str(tiny_photos)).load()
    assert [digest_of(row.path) for row in rows] == [
        digest_of(first),
        digest_of(second),
        digest_of(image_at("memory://away.jpg")),
    ]
    assert [row.image_name for row in rows] == [first.name, second.name, "away.jpg"] and rows[0].path == first


def test_relative_path_in_a_table_is_a_file_name_and_has_no_query(photos, tmp_path):
    (tmp_path / "a.jpg").write_bytes(photos[0])
    (tmp_path / "b.jpg?w=3").write_bytes(photos[1])
    (tmp_path / "rows.parquet").write_bytes(table_bytes({"image": ["a.jpg?w=300", "b.jpg?w=3", "", None]}))
    asked, there, *empty = (row.path for row in ParquetDataset("parquet", files=str(tmp_path / "rows.parquet")).load())
    assert open_image(there).size == open_image(ImageBytes(photos[1], "b")).size
    with pytest.raises(UnreadableImage, match=r'^no such file; "\?w=300" counts as part of its name, as only a whole address'):
        open_image(asked)
    for image in empty:
        with pytest.raises(UnreadableImage, match="^there is no image in this row"):
            open_image(image)
    fsspec.filesystem("memory").pipe("/rows/rows.parquet", (tmp_path / "rows.parquet").read_bytes())
    [away, *_] = ParquetDataset("parquet", files="memory://rows/rows.parquet").load()
    with pytest.raises(
        UnreadableImage, match=r'^there is no file memory:/+rows/a.jpg\?w=300; "\?w=300" counts as part of its name'
    ):
        open_image(away.path)


def test_hugging_face_rows_without_bytes_are_read_from_their_paths(photos, tiny_photos, tmp_path):
    [first, second, *_] = sorted(tiny_photos.iterdir())
    held, empty = [{"bytes": data, "path": "in-the-file.jpg"} for data in photos[2:4]], {"bytes": None, "path": None}
    structs = [*held, {"bytes": None, "path": first.name}, empty, {"bytes": None, "path": str(second)}, None]
    for name, options in {"counted": {}, "uncounted": {"write_statistics": False}}.items():
        (tmp_path / f"{name}.parquet").write_bytes(table_bytes({"image": structs}, row_group_size=2, **options))
        rows = ParquetDataset("parquet", files=str(tmp_path / f"{name}.parquet"), root=str(tiny_photos)).load()
        assert [row.path for row in rows][2::2] == [first, second]
        assert [row.path.read_bytes() for row in (*rows[:3], rows[4])] == [*photos[2:4], photos[0], photos[1]]
        for row in (rows[3], rows[5]):
            with pytest.raises(UnreadableImage, match="there is no image in this row"):
                row.path.read_bytes()


@pytest.mark.parametrize("root", ["~/photos", "photos", "file://{home}/photos", "{home}/photos/"])
def test_paths_of_rows_are_absolute_however_the_root_is_written(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    (tmp_path / "p.parquet").write_bytes(table_bytes({"file": ["a.jpg", f"file://{tmp_path}/photos/a.jpg", None]}))
    dataset = ParquetDataset("parquet", files="p.parquet", image="file", root=root.format(home=tmp_path))
    rows = dataset.load()
    assert [row.path for row in rows][:2] == [tmp_path / "photos" / "a.jpg"] * 2
    with pytest.raises(UnreadableImage, match="there is no image in this row"):
        rows[2].path.read_bytes()
    remote = ParquetDataset("parquet", files="p.parquet", image="file", root="memory://bucket/")
    assert str(remote.load()[0].path) == "memory://bucket/a.jpg"


@pytest.mark.parametrize(
    ("columns", "settings", "problem"),
    [
        ({"picture": [b"x"]}, {}, "dataset.image=image: .*has no such column; it has picture"),
        ({"image": [1]}, {}, "is of the type int64; name one of bytes"),
        ({"image": [b"x"]}, {"caption": "text"}, "dataset.caption=text: .*has no such column; it has image"),
        ({"image": [b"x"], "text": [1]}, {"caption": "text"}, "dataset.caption=text: .*is of the type int64; name one of texts"),
        (
            {"image": [b"x", b"y"], "n": ["a", "a"]},
            {"id": "n"},
            "the id 'a' stands for both.*; name a column whose values differ, or leave dataset.id=n",
        ),
        (
            {"image": [b"x", b"y"], "n": [1, None]},
            {"id": "n"},
            "dataset.id=n: .*a.parquet row 1 must be a text or a whole number",
        ),
        (b"PAR1", {}, "is no whole Parquet file"),
        (None, {}, "no such file"),
    ],
)
def test_parquet_that_cannot_be_used_is_one_line(columns, settings, problem, tmp_path):
    if columns is not None:
        (tmp_path / "a.parquet").write_bytes(columns if isinstance(columns, bytes) else table_bytes(columns))
    with pytest.raises(MagicError, match=problem) as error:
        ParquetDataset("parquet", files=str(tmp_path / "a.parquet"), **settings).load()
    assert "\n" not in str(error.value)


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
