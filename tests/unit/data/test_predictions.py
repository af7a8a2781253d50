"""Files of captions and references, in the forms in which people have them, and what is wrong with them."""

import gzip
import json

import pytest

from magic_cli.data.predictions import read_system
from magic_cli.data.references import aliases, read_references
from magic_cli.errors import MagicError, SettingsError


def written(tmp_path, name, document):
    path = tmp_path / name
    if isinstance(document, str):
        text = document
    elif name.endswith((".jsonl", ".jsonl.gz")):
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in document)
    else:
        text = json.dumps(document, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


CAPTIONS = {"391895": "A man rides.", "60623": "Ein Kind ißt Kuchen — 子供"}
FORMS = {
    "results.json": [{"image_id": int(i), "caption": c} for i, c in CAPTIONS.items()],
    "results_wrapped.json": {"info": "x", "annotations": [{"image_id": int(i), "caption": c} for i, c in CAPTIONS.items()]},
    "plain.jsonl": [{"id": i, "caption": c} for i, c in CAPTIONS.items()],
    "plain.jsonl.gz": [{"id": i, "caption": c} for i, c in CAPTIONS.items()],
    "released.json.gz": [{"split": "test", "image_name": i, "captions": ["ref"], "prediction": c} for i, c in CAPTIONS.items()],
    "object.json": CAPTIONS,
    "lists_of_one.json": [{"image_id": i, "caption": [c]} for i, c in CAPTIONS.items()],
    "one_line.jsonl": [{"id": "391895", "caption": "A man rides."}],
    "stdout.tsv": "".join(f"{i}\t{c}\n" for i, c in CAPTIONS.items()),
    "header.tsv": "image_id\tcaption\n" + "".join(f"{i}\t{c}\n" for i, c in CAPTIONS.items()),
    "json_cells.tsv": "".join(f"{i}\t{json.dumps([{'caption': c, 'conf': 0.5}])}\n" for i, c in CAPTIONS.items()),
    "table.csv": "image,caption\n" + "".join(f"{i},{c}\n" for i, c in CAPTIONS.items()),
    "lists_of_one_by_name.json": [{"img_id": i, "prediction": [c]} for i, c in CAPTIONS.items()],
    "with_bom.json": "\ufeff" + json.dumps(CAPTIONS),
}


@pytest.mark.parametrize("name", FORMS)
def test_captions_are_read_when_the_form_is_known(tmp_path, name):
    system = read_system(written(tmp_path, name, FORMS[name]))
    assert system.captions == (CAPTIONS if "one_line" not in name else {"391895": "A man rides."})
    assert system.name == name.split(".")[0]


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ([{"id": 1, "caption": "a"}, {"id": "1", "caption": "b"}], ("record 2", "'1' stands twice")),
        ([{"id": 1, "caption": "a"}, {"id": 2}], ("record 2", "id '2'", "no caption")),
        ([{"id": 1, "caption": "a"}, {"id": 2, "caption": None}], ("record 2", "must be one caption, got None")),
        ([{"id": 1, "caption": 3}], ("record 1", "got 3")),
        ([{"id": 1, "caption": ["a", "b"]}], ("record 1", "got 2 of them")),
        ([{"id": 1, "caption": "a", "prediction": "b"}], ("caption and prediction", "caption_key=")),
        ([{"caption": "a"}], ("record 1", "no id", "id_key")),
        ([{"id": 1.5, "caption": "a"}], ("record 1", "id must be")),
        ([{"id": True, "caption": "a"}], ("record 1", "id must be")),
        ([["a"]], ("record 1", "must be a JSON object")),
        ([], ("holds no captions",)),
        ({"x": 1}, ("unknown form",)),
        (3, ("holds int",)),
        ('{"a": "x", "a": "y"}', ("'a' stands twice",)),
        ("", ("empty",)),
        ('[{"id": 1,', ("line 1", "not valid JSON")),
        ("hello\n", ("neither JSON nor a table", "'hello'")),
        ("a.jpg\tA dog\nb.jpg A cat\n", ("line 2", "no tab")),
        ("image,caption\na.jpg\n", ("line 2", "1 of the 2 columns")),
        ('a.jpg\t[{"conf": 1}]\n', ("line 1", "JSON list of captions")),
    ],
)
def test_one_line_names_file_and_record_when_predictions_are_wrong(tmp_path, document, parts):
    path = written(tmp_path, "preds.json", document)
    with pytest.raises(MagicError) as caught:
        read_system(path)
    message = str(caught.value)
    assert "\n" not in message and "preds.json" in message
    for part in parts:
        assert part in message


def test_line_is_named_when_a_line_of_many_is_damaged(tmp_path):
    path = written(tmp_path, "preds.jsonl", '{"id": 1, "caption": "a"}\n{"id": 2, "cap\n{"id": 3, "caption": "c"}\n')
    with pytest.raises(MagicError, match="line 2: not valid JSON"):
        read_system(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:30] + b"xxxx" + data[34:]])
def test_gzip_that_is_damaged_is_refused(tmp_path, damage):
    path = written(tmp_path, "preds.json.gz", [{"id": i, "caption": f"caption {i}"} for i in range(50)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MagicError, match="cannot be read"):
        read_system(path)


def test_keys_can_be_named(tmp_path):
    path = written(tmp_path, "preds.json", [{"nr": 7, "caption": "gold", "out": "mine"}])
    assert read_system(path, id_key="nr", caption_key="out").captions == {"7": "mine"}
    with pytest.raises(MagicError, match="looked for answer"):
        read_system(path, id_key="nr", caption_key="answer")


REFERENCES = {"391895": ("one", "two"), "60623": ("three",)}
REFERENCE_FORMS = {
    "coco.json": {
        "images": [{"id": int(i), "file_name": f"COCO_val2014_{int(i):012d}.jpg"} for i in REFERENCES] + [{"id": 5, "file_name": "no_captions.jpg"}],
        "annotations": [{"id": 9, "image_id": int(i), "caption": c} for i, texts in REFERENCES.items() for c in texts],
    },
    "karpathy.json": {
        "images": [
            {"cocoid": int(i), "filename": f"COCO_val2014_{int(i):012d}.jpg", "filepath": "val2014", "split": "test", "sentences": [{"raw": c} for c in texts]}
            for i, texts in REFERENCES.items()
        ]
    },
    "lines.jsonl": [{"id": i, "references": list(texts)} for i, texts in REFERENCES.items()],
    "object.json": {i: list(texts) for i, texts in REFERENCES.items()},
    "one_a_record.json": [{"image_id": int(i), "caption": c} for i, texts in REFERENCES.items() for c in texts],
    "token.txt": "".join(f"{i}.jpg#{n}\t{c}\n" for i, texts in REFERENCES.items() for n, c in enumerate(texts)),
    "captions.txt": "image,caption\n" + "".join(f"{i}.jpg,{c}\n" for i, texts in REFERENCES.items() for c in texts),
    "results.csv": "image_name| comment_number| comment\n"
    + "".join(f"{i}.jpg| {n}| {c}\n" for i, texts in REFERENCES.items() for n, c in enumerate(texts)),
    "released.json": [{"split": "test", "image_name": i, "captions": list(texts), "prediction": "x"} for i, texts in REFERENCES.items()],
}


@pytest.mark.parametrize("name", REFERENCE_FORMS)
def test_references_are_read_when_the_form_is_known(tmp_path, name):
    found = read_references(written(tmp_path, name, REFERENCE_FORMS[name]))
    assert {item.removesuffix(".jpg"): texts for item, texts in found.captions.items()} == REFERENCES
    assert found.find(["60623.jpg"]) and found.find(["391895"])


@pytest.mark.parametrize("names", [["391895"], ["val2014/COCO_val2014_000000391895.jpg"], ["COCO_val2014_000000391895"], ["000000391895.jpg"]])
def test_image_is_found_by_any_of_its_names(tmp_path, names):
    assert read_references(written(tmp_path, "coco.json", REFERENCE_FORMS["coco.json"])).find(names) == "391895"


def test_name_that_fits_two_images_finds_none(tmp_path):
    references = read_references(written(tmp_path, "refs.json", {"a/cat.jpg": ["x"], "b/cat.jpg": ["y"]}))
    assert references.find(["cat.jpg"]) is None
    assert references.find(["b/cat.jpg"]) == "b/cat.jpg"


def test_split_keeps_its_images_and_names_the_others(tmp_path):
    path = written(tmp_path, "refs.json", REFERENCE_FORMS["karpathy.json"])
    assert len(read_references(path, split="test").captions) == 2
    with pytest.raises(SettingsError, match="split=val.*has the splits test"):
        read_references(path, split="val")


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([{"id": 1, "references": []}], "must be a list of captions"),
        ([{"id": 1, "references": ["a", None]}], "every reference must be a text"),
        ([{"id": 1, "references": ["a"]}, {"id": 1, "references": ["b"]}], "stands twice"),
        ([{"id": 1}], "no references"),
        ({"annotations": [{"image_id": 1}]}, "needs image_id and caption"),
        ({"annotations": []}, "holds no references"),
    ],
)
def test_one_line_names_the_fault_when_references_are_wrong(tmp_path, document, part):
    with pytest.raises(MagicError, match=part):
        read_references(written(tmp_path, "refs.json", document))


def test_only_image_suffixes_are_cut_off_ids():
    assert aliases("1.5") == ["1.5"]
    assert aliases("1.JPG") == ["1.JPG", "1"]
