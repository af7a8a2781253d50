"""Texts to train on in tables, story files and run folders: only texts are trained on, no names and no headers."""

import json
import re

import pytest

from magic_cli.data.stories import read_titles
from magic_cli.data.training_texts import TextDataset, TextForm
from magic_cli.errors import MagicError
from magic_cli.retrieval.captions import load_captions
from magic_cli.retrieval.clipre import CaptionRetrieval
from magic_cli.retrieval.queries import load_queries
from tests.unit.data.test_training_texts import source, written

CAPTIONS = ["A dog, red.", "A cat."]
TABLES = {
    "comma.csv": 'image,caption\na.jpg,"A dog, red."\nb.jpg,A cat.\n',
    "unquoted.csv": "Image ID,Caption\n1,A dog, red.\n2,A cat.\n",
    "semicolon.csv": "image;caption\na.jpg;A dog, red.\nb.jpg;A cat.\n",
    "alone.csv": "text\nA dog, red.\nA cat.\n",
    "scores.tsv": "id\tscore\tcaption\n1\t0.5\tA dog, red.\n2\t0.5\tA cat.\n",
    "captions.txt": 'image,caption\na.jpg,"A dog, red."\nb.jpg,A cat.\n',
    "stdout.txt": "my dog.jpg\tA dog, red.\nb.jpg\tA cat.\n",
    "ids.tsv": "391895\tA dog, red.\n60623\tA cat.\n",
    "token.txt": "a.jpg#0\tA dog, red.\nb.jpg#0\tA cat.\n",
    "conceptual.tsv": "caption\turl\nA dog, red.\thttp://a/b.jpg\nA cat.\thttp://a/c.jpg\n",
    "lists.csv": "image,captions\na.jpg,\"['A dog, red.', 'A cat.']\"\n",
    "json_lists.csv": 'image,captions\na.jpg,"[""A dog, red."", ""A cat.""]"\n',
    "pipeline.csv": "image,caption\na.jpg,\"[{'generated_text': 'A dog, red.'}]\"\nb.jpg,\"['A cat.']\"\n",
    "lines.txt": '{"caption": "A dog, red."}\n{"caption": "A cat."}\n',
    "by_id.json": '{"a.jpg": "A dog, red.", "b.jpg": ["A cat."]}',
    "records_by_id.json": '{"a.jpg": {"caption": "A dog, red."}, "b.jpg": {"caption": "A cat."}}',
    "by_column.json": '{"image": ["a.jpg", "b.jpg"], "caption": ["A dog, red.", "A cat."]}',
    "lines.json": '{"caption": "A dog, red."}\n{"caption": "A cat."}\n',
    "plain.txt": "A dog, red.\nA\tcat.\n",
    "plain.tsv": "A dog, red.\nA cat.\n",
    "named.tsv": "name\tcaption\na.jpg\tA dog, red.\nb.jpg\tA cat.\n",
    "quoted.tsv": 'name\tcaption\na.jpg\t"[\'A dog, red.\']"\nb.jpg\t"A cat."\n',
    "headed.txt": 'caption\nA dog, red.\n"A cat."\n',
    "excel.txt": ("image\tcaption\na.jpg\tA dog, red.\nb.jpg\tA cat.\n").encode("utf-16"),
}


@pytest.mark.parametrize("name", TABLES)
def test_only_texts_are_trained_on_when_a_file_has_columns(tmp_path, name):
    content = TABLES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    dataset = TextDataset(train=[source("text", tmp_path / name)], held_out=1)
    assert dataset.read(dataset.train) == CAPTIONS
    assert load_captions(CaptionRetrieval(captions="mine", captions_file=str(tmp_path / name))).texts == CAPTIONS


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        (
            "a.csv",
            "sentence\nA dog.\n",
            "neither JSON nor a table of captions (first line 'sentence'); name the columns in a header line",
        ),
        ("a.csv", "image,label\n1.jpg,dog\n", "record 1: has no text under caption"),
        ("a.csv", "id,caption,text\n1,a,b\n", "record 1: has caption and text, and it is unclear which one is the text"),
        ("a.csv", 'image,caption\n1,"A dog\n2,A cat\n', "line 2: the quotes do not match"),
        ("a.csv", "image,captions\n1,\"['a', {[]: 1}]\"\n", "line 2: looks like a printed list of captions but is not one"),
        ("a.tsv", "1\tA dog\t0.5\n", "line 1: has 3 cells for the 2 columns id, caption"),
        ("a.tsv", "1\thttp://a/b.jpg\n", "record 1: holds an address, not a text"),
        (
            "a.txt",
            "filename,description\na.jpg,A dog\nb.jpg,A cat\n",
            "its lines are columns separated by ',', and the first column holds image files; name the columns in a header line",
        ),
        ("a.txt", "a.jpg,A dog\nb.jpg,A cat\n", "its lines are columns separated by ','"),
        ("a.txt", "a.jpg#0|A dog\n", "its lines are columns separated by '|'"),
        (
            "a.txt",
            "The Cake\tAnna baked.\nA Day\tIt rained.\n",
            "its lines have columns; name the columns in a header line, one of them caption or text, or for",
        ),
    ],
)
def test_columns_that_nobody_named_are_refused(tmp_path, name, content, part):
    file = written(tmp_path, name, content)
    with pytest.raises(MagicError, match=re.escape(part)) as error:
        TextDataset(train=[source("text", file)], held_out=1).training_and_validation()
    assert "\n" not in str(error.value)


def test_texts_of_one_image_are_held_out_together(tmp_path):
    rows = [f"{image}.jpg,{caption}" for caption in ("one", "two") for image in range(20)]
    file = written(tmp_path, "a.csv", "\n".join(["image,caption", *(f"{row} of {row.partition('.')[0]}" for row in rows)]))
    training, validation = TextDataset(train=[source("text", file)], held_out=0.25).training_and_validation()
    assert (len(training), len(validation)) == (30, 10)
    assert not {text.split()[-1] for text in training} & {text.split()[-1] for text in validation}


@pytest.mark.parametrize("name", ["s.tsv", "s.csv", "s.jsonl", "titled.tsv"])
def test_stories_are_read_by_the_names_of_their_columns(tmp_path, name):
    forms = {
        "s.tsv": "The Cake\tAnna baked, twice.\n", "titled.tsv": "Title\tStory\nThe Cake\tAnna baked, twice.\n",
        "s.csv": 'id,Title,story\n7,The Cake,"Anna baked, twice."\n', "s.jsonl": '{"title": "The Cake", "story": "Anna baked, twice."}\n',
    }  # fmt: skip
    file = written(tmp_path, name, forms[name])
    dataset = TextDataset(form=TextForm.story, train=[source("text", file)], held_out=1)
    assert dataset.read(dataset.train) == ["The Cake\tAnna baked, twice."]
    if name != "s.jsonl":
        [record] = read_titles(file)
        assert (record.title, record.reference) == ("The Cake", "Anna baked, twice.")
    assert [query["query"] for query in load_queries([str(file)], [])] == ["The Cake"]


@pytest.mark.parametrize(
    ("text", "titles", "ids"),
    [
        ("id\ttitle\n7\tThe Cake\n8\tA Day\n", ["The Cake", "A Day"], ["7", "8"]),
        ("Title\nThe Cake\nA Day, long\n", ["The Cake", "A Day, long"], ["1", "2"]),
        ('title,story\nThe Cake,"Anna baked, twice."\nA Day,It rained.\n', ["The Cake", "A Day"], ["1", "2"]),
        ("Title\tStory\nThe Cake\tAnna baked.\nA Day\n", ["The Cake", "A Day"], ["2", "3"]),
        ("The Title, a story\nA Day\n", ["The Title, a story", "A Day"], ["1", "2"]),
        ("Story\nText\n", ["Story", "Text"], ["1", "2"]),
        ('["The Cake", "A Day"]', ["The Cake", "A Day"], ["1", "2"]),
    ],
)
def test_header_of_titles_and_queries_is_none_of_them(tmp_path, text, titles, ids):
    file = written(tmp_path, "titles.txt", text)
    assert [(record.id, record.title) for record in read_titles(file)] == list(zip(ids, titles, strict=True))
    queries = load_queries([str(file)], [])
    assert [query["query"] for query in queries] == titles
    if ids[0] == "7":
        assert [query["id"] for query in queries] == ids


def test_run_folders_are_texts(tmp_path):
    run, stories = tmp_path / "run", tmp_path / "stories"
    run.mkdir(), stories.mkdir()
    (run / "predictions.jsonl").write_text('{"id": "a.jpg", "caption": "A dog."}\n{"id": "b.jpg", "capt')
    story = {"title_id": "1", "title": "The  Cake"}
    records = [story | {"id": f"1#{rank}", "rank": rank, "story": f"Anna baked {rank}."} for rank in (1, 2)]
    (stories / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = TextDataset(train=[source("text", run)], held_out=1)
    assert dataset.read(dataset.train) == ["A dog."]
    assert dataset.read([source("text", stories)]) == ["Anna baked 1.", "Anna baked 2."]
    of_stories = TextDataset(form=TextForm.story, train=[source("text", stories)], held_out=1)
    assert of_stories.read(of_stories.train) == ["The Cake\tAnna baked 1.", "The Cake\tAnna baked 2."]
    for form, folder, part in (
        (TextForm.story, run, "is a run of captions"),
        (TextForm.caption, tmp_path, "is a folder without predictions.jsonl"),
    ):
        with pytest.raises(MagicError, match=part):
            TextDataset(form=form, train=[source("text", folder)], held_out=1).training_and_validation()
