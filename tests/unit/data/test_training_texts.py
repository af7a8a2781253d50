"""Texts to train on: every kind of source, mixtures, held-out texts, and what is refused."""

import gzip
import json
import re

import pytest

from magic_cli.data.training_files import read_groups
from magic_cli.data.training_texts import SourceKind, TextDataset, TextForm, TextSource, hold_out
from magic_cli.errors import MagicError, SettingsError
from magic_cli.retrieval.captions import load_captions
from magic_cli.retrieval.clipre import CaptionRetrieval

KARPATHY = {"images": [
    {"split": "train", "sentences": [{"raw": "A dog ."}, {"raw": "One  dog\n"}]},
    {"split": "restval", "sentences": [{"raw": "A cat."}]},
    {"split": "val", "sentences": [{"raw": "A bird."}]},
]}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "1.jpg", "split": "train"}, {"id": 2, "file_name": "2.jpg", "split": "val"}],
    "annotations": [
        {"image_id": 1, "caption": "A bus."},
        {"image_id": 2, "caption": "A train."},
        {"image_id": 1, "caption": "Red bus."},
    ],
}


def source(kind, path, **more):
    return TextSource(kind=SourceKind(kind), path=str(path), **more)


def written(folder, name, content):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_karpathy_training_texts_are_the_train_split_only(tmp_path):
    file = written(tmp_path, "dataset_coco.json", KARPATHY)
    found = TextDataset(train=[source("karpathy", file, split="train")], validation=[source("karpathy", file, split="val")])
    assert found.training_and_validation() == (["A dog .", "One dog"], ["A bird."])


def test_coco_captions_are_grouped_by_image_and_split(tmp_path):
    file = written(tmp_path, "captions.json", COCO)
    found = TextDataset(path=str(file), train=[TextSource(SourceKind.coco_captions, split="train")],
                        validation=[TextSource(SourceKind.coco_captions, split="val")])  # fmt: skip
    assert found.training_and_validation() == (["A bus.", "Red bus."], ["A train."])


def test_stories_and_lines_and_json_lines_are_read(tmp_path):
    stories = written(tmp_path, "stories.txt", "The Cake\tAnna baked. She ate.\n\nA Day\tIt rained.\n")
    lines = tmp_path / "lines.txt.gz"
    lines.write_bytes(gzip.compress(b"first line\n\n second\xe2\x80\xa8line\n"))
    records = written(tmp_path, "texts.jsonl", '{"text": "a b"}\n{"captions": ["c d", "e f"]}\n{"id": 3, "caption": "g"}\n')
    dataset = TextDataset(train=[source("text", lines)], held_out=1)
    assert dataset.read([source("stories", stories)]) == ["The Cake\tAnna baked. She ate.", "A Day\tIt rained."]
    assert dataset.read([source("text", lines)]) == ["first line", "second line"]
    assert dataset.read([source("text", records)]) == ["a b", "c d", "e f", "g"]


def test_lines_and_json_lines_of_stories_keep_their_tab(tmp_path):
    lines = written(tmp_path, "stories.txt", "The  Cake\tAnna baked.  She ate.\r\n\nA Day\tIt rained.\n")
    records = written(tmp_path, "stories.jsonl", json.dumps({"text": "A Dog\tIt ran.\tFar."}) + "\n")
    dataset = TextDataset(form=TextForm.story, train=[source("text", lines)], held_out=1)
    assert dataset.read(dataset.train) == ["The Cake\tAnna baked. She ate.", "A Day\tIt rained."]
    assert dataset.read([source("text", records)]) == ["A Dog\tIt ran. Far."]
    for text in ("no tab", "no story\t \n", "\tno title"):
        with pytest.raises(MagicError, match="dataset.form=story: a text is not title, tab, story"):
            dataset.read([source("text", written(tmp_path, "odd.txt", f"A Day\tIt rained.\n{text}\n"))])


def test_mixture_repeats_by_weight_and_holds_out_whole_images(tmp_path):
    records = [{"captions": [f"{i} one", f"{i} two"]} for i in range(10)]
    many = written(tmp_path, "many.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    few = written(tmp_path, "few.txt", "x y\n")
    dataset = TextDataset(train=[source("text", many, weight=2, held_out=0.3), source("text", few, weight=3)])
    training, validation = dataset.training_and_validation()
    assert len(validation) == 6 and training.count("x y") == 3 and len(training) == 2 * 14 + 3
    assert not {text.split()[0] for text in training} & {text.split()[0] for text in validation}
    assert dataset.training_and_validation() == (training, validation)


def test_held_out_texts_depend_on_the_seed():
    groups = [[str(i)] for i in range(50)]
    assert hold_out(groups, 0.2, seed=0) == hold_out(groups, 0.2, seed=0) != hold_out(groups, 0.2, seed=1)
    assert len(hold_out(groups, 7, seed=0)[1]) == 7 and hold_out(groups, 0, seed=0) == (groups, [])


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"train": []}, "dataset.train must name at least one source"),
        ({"train": [TextSource(path="a")]}, "dataset.held_out must be greater than 0"),
        ({"train": [TextSource(path="a")], "held_out": 1.5}, "dataset.held_out must be a share"),
        ({"train": [TextSource(path="a")], "held_out": float("inf")}, "dataset.held_out must be a share"),
        ({"train": [TextSource()], "held_out": 1}, "dataset.path is not set"),
        ({"train": [TextSource(path="a")], "held_out": 1, "limit": 0}, "dataset.limit must be at least 1"),
    ],
)
def test_impossible_datasets_are_refused(options, part):
    with pytest.raises(SettingsError, match=re.escape(part)):
        TextDataset(**options)


@pytest.mark.parametrize(
    ("train", "measured", "what"),
    [
        (TextSource(), TextSource(), "a source names no path, and dataset.path=a.txt is trained on, too"),
        (TextSource(path="a.txt"), TextSource(path="./a.txt"), "path=./a.txt is trained on, too"),
        (
            TextSource(SourceKind.karpathy),
            TextSource(SourceKind.karpathy, split="val"),
            "a source names no path, and dataset.path=a.txt is trained on, too",
        ),
        (TextSource(SourceKind.bundled_coco), TextSource(SourceKind.bundled_coco), "kind=bundled_coco is trained on, too"),
    ],
)
def test_texts_that_are_trained_on_measure_nothing(train, measured, what):
    with pytest.raises(SettingsError) as error:
        TextDataset(path="a.txt", train=[train], validation=[measured])
    assert (
        str(error.value)
        == f"dataset.validation: {what}; name a path or split that is not, or set dataset.validation=[] and dataset.held_out"
    )
    dataset = TextDataset(path="a.txt", train=[train], held_out=1, test=[measured])  # may stand there unused
    with pytest.raises(SettingsError, match=r"^dataset\.test: .* or set validate\.select_on=validation$"):
        dataset.test_texts()


@pytest.mark.parametrize(("options", "part"), [({"weight": 0}, "weight of a source"), ({"split": "train"}, "has no splits")])
def test_impossible_sources_are_refused(options, part):
    with pytest.raises(SettingsError, match=part):
        TextSource(path="a", **options)


@pytest.mark.parametrize(
    ("kind", "content", "part"),
    [
        ("karpathy", {"photos": []}, "no key 'images'"),
        ("karpathy", KARPATHY | {"images": KARPATHY["images"][:1]}, "no images of split 'val'; it has train"),
        ("stories", "a title without a story\n", "line 1: must be title, tab, story"),
        ("text", "", "no training texts"),
        ("text", " \n\n", "no training texts (0 texts, 0 of them held out to measure on); give more texts"),
        ("text", "a dog\n", "no training texts (1 text, 1 of them held out to measure on); give more texts"),
    ],
)
def test_damaged_file_is_one_line(tmp_path, kind, content, part):
    file = written(tmp_path, "file.txt", content)
    split = {"split": "val"} if kind == "karpathy" else {}
    with pytest.raises(MagicError, match=re.escape(part)):
        TextDataset(train=[source(kind, file, **split)], held_out=1).training_and_validation()


def test_json_line_without_a_text_names_its_record(tmp_path):
    file = written(tmp_path, "texts.jsonl", '{"text": "a b"}\n{"txt": "c"}\n')
    with pytest.raises(MagicError, match="record 2: has no text under"):
        TextDataset(train=[source("text", file)], held_out=1).training_and_validation()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (COCO, "holds images and their captions; choose --dataset coco_captions"),
        (KARPATHY, "holds images and their captions; choose --dataset coco_captions (COCO's format), or coco"),
        ({"1": 5, "2": 6}, "record 1: has no text under"),
        ("5", "record 1: has no text under"),
    ],
)
def test_names_in_a_json_document_are_no_texts(tmp_path, content, part):
    file = written(tmp_path, "captions.json", content)
    with pytest.raises(MagicError, match=re.escape(part)):
        TextDataset(train=[source("text", file)], held_out=1).training_and_validation()


@pytest.mark.parametrize(
    ("record", "texts"),
    [
        ({"image": "a.jpg", "caption": "['a small dog runs']"}, ["a small dog runs"]),
        ({"image": "a.jpg", "caption": "x", "captions": [{"raw": "a dog"}, "a pup"]}, ["a dog", "a pup"]),
        ({"captions": [{"caption": "a dog"}]}, ["a dog"]),
        ({"caption": [["a dog"]], "references": []}, ["a dog"]),
        ({"text": "[2]"}, ["[2]"]),
    ],
)
def test_texts_are_read_as_captions_are(tmp_path, record, texts):
    file = written(tmp_path, "a.jsonl", json.dumps(record))
    assert TextDataset(train=[source("text", file)], held_out=1).read([source("text", file)]) == texts


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"caption": "x", "captions": [{"score": 1}]}, "record 1, captions: every entry must be a text"),
        ({"caption": "x", "references": 5}, "record 1, references: must be a text or a list of texts, got '5'"),
        (
            {"caption": "['a' 'b']"},
            "record 1, caption: looks like a printed list of texts but is not one (no comma between two texts)",
        ),
    ],
)
def test_texts_that_cannot_be_read_are_not_left_out_in_silence(tmp_path, record, part):
    file = written(tmp_path, "a.jsonl", json.dumps(record))
    with pytest.raises(MagicError, match=re.escape(part)):
        TextDataset(train=[source("text", file)], held_out=1).training_and_validation()


def test_rows_of_one_image_are_one_group_however_its_id_is_written(tmp_path):
    coco = {
        "images": [{"id": "1", "file_name": "1.jpg", "split": "train"}],
        "annotations": [{"image_id": 1, "caption": "A bus."}, {"image_id": 1.0, "caption": "Red bus."}],
    }
    file = written(tmp_path, "coco.json", coco)
    assert read_groups(SourceKind.coco_captions, file, "train", TextForm.caption) == [["A bus.", "Red bus."]]
    records = written(
        tmp_path, "a.jsonl", "".join(json.dumps({"image_id": i, "caption": f"text {i}"}) + "\n" for i in (1, "1", 1.0, 2))
    )
    assert read_groups(SourceKind.text, records, None, TextForm.caption) == [["text 1", "text 1", "text 1.0"], ["text 2"]]


def test_half_characters_do_not_reach_the_tokenizer(tmp_path):
    file = written(tmp_path, "texts.jsonl", '{"text": "a \\ud83d dog"}\n{"text": "a \\ud83d\\ude00 cat"}\n')
    assert TextDataset(train=[source("text", file)], held_out=1).read([source("text", file)]) == [
        "a \ufffd dog",
        "a \U0001f600 cat",
    ]
    assert load_captions(CaptionRetrieval(captions="mine", captions_file=str(file))).texts == ["a \ufffd dog", "a \U0001f600 cat"]


def test_one_json_object_is_one_group_of_texts(tmp_path):
    file = written(tmp_path, "one.json", {"captions": ["A dog.", "A cat."]})
    assert TextDataset(train=[source("text", file)], held_out=1).read([source("text", file)]) == ["A dog.", "A cat."]


def test_file_that_is_not_there_is_one_line():
    with pytest.raises(MagicError, match="no such file"):
        TextDataset(train=[source("text", "/nowhere/a.txt")], held_out=1).training_and_validation()
