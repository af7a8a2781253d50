"""Whose caption is of which image: ids that contradict image names, running numbers, and files in the forms of known datasets."""

import json

import pytest

from magic_cli.data.predictions import read_system
from magic_cli.data.references import read_references
from magic_cli.errors import MagicError
from magic_cli.evaluation.corpora import build_corpus

CAPTIONS = {"a.jpg": "a dog", "b.jpg": "two people", "c.jpg": "some food", "d.jpg": "the plane"}


def written(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def rows(names, key="caption", image="image", **more):
    """Records with a running id."""
    return [
        {"id": i, image: name, key: CAPTIONS[name] if key == "caption" else [CAPTIONS[name]], **more}
        for i, name in enumerate(names)
    ]


def matched(tmp_path, predictions, references, *, id_key=None, drop=False):
    """``{caption: its references}``, and the notes."""
    system = read_system(written(tmp_path / "preds.json", predictions), id_key=id_key)
    corpus, coverage = build_corpus(
        system, read_references(written(tmp_path / "refs.json", references)), images=None, drop_unmatched=drop
    )
    return dict(zip(corpus.captions, corpus.references, strict=True)), coverage


RIGHT = {caption: (caption,) for caption in CAPTIONS.values()}
SHUFFLED = ["c.jpg", "a.jpg", "d.jpg", "b.jpg"]
NOCAPS = {
    "images": [
        {"id": i, "file_name": name, "open_images_id": name[0], "coco_url": f"https://x/{name}"}
        for i, name in enumerate(SHUFFLED)
    ],
    "annotations": [{"id": 9 - i, "image_id": i, "caption": CAPTIONS[name]} for i, name in enumerate(SHUFFLED)],
}
NUMBERED_TABLE = "id,image,caption\n" + "".join(f"{i},{name},{CAPTIONS[name]}\n" for i, name in enumerate([*SHUFFLED, *SHUFFLED]))


@pytest.mark.parametrize(
    "references",
    [
        rows(SHUFFLED, "references"),
        NOCAPS,
        {
            "images": [
                {"imgid": i, "cocoid": i, "filename": name, "sentences": [{"raw": CAPTIONS[name], "sentid": i}]}
                for i, name in enumerate(SHUFFLED)
            ]
        },
        "id,image,caption\n" + "".join(f"{i},{name},{CAPTIONS[name]}\n" for i, name in enumerate(SHUFFLED)),
        {str(i): [CAPTIONS[name]] for i, name in enumerate(SHUFFLED)} | {name: [CAPTIONS[name]] for name in CAPTIONS},
    ],
    ids=["records", "nocaps", "karpathy", "table", "object"],
)
@pytest.mark.parametrize(
    "predictions",
    [
        rows(CAPTIONS),
        [
            {"image_id": i, "file": f"D:\\val\\{name[0]}.JPG", "caption": caption}
            for i, (name, caption) in enumerate(CAPTIONS.items())
        ],
        "id,filename,caption\n" + "".join(f"{i}.0,val/{name},{caption}\n" for i, (name, caption) in enumerate(CAPTIONS.items())),
        [{"id": float(i), "image_name": name[0], "caption": caption} for i, (name, caption) in enumerate(CAPTIONS.items())],
    ],
    ids=["records", "windows", "table", "no_suffix"],
)
def test_image_names_decide_when_ids_are_row_numbers(tmp_path, predictions, references):
    found, coverage = matched(tmp_path, predictions, references)
    assert found == RIGHT
    [note] = coverage.notes
    assert note.startswith("matched by image name, not by id: ") and "refs.json" in note


def test_rows_of_a_table_with_a_running_id_are_references_of_their_images(tmp_path):
    found, coverage = matched(tmp_path, rows(CAPTIONS), NUMBERED_TABLE)
    assert found == {caption: (caption, caption) for caption in CAPTIONS.values()}
    assert (coverage.n, coverage.missing, coverage.notes) == (4, 0, ())


def test_ids_that_repeat_are_images_ids_even_where_file_names_repeat(tmp_path):
    references = [{"id": i, "image": "0001.jpg", "caption": text} for i, text in ((1, "a cat"), (1, "a big cat"), (2, "a dog"))]
    assert read_references(written(tmp_path / "refs.json", references)).captions == {"1": ("a cat", "a big cat"), "2": ("a dog",)}


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["a.jpg", "b.jpg", "c.jpg", "zebra.jpg"], "but 'zebra.jpg' is not there"),
        (["a.jpg", "b.jpg", "c.jpg", ""], "but id '3' has no image name"),
    ],
)
def test_neither_is_trusted_when_ids_and_names_contradict_and_not_every_name_is_known(tmp_path, names, fault):
    predictions = [{"id": i, "image": name, "caption": f"text {i}"} for i, name in enumerate(names)]
    with pytest.raises(MagicError) as caught:
        matched(tmp_path, predictions, NOCAPS)
    message = str(caught.value)
    assert "id '0' is 'c.jpg' in " in message and "its image is 'a.jpg'" in message and fault in message and "\n" not in message
    assert "id_key=id for the ids" in message and "id_key=image for the image names" in message and "unmatched=drop" in message


def test_both_remedies_of_a_contradiction_do_what_they_say(tmp_path):
    predictions = rows([*list(CAPTIONS)[:3]]) + [{"id": 3, "image": "zebra.jpg", "caption": "a zebra"}]
    found, coverage = matched(tmp_path, predictions, NOCAPS, id_key="id")
    assert found["a dog"] == ("some food",) and found["a zebra"] == ("two people",)
    assert coverage.notes[0].startswith("matched by id, as id_key says, though 4 image names are other images'")
    found, coverage = matched(tmp_path, predictions, NOCAPS, id_key="image", drop=True)
    assert found == {
        caption: references for caption, references in RIGHT.items() if caption != "the plane" and caption != "two people"
    } | {"two people": ("two people",)}
    assert (coverage.dropped, coverage.missing, coverage.notes) == (1, 1, ())


def test_name_that_two_images_have_decides_nothing(tmp_path):
    references = [
        {"id": 0, "image": "x/a.jpg", "references": ["r"]},
        {"id": 1, "image": "y/a.jpg", "references": ["s"]},
        {"id": 2, "image": "b.jpg", "references": ["t"]},
    ]
    predictions = [{"id": 0, "image": "b.jpg", "caption": "p"}, {"id": 1, "image": "a.jpg", "caption": "q"}]
    with pytest.raises(MagicError, match="but 'a.jpg' is both '0' and '1' there"):
        matched(tmp_path, predictions, references)
    assert matched(tmp_path, predictions[1:], references)[0] == {"q": ("s",)}  # its id says which of the two


@pytest.mark.parametrize(
    ("record", "reference"),
    [
        (
            {"image_id": 42, "image": "/data/val2014/COCO_val2014_000000000042.jpg"},
            {"id": 42, "file_name": "COCO_val2014_000000000042.jpg"},
        ),
        ({"id": "42", "image": "000000000042.jpg"}, {"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}),
        ({"id": "x/cat.jpg", "image": "/photos/x/cat.jpg"}, {"id": 7, "file_name": "x/cat.jpg"}),
        ({"cocoid": 42, "image": "img_0.png"}, {"id": 42}),
        ({"image_id": 42.0}, {"id": 42, "file_name": "a.jpg"}),
        ({"image_id": 42, "image": "/9j/4AAQ" * 10_000}, {"id": 42, "file_name": "a.jpg"}),  # the image itself
        ({"image_id": 42, "image": ""}, {"id": 42, "file_name": "a.jpg"}),
    ],
)
def test_ids_and_names_that_agree_are_matched_without_a_note(tmp_path, record, reference):
    references = {"images": [reference], "annotations": [{"image_id": reference["id"], "caption": "r"}]}
    found, coverage = matched(tmp_path, [record | {"caption": "p"}], references)
    assert found == {"p": ("r",)} and coverage.notes == ()


def test_stories_are_matched_by_their_ids_though_their_photos_are_others(tmp_path):
    stories = [{"id": i, "title": f"Title {i}", "story": f"story {i}", "image": name} for i, name in enumerate(SHUFFLED)]
    references = [{"id": i, "image": name, "references": [f"told {i}"]} for i, name in enumerate(CAPTIONS)]
    found, coverage = matched(tmp_path, stories, references)
    assert found == {f"story {i}": (f"told {i}",) for i in range(4)} and coverage.notes == ()


def test_run_folder_is_told_how_to_say_what_counts(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "predictions.jsonl").write_text(
        '{"id": "0", "image": "a.jpg", "caption": "a dog"}\n{"id": "1", "image": "z.jpg", "caption": "b"}\n'
    )
    with pytest.raises(MagicError, match=r"evaluate .*run/predictions.jsonl with id_key=id for the ids, or id_key=image"):
        build_corpus(
            read_system(run), read_references(written(tmp_path / "refs.json", NOCAPS)), images=None, drop_unmatched=False
        )


@pytest.mark.parametrize("key", ["heatmap", "mask", "overlay_png", "attention_image_2"])
def test_file_under_a_key_that_may_mean_anything_contradicts_no_id(tmp_path, key):
    names = list(CAPTIONS)
    predictions = [{"image_id": i, "caption": CAPTIONS[name], key: names[3 - i]} for i, name in enumerate(names)]
    references = [{"image_id": i, "image": name, "caption": CAPTIONS[name]} for i, name in enumerate(names)]
    found, coverage = matched(tmp_path, predictions, references)
    assert found == RIGHT and coverage.notes == ()
    assert (
        matched(
            tmp_path,
            references,
            [{"image_id": i, key: names[3 - i], "references": [CAPTIONS[name]]} for i, name in enumerate(names)],
        )[0]
        == RIGHT
    )


@pytest.mark.parametrize("key", ["file", "path", "photo", "img", "img_path", "imageFile", "file_path"])
def test_file_under_a_key_that_means_the_image_decides(tmp_path, key):
    predictions = [{"id": i, "caption": CAPTIONS[name], key: name} for i, name in enumerate(CAPTIONS)]
    assert matched(tmp_path, predictions, NOCAPS)[0] == RIGHT


def test_file_under_a_key_that_may_mean_anything_finds_what_no_id_does(tmp_path):
    predictions = [
        {"id": f"row {i}", "prompt": "describe z.jpg", "caption": caption} | {"source": name}
        for i, (name, caption) in enumerate(CAPTIONS.items())
    ]
    assert (
        matched(tmp_path, [{key: value for key, value in record.items() if key != "prompt"} for record in predictions], NOCAPS)[0]
        == RIGHT
    )
    references = [{"id": f"r{i}", "shown": name, "references": [CAPTIONS[name]]} for i, name in enumerate(SHUFFLED)]
    assert matched(tmp_path, rows(CAPTIONS), references)[0] == RIGHT


MIXED = [
    {"id": 1, "image": "COCO_val2014_000000000007.jpg", "caption": "two men"},
    {"id": 5, "image": "COCO_val2014_000000000002.jpg", "caption": "a bus"},
]


def test_ids_are_row_numbers_as_soon_as_a_name_finds_what_its_id_does_not(tmp_path):
    references = {"1": ["a dog"], "2": ["a bus"]}
    found, coverage = matched(tmp_path, MIXED, references, drop=True)
    assert found == {"a bus": ("a bus",)} and (coverage.n, coverage.dropped, coverage.missing) == (1, 1, 1)
    assert (
        coverage.notes[0].startswith("matched by image name, not by id: id '5' is not in ")
        and "000000000002.jpg' is" in coverage.notes[0]
    )
    with pytest.raises(
        MagicError, match=r"but 'COCO_val2014_000000000007.jpg' is not there, so say which counts: id_key=id for the ids"
    ):
        matched(tmp_path, MIXED, references)
    with pytest.raises(MagicError, match="but id '1' has no image name"):
        matched(tmp_path, [{"id": 1, "caption": "two men"}, MIXED[1]], references, drop=True)
    found, coverage = matched(tmp_path, MIXED, references, id_key="id", drop=True)
    assert found == {"two men": ("a dog",)} and "as id_key says, though image names find 1 more" in coverage.notes[0]


def test_names_may_find_some_and_confirm_the_ids_of_others(tmp_path):
    references = {"1": ["a dog"], "2": ["a bus"]}
    predictions = [
        {"id": 1, "image": "COCO_val2014_000000000001.jpg", "caption": "one"},
        {"id": "x", "image": "COCO_val2014_000000000002.jpg", "caption": "two"},
    ]
    found, coverage = matched(tmp_path, predictions, references)
    assert found == {"one": ("a dog",), "two": ("a bus",)} and coverage.notes == ()


@pytest.mark.parametrize(
    ("name", "known", "is_told"),
    [
        ("val/a.jpg", "train/a.jpg", True),
        ("val/a", "train/a", True),
        ("x/val/a.jpg", "y/val/a.jpg", True),
        ("/old/val/a.jpg", "train/a.jpg", True),
        ("a.png", "a.jpg", True),
        ("val/a.jpg", "a.jpg", False),
        ("a.jpg", "train/a.jpg", False),
        ("/old/val/a.JPEG", "/new/val/a.jpg", False),
        ("C:\\old\\val\\a.jpg", "val/a.jpg", False),
        ("a", "val/a.jpg", False),
    ],
)
def test_name_that_fits_only_without_its_folder_or_suffix_is_told(tmp_path, name, known, is_told):
    references = [{"id": 1, "image": known, "references": ["r"]}]
    told = [f"1 image has another folder or suffix in {tmp_path / 'refs.json'}: {name!r} is taken for {known!r}"]
    for prediction in ({name: "p"}, [{"id": "x", "image": name, "caption": "p"}]):
        found, coverage = matched(tmp_path, prediction, references)
        assert found == {"p": ("r",)} and coverage.notes == (tuple(told) if is_told else ()), prediction
    assert matched(tmp_path, [{"id": 1, "image": name, "caption": "p"}], references)[1].notes == ()  # the id says the same


def test_references_without_a_word_and_captions_of_an_empty_cell_are_told(tmp_path):
    predictions = "image,caption\na.jpg,nan\nb.jpg,a nan bread\nc.jpg,None\n"
    references = {"a.jpg": ["", " "], "b.jpg": ["nan", "a"], "c.jpg": ["", "a dog"]}
    found, coverage = matched(tmp_path, predictions, references)
    assert coverage.notes == (
        "1 item has no reference with a word, e.g. id 'a.jpg'",
        "2 captions are 'nan', which programs write for a missing caption; it is scored as that word",
        "1 reference is 'nan', which programs write for a missing caption; it is scored as that word",
    )
