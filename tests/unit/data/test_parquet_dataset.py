"""Images in columns of Parquet files: read in any order, by bytes and by paths, refused where they are damaged."""

import fsspec
import pyarrow
import pytest

from magic_cli.data.images import ImageBytes, UnreadableImage, digest_of, open_image
from magic_cli.data.named_images import image_at
from magic_cli.data.parquet_dataset import ParquetDataset
from magic_cli.errors import MagicError
from tests.files import table_bytes

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def photos(tiny_photos):
    return [file.read_bytes() for file in sorted(tiny_photos.iterdir())[:5]]


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
