"""Files of references, in the forms in which people have them, and what is wrong with them."""

import json

import pytest

from magic_cli.data.references import read_references
from magic_cli.errors import MagicError, SettingsError
from tests.files import written

_QUOTE = '"'
REFERENCES = {"391895": ("one", "two"), "60623": ("three",)}
REFERENCE_FORMS = {
    "coco.json": {
        "images": [{"id": int(i), "file_name": f"COCO_val2014_{int(i):012d}.jpg"} for i in REFERENCES]
        + [{"id": 5, "file_name": "no_captions.jpg"}],
        "annotations": [{"id": 9, "image_id": int(i), "caption": c} for i, texts in REFERENCES.items() for c in texts],
    },
    "karpathy.json": {
        "images": [
            {
                "cocoid": int(i),
                "filename": f"COCO_val2014_{int(i):012d}.jpg",
                "filepath": "val2014",
                "split": "test",
                "sentences": [{"raw": c} for c in texts],
            }
            for i, texts in REFERENCES.items()
        ]
    },
    "lines.jsonl": [{"id": i, "references": list(texts)} for i, texts in REFERENCES.items()],
    "object.json": {i: list(texts) for i, texts in REFERENCES.items()},
    "one_a_record.json": [{"image_id": int(i), "caption": c} for i, texts in REFERENCES.items() for c in texts],
    "annotations.json": [
        {"image_id": int(i), "id": 10 * place + n, "caption": c}
        for place, (i, texts) in enumerate(REFERENCES.items())
        for n, c in enumerate(texts)
    ],
    "gts_of_pycocoevalcap.json": {i: [{"image_id": int(i), "caption": c} for c in texts] for i, texts in REFERENCES.items()},
    "records_by_id.json": {i: {"captions": list(texts), "file_name": f"{i}.jpg"} for i, texts in REFERENCES.items()},
    "rows_of_the_hub.jsonl": [
        {"filename": f"{i}.jpg", "imgid": 0, "split": "test", "cocoid": int(i), "sentences": {"raw": c, "tokens": c.split()}}
        for i, texts in REFERENCES.items()
        for c in texts
    ],
    "flickr_annotations_30k.csv": "raw,sentids,split,filename,img_id\n"
    + "".join(f'"{json.dumps(texts).replace(_QUOTE, 2 * _QUOTE)}",[0],test,{i}.jpg,{i}\n' for i, texts in REFERENCES.items()),
    "all_in_one.json": [{"image_id": int(i), "caption": list(texts)} for i, texts in REFERENCES.items()],
    "json_cells.tsv": "".join(f"{i}\t{json.dumps([{'caption': c} for c in texts])}\n" for i, texts in REFERENCES.items()),
    "quoted_lists.csv": 'ID,References\n391895,"[""one"", ""two""]"\n60623,"[""three""]"\n',
    "token.txt": "".join(f"{i}.jpg#{n}\t{c}\n" for i, texts in REFERENCES.items() for n, c in enumerate(texts)),
    "captions.txt": "image,caption\n" + "".join(f"{i}.jpg,{c}\n" for i, texts in REFERENCES.items() for c in texts),
    "results.csv": "image_name| comment_number| comment\n"
    + "".join(f"{i}.jpg| {n}| {c}\n" for i, texts in REFERENCES.items() for n, c in enumerate(texts)),
    "released.json": [
        {"split": "test", "image_name": i, "captions": list(texts), "prediction": "x"} for i, texts in REFERENCES.items()
    ],
}


@pytest.mark.parametrize("name", REFERENCE_FORMS)
def test_references_are_read_when_the_form_is_known(tmp_path, name):
    found = read_references(written(tmp_path, name, REFERENCE_FORMS[name]))
    assert {item.removesuffix(".jpg"): texts for item, texts in found.captions.items()} == REFERENCES
    assert len(found.find("60623.jpg")) == len(found.find("391895")) == 1


@pytest.mark.parametrize(
    "name", ["391895", "val2014/COCO_val2014_000000391895.jpg", "COCO_val2014_000000391895", "000000391895.jpg", "391895.0"]
)
def test_image_is_found_by_any_of_its_names(tmp_path, name):
    assert read_references(written(tmp_path, "coco.json", REFERENCE_FORMS["coco.json"])).find(name) == ("391895",)


def test_name_that_fits_two_images_finds_both(tmp_path):
    references = read_references(written(tmp_path, "refs.json", {"a/cat.jpg": ["x"], "b/cat.jpg": ["y"]}))
    assert references.find("cat.jpg") == ("a/cat.jpg", "b/cat.jpg")
    assert references.find("b/cat.jpg") == references.find("/photos/b/cat.JPG") == ("b/cat.jpg",)


def test_annotations_are_of_one_image_however_its_id_is_written_and_may_be_printed_lists(tmp_path):
    annotations = [
        {"image_id": "1", "caption": "['a dog runs', 'a dog']"},
        {"image_id": 1.0, "caption": "dogs"},
        {"image_id": 1, "caption": ["a pup"]},
    ]
    found = read_references(
        written(tmp_path, "coco.json", {"images": [{"id": "1", "file_name": "cat.jpg"}], "annotations": annotations})
    )
    assert found.captions == {"1": ("a dog runs", "a dog", "dogs", "a pup")} and found.find("cat.jpg") == ("1",)


def test_split_keeps_its_images_and_names_the_others(tmp_path):
    path = written(tmp_path, "refs.json", REFERENCE_FORMS["karpathy.json"])
    assert len(read_references(path, split="test").captions) == 2
    with pytest.raises(SettingsError, match="split=val.*has the splits test"):
        read_references(path, split="val")
    with pytest.raises(SettingsError, match=r"split=val: .*object.json has no splits"):
        read_references(written(tmp_path, "object.json", REFERENCE_FORMS["object.json"]), split="val")


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([{"id": 1, "references": []}], "must be a text or a list of texts"),
        ([{"id": 1, "references": ["a", None]}], "every entry must be a text"),
        ([{"id": 1, "references": ["a"]}, {"id": 1, "references": ["b"]}], "appears twice"),
        ([{"id": 1}], "no references"),
        ({"annotations": [{"image_id": 1}]}, "needs image_id and caption"),
        ({"annotations": []}, "holds no references"),
        (
            {
                "annotations": [{"image_id": 1, "caption": "a"}],
                "images": [{"id": 1, "file_name": "a"}, {"id": 1.0, "file_name": "b"}],
            },
            "image 2: the id '1' belongs to both a and b",
        ),
        (
            {"annotations": [{"image_id": 1.5, "caption": "a"}]},
            "annotation 1: image_id must be a text or a whole number, got '1.5'",
        ),
        ({"annotations": [{"image_id": 1, "caption": 5}]}, "annotation 1, caption: must be a text or a list of texts, got '5'"),
        ([{"filename": "a.jpg", "sentences": []}], "id 'a'.: its sentences are none"),
        ({"annotations": [], "images": ["a"]}, "image 1: needs an id"),
        ([{"id": 1, "caption": None}], "caption: is null"),
        ([{"sentences": [{"raw": "a"}]}], "record 1: no id"),
        ({"evaluation_result": []}, "is a released story file.*give it as a system"),
        ("image,references\n1,\"['a' 'b']\"\n", "line 2: looks like a printed list .*no comma"),
    ],
)
def test_one_line_names_the_fault_when_references_are_wrong(tmp_path, document, part):
    with pytest.raises(MagicError, match=part):
        read_references(written(tmp_path, "refs.json", document))
