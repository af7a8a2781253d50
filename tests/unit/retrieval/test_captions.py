"""Captions of an index, and whose images they are."""

import json

import pytest

from magic_cli.data.image_names import identities
from magic_cli.retrieval.captions import Captions, load_captions
from magic_cli.retrieval.clipre import CaptionRetrieval

KARPATHY = {"images": [
    {"split": "train", "filename": "COCO_train2014_000000000009.jpg", "cocoid": 9, "sentences": [{"raw": "A cat."}, {"raw": "A red cat."}]},
    {"split": "train", "filename": "b.jpg", "sentences": [{"raw": "A cat."}, {"raw": "A cow."}]},
    {"split": "val", "filename": "c.jpg", "sentences": [{"raw": "A sheep."}]},
]}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "000000000009.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 1, "caption": "A cat."},
        {"image_id": 1, "caption": "A red cat."},
        {"image_id": 2, "caption": "A cat."},
        {"image_id": 2, "caption": "A cow."},
    ],
}
IDS = [{"image_id": 9, "captions": ["A cat.", "A red cat."]}, {"image_id": 7, "captions": ["A cat.", "A cow."]}]
BY_ID = {"9": ["A cat.", "A red cat."], "7": ["A cat.", "A cow."]}
NAMES = [
    {"image": "x/000000000009.jpg", "captions": ["A cat.", "A red cat."]},
    {"image": "b.jpg", "captions": ["A cat.", "A cow."]},
]


@pytest.mark.parametrize("document", [KARPATHY, COCO, IDS, BY_ID, NAMES], ids=["karpathy", "coco", "ids", "by_id", "names"])
@pytest.mark.parametrize("name", ["captions.json", "Captions.JSON"])
def test_captions_that_only_one_image_has_are_known_by_its_names(tmp_path, document, name):
    (tmp_path / name).write_text(json.dumps(document))
    captions = load_captions(CaptionRetrieval(captions="mine", captions_file=str(tmp_path / name)))
    assert captions.texts == ["A cat.", "A red cat.", "A cow."] and captions.named == captions.read == 4
    assert captions.own(identities("COCO_val2014_000000000009.jpg", 1)) == {1}, "a caption that another image has, too, stays"
    assert captions.own(identities("000000000010.jpg", 9)) == set(), "a number of its own means nothing beside COCO's"
    assert captions.own(identities("b.jpg", 7)) == {2}


def test_images_of_plain_lines_are_not_known(tmp_path):
    (tmp_path / "captions.txt").write_text("A cat.\nA cow.\nA cat.\n")
    captions = load_captions(CaptionRetrieval(captions="mine", captions_file=str(tmp_path / "captions.txt")))
    assert captions == Captions(["A cat.", "A cow."], named=0, read=3, of_image={})


def test_wrong_annotation_is_named_by_its_place(tmp_path):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "A cat."}, {"image_id": 2}]}))
    with pytest.raises(Exception, match="captions.json annotation 2: needs image_id and caption"):
        load_captions(CaptionRetrieval(captions="mine", captions_file=str(file)))


@pytest.mark.parametrize(
    "document",
    [
        {
            "annotations": [
                {"image_id": 2, "caption": "['a dog', 'a pup']"},
                {"image_id": "1", "caption": "a cat"},
                {"image_id": 2.0, "caption": "dogs"},
            ]
        },
        [
            {"image_id": 2, "caption": "['a dog', 'a pup']"},
            {"image": "1.jpg", "sentence": "a cat"},
            {"captions": [{"raw": "dogs"}]},
        ],
        ["a dog", "a pup", {"raw": "a cat"}, "dogs"],
    ],
)
def test_captions_are_read_in_their_order_as_everywhere_else(tmp_path, document):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(document))
    assert load_captions(CaptionRetrieval(captions="mine", captions_file=str(file))).texts == ["a dog", "a pup", "a cat", "dogs"]
