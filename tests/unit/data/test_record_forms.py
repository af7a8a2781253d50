"""Which JSON documents hold records, in every reader of captions: forms that look alike, and whose id counts."""

import json

import pytest

from magic_cli.data.predictions import read_system
from magic_cli.data.record_forms import listed_records
from magic_cli.data.references import read_references
from magic_cli.data.training_files import TextForm, read_plain
from magic_cli.errors import MagicError
from magic_cli.retrieval.captions import load_captions
from magic_cli.retrieval.clipre import CaptionRetrieval
from tests.files import written
from tests.systems import by_id

HUB = [
    {"filename": f"{number}.jpg", "cocoid": number, "split": split, "sentences": {"raw": f"Text {number}."}}
    for number, split in ((1, "train"), (2, "test"), (3, "train"))
]
TABLE = """raw,sentids,split,filename,img_id
"[""A dog."", ""Dogs.""]","[0, 1]",train,a.jpg,0
"[""A cat."", ""Cats.""]","[2, 3]",test,b.jpg,1
"""


def memory(path):
    return load_captions(CaptionRetrieval(captions="mine", captions_file=str(path))).texts


@pytest.mark.parametrize(
    ("document", "texts"),
    [
        ({"filename": ["a.jpg", "b.jpg"], "raw": ["A dog.", "A cat."]}, [["A dog."], ["A cat."]]),
        ({"text": "a dog", "data": ["a.jpg"]}, [["a dog"]]),
        ({"results": ["r1"], "caption": "A dog.", "id": 3}, [["A dog."]]),
        ({"results": [{"label": "cat"}], "caption": "A dog.", "id": 3}, [["A dog."]]),
        ({"text": "our captions", "results": [{"id": 1, "caption": "A dog."}]}, [["A dog."]]),
        ({"caption": {"4": "A dog.", "6": "A cat."}}, [["A dog."], ["A cat."]]),
        ({"Image ID": [7, 7.0, 8], "Caption": ["A dog.", "Dogs.", "A cat."]}, [["A dog.", "Dogs."], ["A cat."]]),
        ({"captions": ["A dog.", "A cat."]}, [["A dog.", "A cat."]]),
        ({"7": ["A dog.", "Dogs."], "b.jpg": "A cat."}, [["A dog.", "Dogs."], ["A cat."]]),
        ([{"image_id": 9, "raw": "A dog."}], [["A dog."]]),
    ],
)
def test_texts_are_trained_on_and_remembered_but_not_what_stands_beside_them(tmp_path, document, texts):
    path = written(tmp_path, "texts.json", document)
    assert read_plain(path, TextForm.caption) == texts
    assert memory(path) == [text for group in texts for text in group]


@pytest.mark.parametrize(
    "document",
    [
        {"name": "my corpus", "version": "1.0", "lines": ["A dog."]},
        {"train": ["A dog."], "test": ["A cat."]},
        {"train": {"captions": ["A dog."]}, "test": {"captions": ["A cat."]}},
        {"data": ["A dog."]},
        {"filename": ["a.jpg"], "lines": ["A dog."]},
    ],
)
def test_object_whose_keys_are_hardly_ids_holds_no_texts(tmp_path, document):
    path = written(tmp_path, "texts.json", document)
    with pytest.raises(MagicError, match="has no text under caption"):
        read_plain(path, TextForm.caption)
    with pytest.raises(MagicError, match="neither Karpathy's nor|has no text under caption"):
        memory(path)


@pytest.mark.parametrize(
    ("document", "item", "image"),
    [
        ({"a.jpg": {"id": 0, "caption": "x"}}, "a.jpg", "a.jpg"),
        ({"391895": {"id": 5001, "caption": "x"}}, "391895", None),
        ({"7": {"id": None, "caption": "x"}}, "7", None),
        ({"0": {"id": None, "caption": "x"}}, "0", None),
        ({"0": {"id": 5, "caption": "x"}}, "5", None),
        ({"3": {"image_id": 5, "id": 1, "caption": "x"}}, "5", None),
        ({"a.jpg": {"image_id": 5, "caption": "x"}}, "5", "a.jpg"),
    ],
)
def test_key_is_the_id_unless_it_numbers_rows_or_the_record_has_its_image(tmp_path, document, item, image):
    path = written(tmp_path, "by_id.json", document)
    [found] = read_system(path).items
    assert (found.id, found.image) == (item, image)
    references = read_references(path)
    assert references.captions == {item: ("x",)} and references.image_name(item) == image


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({"image_id": [7, 8], "output": ["a dog", "a cat"]}, {"caption_key": "output"}),
        ({"nr": [7, 8], "My Output": ["a dog", "a cat"]}, {"id_key": "NR", "caption_key": "my output"}),
        ({"nr": {"0": 7, "1": 8}, "caption": {"0": "a dog", "1": "a cat"}}, {"id_key": "nr"}),
        ({"x": {"id": 7, "caption": "a dog"}, "y": {"id": 8, "caption": "a cat"}}, {"id_key": "id"}),
        ({"Image ID": [7, 8], "Caption": ["a dog", "a cat"]}, {}),
    ],
)
def test_columns_may_have_names_that_the_user_tells(tmp_path, document, keys):
    assert by_id(read_system(written(tmp_path, "columns.json", document), **keys)) == {"7": "a dog", "8": "a cat"}


def test_columns_without_captions_say_what_the_file_has(tmp_path):
    path = written(tmp_path, "columns.json", {"image_id": [7, 8], "output": ["a dog", "a cat"]})
    with pytest.raises(MagicError, match=r"id '7'\): no caption .*the record has image_id, output\); set caption_key="):
        read_system(path)


def test_stories_by_columns_keep_their_titles(tmp_path):
    path = written(tmp_path, "stories.json", {"title": ["A Day", "A Cake"], "story": ["It rained.", "She ate."]})
    assert read_plain(path, TextForm.story) == [["A Day\tIt rained."], ["A Cake\tShe ate."]]


def test_references_by_columns_may_be_raw():
    document = {"image": {"0": "a.jpg", "1": "b.jpg"}, "raw": {"0": "A", "1": "B"}}
    assert listed_records(document) == [{"image": "a.jpg", "raw": "A"}, {"image": "b.jpg", "raw": "B"}]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("hub.jsonl", "".join(json.dumps(row) + "\n" for row in HUB), ["Text 1.", "Text 3."]),
        ("hub.json", HUB, ["Text 1.", "Text 3."]),
        ("hub.txt", HUB, ["Text 1.", "Text 3."]),
        ("flickr.csv", TABLE, ["A dog.", "Dogs."]),
        ("mine.csv", "image,Split,caption\na.jpg,train,A dog.\nb.jpg,test,A cat.\n", ["A dog."]),
        ("capitals.jsonl", '{"Split": "train", "caption": "A dog."}\n{"Split": "test", "caption": "A cat."}\n', ["A dog."]),
    ],
)
def test_captions_of_other_splits_never_enter_an_index(tmp_path, name, content, texts):
    path = written(tmp_path, name, content)
    assert memory(path) == texts
    if not name.startswith(("mine", "capitals")):
        with pytest.raises(MagicError, match="record 1: is of a split .'train'.*must not be trained on"):
            read_plain(path, TextForm.caption)


def test_index_of_records_that_are_all_of_another_split_is_refused(tmp_path):
    path = written(tmp_path, "test.jsonl", '{"split": "test", "caption": "A cat."}\n{"split": "test", "caption": "Cats."}\n')
    with pytest.raises(MagicError, match="decoding.split must be one of test, got 'train'"):
        memory(path)
