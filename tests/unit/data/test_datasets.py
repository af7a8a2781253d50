"""Each dataset from files as they are in the wild, and every way in which they can be wrong."""

import json

import pytest
from PIL import Image

from magic_cli.data.datasets import CocoCaptionsDataset, KarpathyDataset, PhotoFiles, PhotoFolder
from magic_cli.errors import MagicError


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


@pytest.fixture
def karpathy(tmp_path):
    image = lambda name, split, i: {"filepath": "val2014", "filename": name, "split": split, "cocoid": i,
                                    "sentences": [{"raw": f"Caption {i}.", "tokens": []}]}  # fmt: skip
    document = {"images": [image("COCO_val2014_000000000042.jpg", "test", 42), image("COCO_val2014_000000000007.jpg", "val", 7)]}
    (tmp_path / "dataset_coco.json").write_text(json.dumps(document))
    photo(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    return tmp_path


def test_karpathy_split_gives_ids_paths_and_references(karpathy):
    [record] = KarpathyDataset(
        name="coco", annotations=str(karpathy / "dataset_coco.json"), root=str(karpathy), split="test"
    ).load()
    assert (record.id, record.image_id, record.split) == ("42", 42, "test")
    assert record.path == karpathy / "val2014" / "COCO_val2014_000000000042.jpg" and record.path.exists()
    assert record.references == ("Caption 42.",)


def test_karpathy_images_are_found_when_root_is_the_image_folder_itself(karpathy):
    [record] = KarpathyDataset(
        name="coco", annotations=str(karpathy / "dataset_coco.json"), root=str(karpathy / "val2014"), split="test"
    ).load()
    assert record.path.exists()


def test_flickr30k_ids_are_file_stems(tmp_path):
    document = {"images": [{"filename": "1007129816.jpg", "split": "test", "sentences": [{"raw": "A man."}], "imgid": 0}]}
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps(document))
    photo(tmp_path / "1007129816.jpg")
    [record] = KarpathyDataset(name="flickr30k", annotations=str(tmp_path / "dataset_flickr30k.json"), root=str(tmp_path)).load()
    assert (record.id, record.image_id) == ("1007129816", None)


def test_coco_captions_are_grouped_by_image(tmp_path):
    document = {"images": [{"id": 3, "file_name": "c.jpg", "split": "val"}, {"id": 4, "file_name": "d.jpg", "split": "train"}],
                "annotations": [{"image_id": 3, "caption": "one"}, {"image_id": 4, "caption": "no"}, {"image_id": 3, "caption": "two"}]}  # fmt: skip
    (tmp_path / "captions.json").write_text(json.dumps(document))
    photo(tmp_path / "c.jpg")
    load = lambda split: CocoCaptionsDataset(
        name="x", annotations=str(tmp_path / "captions.json"), root=str(tmp_path), split=split
    ).load()
    assert [r.references for r in load("val")] == [("one", "two")]
    assert [r.id for r in load(None)] == ["3", "4"]
    with pytest.raises(MagicError, match="dataset.split must be one of train, val or null, got 'tset'"):
        load("tset")


def test_coco_captions_belong_to_their_image_however_its_id_is_written(tmp_path):
    def load(images, annotations):
        (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
        photo(tmp_path / "c.jpg")
        return CocoCaptionsDataset(name="x", annotations=str(tmp_path / "captions.json"), root=str(tmp_path)).load()

    image = {"id": "3", "file_name": "c.jpg"}
    [record] = load(
        [image],
        [
            {"image_id": 3, "caption": "one"},
            {"image_id": 3.0, "caption": "['two', 'three']"},
            {"image_id": 4, "caption": "of none"},
        ],
    )
    assert (record.references, record.image_id) == (("one", "two", "three"), "3")
    for images, annotation, part in [
        ([image], {"image_id": 3, "caption": 5}, "annotation 1, caption: must be a text or a list of texts, got '5'"),
        ([image], {"image_id": 3}, "annotation 1: needs image_id and caption"),
        ([{"id": 3}], {"image_id": 3, "caption": "a"}, "image 3 has no file_name"),
        ([{"file_name": "c.jpg"}], {"image_id": 3, "caption": "a"}, "image 1: needs an id"),
        (
            [image, {"id": 3, "file_name": "d.jpg"}],
            {"image_id": 3, "caption": "a"},
            "image 2: the id '3' belongs to both c.jpg and d.jpg",
        ),
    ]:
        with pytest.raises(MagicError, match=part) as caught:
            load(images, [annotation])
        assert str(caught.value).startswith("dataset.annotations=") and "\n" not in str(caught.value)


def test_photo_folder_is_sorted_and_recursive(tmp_path):
    for name in ("b.JPG", "a/z.png", "notes.txt"):
        photo(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("no image")
    records = PhotoFolder(name="photos", root=str(tmp_path)).load()
    assert [record.id for record in records] == ["a/z.png", "b.JPG"]
    assert [r.id for r in PhotoFolder(name="photos", root=str(tmp_path), limit=1).load()] == ["a/z.png"]


def test_file_names_are_ids_unless_they_repeat(tmp_path):
    paths = [str(photo(tmp_path / name)) for name in ("x/cat.jpg", "y/cat.jpg", "dog.jpg")]
    records = PhotoFiles(name="files", paths=[*paths, paths[2]]).load()
    assert [record.id for record in records] == [paths[0], paths[1], "dog.jpg"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["dataset.annotations", "no such file", "prepare_coco.py"]),
        ("{not json", ["line 1", "not valid JSON"]),
        ("[]", ["not as expected", "docs/formats.md"]),
        ('{"pictures": []}', ["no key 'images'", "docs/formats.md"]),
        ('{"images": [{"split": "test"}]}', ["no key 'filename'"]),
        ('{"images": [{"filename": "", "sentences": []}]}', ["an image has no file_name", "docs/formats.md"]),
        ('{"images": [{"filename": "", "cocoid": 3, "sentences": []}]}', ["image 3 has no file_name"]),
        ('{"images": []}', ["no images found"]),
    ],
)
def test_annotations_fault_is_named_in_one_line(tmp_path, content, parts):
    if content is not None:
        (tmp_path / "d.json").write_text(content)
    with pytest.raises(MagicError) as caught:
        KarpathyDataset(name="coco", annotations=str(tmp_path / "d.json"), root=str(tmp_path)).load()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_repeated_id_is_refused(karpathy):
    document = json.loads((karpathy / "dataset_coco.json").read_text())
    document["images"] = [document["images"][0]] * 2
    (karpathy / "dataset_coco.json").write_text(json.dumps(document))
    with pytest.raises(MagicError, match="the id '42' stands for both"):
        KarpathyDataset(name="coco", annotations=str(karpathy / "dataset_coco.json"), root=str(karpathy)).load()


@pytest.mark.parametrize("make", [
    lambda p: PhotoFolder(name="photos", root=str(p / "none")),
    lambda p: PhotoFiles(name="files", paths=[str(p / "none.jpg")]),
])  # fmt: skip
def test_nothing_there_is_said_before_models_load(tmp_path, make):
    with pytest.raises(MagicError, match="no such folder|its image does not exist: "):
        make(tmp_path).load()
