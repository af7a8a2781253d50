"""Captions that are printed lists: unpacked or refused, never scored with their brackets."""

import json

import pytest

from magic_cli.data.predictions import read_system
from magic_cli.data.references import read_references
from magic_cli.errors import MagicError
from tests.systems import by_id

DOG = 'a dog\'s ball, "red"'
PRINTED = [
    str([DOG]), str((DOG,)), json.dumps([DOG]), str([{"generated_text": DOG}]), str([[{"generated_text": DOG}]]),
    json.dumps([{"caption": DOG, "conf": 0.5}]), str({"caption": DOG}), str(DOG.encode()), str([DOG.encode()]), f"  {[DOG]} ",
]  # fmt: skip
PLAIN = [
    "[UNK] a dog",
    "[a dog]",
    "['a dog' says [the man",
    '"Stop" (a sign)',
    "(a dog)",
    "b'day party 'hats'",
    "[1] and [2",
    "{a} dog",
    "('a dog')",
    "[2]",
    "[]",
    "[1, 2.5]",
]
FAULTS = [
    (str(["a", "b"]), "got 2 of them"),
    ("['a dog'\n 'a cat']", "no comma between two texts"),
    ("[None]", "is null|is not one"),
    ("[{'score': 0.5}]", "(must be one text|is not one)"),
    ("[np.str_('a dog')]", "looks like a printed list"),
    ("array(['a dog'], dtype=object)", "looks like a printed list"),
    ("['a dog', ...]", "is not one|got 2 of them"),
    ("[" * 5000 + "'a'" + "]" * 5000, "looks like a printed list"),
]


def written(path, form, text):
    if form == "csv":
        path.write_text('image,caption\n1.jpg,"' + text.replace('"', '""') + '"\n')
    elif form == "jsonl":
        path.write_text(json.dumps({"image": "1.jpg", "caption": text}) + "\n")
    else:
        path.write_text(json.dumps({"1.jpg": text}))
    return path


@pytest.mark.parametrize("form", ["csv", "jsonl", "object"])
@pytest.mark.parametrize(("texts", "unpacked"), [(PRINTED, True), (PLAIN, False)], ids=["printed", "plain"])
def test_printed_lists_are_unpacked_and_texts_stay(tmp_path, form, texts, unpacked):
    for text in texts:
        wanted = DOG if unpacked else text
        path = written(tmp_path / "preds", form, text)
        assert by_id(read_system(path)) == {"1.jpg": wanted}, text
        assert read_references(path).captions == {"1.jpg": (wanted,)}, text


@pytest.mark.parametrize("form", ["csv", "jsonl", "object"])
@pytest.mark.parametrize(("text", "part"), FAULTS, ids=range(len(FAULTS)))
def test_printed_lists_that_are_not_one_caption_are_refused_in_one_line(tmp_path, form, text, part):
    with pytest.raises(MagicError, match=part) as caught:
        read_system(written(tmp_path / "preds", form, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text", ["['one', 'two']", '["one", "two"]', "('one', 'two')", "[{'raw': 'one'}, {'raw': 'two'}]", "[b'one', b'two']"]
)
def test_printed_lists_of_references_are_unpacked(tmp_path, text):
    for form in ("csv", "jsonl", "object"):
        assert read_references(written(tmp_path / "refs", form, text)).captions == {"1.jpg": ("one", "two")}
    table = tmp_path / "refs.csv"
    table.write_text(f'image,score,References\n1.jpg,0.5,"{text.replace(chr(34), chr(34) * 2)}"\n')
    assert read_references(table).captions == {"1.jpg": ("one", "two")}


def test_output_of_a_pipeline_beside_its_image_is_read(tmp_path):
    path = tmp_path / "out.json"
    path.write_text(
        json.dumps([{"image": "1.jpg", "generated_text": "a dog"}, {"image": "2.jpg", "caption": [{"generated_text": "a cat"}]}])
    )
    assert by_id(read_system(path)) == {"1.jpg": "a dog", "2.jpg": "a cat"}


def test_captions_of_a_run_stand_as_they_were_written(tmp_path):
    (tmp_path / "predictions.jsonl").write_text(json.dumps({"id": "1", "image": "1.jpg", "caption": "['a']"}) + "\n")
    assert by_id(read_system(tmp_path)) == {"1": "['a']"}
