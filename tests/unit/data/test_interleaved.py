"""Items of texts and images: every form that is read, and every slip named in one line."""

import gzip
import json
from pathlib import Path

import pytest

from magic_cli.data.interleaved import Part, read_interleaved
from magic_cli.data.interleaved_datasets import ItemFile, PartList
from magic_cli.errors import MagicError, SettingsError

STORY = {
    "id": 40470,
    "steps": [
        {"parts": [{"text": "Draw: ", "once": True}, {"text": "a fire"}], "target": [{"image": "0.jpg"}]},
        {"parts": [{"text": "What next?", "once": True}], "target": [{"text": "They eat."}, {"image": "/photos/1.jpg"}]},
        {"parts": []},
    ],
}


def read(tmp_path, *records, name="items.jsonl", **options):
    file = tmp_path / name
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_interleaved(file, setting="dataset.items", **options)


def test_story_keeps_parts_targets_and_places_when_read(tmp_path):
    [story, plain] = read(tmp_path, STORY, {"parts": [{"image": "a.jpg"}, {"text": "hi"}]}, images="photos")
    assert (story.id, plain.id) == ("40470", "2")
    assert story.steps[0].target == (Part(image=Path("photos/0.jpg")),)
    assert story.steps[1].target == (Part("They eat."), Part(image=Path("/photos/1.jpg")))
    assert plain.steps[0].parts == (Part(image=Path("photos/a.jpg")), Part("hi")) and plain.steps[0].target is None
    assert [part.as_record() for part in story.steps[0].parts] == [{"text": "Draw: ", "once": True}, {"text": "a fire"}]


def test_history_leaves_out_what_is_said_once_and_takes_any_answers(tmp_path):
    [story] = read(tmp_path, STORY)
    assert story.history(0, []) == []
    assert story.history(2, story.truth(2)) == [Part("a fire"), *story.steps[0].target, *story.steps[1].target]
    assert story.history(1, [[Part("mine")]]) == [Part("a fire"), Part("mine")]
    with pytest.raises(ValueError, match="step 3 has no target"):
        story.truth(3)


def test_given_past_stands_before_the_first_step(tmp_path):
    past = [{"text": "It rained."}, {"image": "0.jpg"}]
    [item] = read(tmp_path, {"id": "a", "history": past, "parts": [], "target": [{"image": "1.jpg", "caption": "a wet dog"}]})
    assert item.past == (Part("It rained."), Part(image=tmp_path / "0.jpg")) and item.steps[0].caption == "a wet dog"
    assert item.history(0, []) == list(item.past) and item.history(1, item.truth(1)) == [
        *item.past,
        Part(image=tmp_path / "1.jpg", caption="a wet dog"),
    ]


def test_gzipped_list_is_read_like_lines(tmp_path):
    (tmp_path / "items.json.gz").write_bytes(gzip.compress(json.dumps([STORY]).encode()))
    assert read_interleaved(tmp_path / "items.json.gz", setting="x") == read(tmp_path, STORY)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"text": "hi"}, "record 1: needs either parts or steps; give JSON lines"),
        ({"parts": [{"text": "a"}], "steps": []}, "record 1: needs either parts or steps"),
        ({"parts": []}, "record 1: has no parts, and nothing comes before it"),
        ({"steps": []}, "record 1: steps must be a list that is not empty"),
        ({"steps": ["a"]}, 'record 1 step 1: must be {"parts": [...], "target"?: [...]}, got \'a\''),
        ({"steps": [{"parts": [{"text": "a"}]}, {"parts": "b"}]}, "record 1 step 2 parts: must be a list, got 'b'"),
        ({"parts": [{"text": "a", "image": "b"}]}, 'record 1 parts number 1: a part is {"text": TEXT} or {"image": FILE}, got'),
        ({"parts": [{"sound": "a"}]}, "record 1 parts number 1: a part is"),
        ({"parts": [{"text": "a"}, {"text": " "}]}, "record 1 parts number 2: its text must be a text that is not empty"),
        ({"parts": [{"image": 3}]}, "record 1 parts number 1: its image must be a text that is not empty, got '3'"),
        ({"parts": [{"text": "a", "once": "yes"}]}, "record 1 parts number 1: once must be true or false, got 'yes'"),
        (
            {"parts": [{"text": "a"}], "history": [{"text": ""}]},
            "record 1 history number 1: its text must be a text that is not empty",
        ),
        ({"parts": [{"image": "a", "caption": " "}]}, "record 1 parts number 1: its caption must be a text that is not empty"),
        ({"parts": [{"text": "a"}], "target": []}, "record 1: its target is empty; leave it out"),
        ({"parts": [{"text": "a"}], "target": [{"image": "a"}, {"image": "b"}]}, "record 1: its target has several images"),
        ({"parts": [{"text": "a"}], "target": [{"text": "a", "once": True}]}, "record 1: once belongs to parts"),
        ({"id": True, "parts": [{"text": "a"}]}, "record 1: id must be a text or a whole number, got 'True'"),
    ],
)
def test_slip_is_one_line_that_names_its_place(tmp_path, record, told):
    with pytest.raises(MagicError) as error:
        read(tmp_path, record)
    assert told in str(error.value) and "\n" not in str(error.value) and str(error.value).startswith("dataset.items=")


def test_repeated_id_is_refused(tmp_path):
    with pytest.raises(MagicError, match="record 2: the id '1' appears twice"):
        read(tmp_path, {"parts": [{"text": "a"}]}, {"id": 1, "parts": [{"text": "a"}]})


def test_parts_of_the_command_line_keep_their_order():
    dataset = PartList("parts", parts=["Look:", "image:a.jpg", "text:image:b", "so"], num_steps=3)
    [item] = dataset.load()
    assert item.steps[0].parts == (Part("Look:"), Part(image=Path("a.jpg")), Part("image:b"), Part("so"))
    assert item.steps[1] == item.steps[2] and item.steps[1].parts == (Part("What happens next?", once=True),)


@pytest.mark.parametrize(
    ("dataset", "settings", "told"),
    [
        (PartList, {}, "nothing to go on: give --part TEXT"),
        (PartList, {"parts": ["image:"]}, "dataset.parts: a part must be a text or image:FILE, got 'image:'"),
        (PartList, {"parts": [" "]}, "dataset.parts: a part must be"),
        (PartList, {"parts": ["a"], "num_steps": 0}, "dataset.num_steps must be in [1, 1000], got 0"),
        (PartList, {"parts": ["a"], "num_steps": 2, "again": ""}, "dataset.again=''"),
        (PartList, {"parts": ["a"], "limit": 0}, "dataset.limit must be"),
        (ItemFile, {}, "dataset.items is not set; give JSON lines"),
    ],
)
def test_settings_are_refused_in_one_line(dataset, settings, told):
    with pytest.raises(SettingsError) as error:
        dataset("x", **settings)
    assert str(error.value).startswith(told)
