"""VIST in both layouts becomes the released code's prompts, to the character."""

import json

import pytest

from magic_cli.data.interleaved import Part
from magic_cli.data.vist import WORDS, VistDataset, VistSteps, VistTask
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.prompts import Context, step_prompt
from tests.interleaved_files import PHOTOS, SCENES, prompt_form, vist_official, vist_released

SYSTEM = (
    "Give the following images in <Img>ImageContent</Img> format. You will be able to see the images once I provide it to you. "
    "Please understanding images and generate story."
)
SLOT = "<Img><ImageHere></Img>"
ALL = [VistTask.generation, VistTask.multimodal, VistTask.understanding]
FORM = prompt_form("vist")


def source(item, number=0, context=Context.both):
    """The prompt of a step as one text."""
    pieces = step_prompt(item, number, item.truth(number), context, FORM)
    return "".join(piece if isinstance(piece, str) else "<ImageHere>" for piece in pieces)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    file = vist_released(tmp_path_factory.mktemp("vist"))
    return {item.id: item for item in VistDataset("vist", annotations=str(file), tasks=ALL, apart=True).load()}


def test_story_gives_13_training_items_and_5_test_items(training, tmp_path):
    assert [sum(f"-{kind}" in item for item in training) for kind in ("gen", "multimodal", "understanding")] == [5, 4, 4]
    assert list(training)[:4] == ["40470_0-gen", "40470_1-gen", "40470_1-multimodal", "40470_1-understanding"]
    apart = VistDataset("vist", annotations=str(vist_released(tmp_path)), apart=True).load()
    assert [item.id for item in apart] == [f"40470_{i}-gen" for i in range(5)]
    [story] = VistDataset("vist", annotations=str(vist_released(tmp_path))).load()
    assert story.id == "40470" and len(story.steps) == 5
    for number, item in enumerate(apart):
        assert source(item).replace(item.steps[0].parts[0].text, "") == source(story, number).replace(
            story.steps[number].parts[0].text, ""
        )


@pytest.mark.parametrize("number", [0, 1, 4])
def test_generation_prompt_is_the_released_one_when_step_is(training, number):
    item = training[f"40470_{number}-gen"]
    past = "".join(f"{text}{SLOT}" for text in SCENES[:number]) + ("\n" if number else "")
    assert source(item) in {
        f"{SYSTEM}###Human:{past} {words}{SCENES[number]} ###Assistant:" for words in WORDS[VistTask.generation]
    }
    assert item.steps[0].target[0].image.name == f"{number:09d}.jpg" and len(item.steps[0].target) == 1


def test_golden_prompts_of_step_4_in_every_task(training):
    past = (
        "we lit the grill .<Img><ImageHere></Img>uncle bob arrived .<Img><ImageHere></Img>we ate a lot .<Img><ImageHere></Img>"
        "the sun went down .<Img><ImageHere></Img>\n"
    )
    multimodal, understanding = training["40470_4-multimodal"], training["40470_4-understanding"]
    asked = ("Tell me the next scene with image.", "Generate the next scene with image.", "What should happen then?")
    assert source(multimodal) in {f"{SYSTEM}###Human:{past} {words} ###Assistant:" for words in asked}
    assert [part.text or part.image.name for part in multimodal.steps[0].target] == ["fireworks at the end .", "000000004.jpg"]
    asked = (
        "Tell me the next scene description by this image: <Img><ImageHere></Img>",
        "What happen in the next scene image: <Img><ImageHere></Img>",
    )
    assert source(understanding) in {f"{SYSTEM}###Human:{past} {words} ###Assistant:" for words in asked}
    assert understanding.steps[0].target == (Part("fireworks at the end ."),)


def test_four_contexts_leave_out_kinds_of_the_past(training):
    item = training["40470_2-multimodal"]
    asked = item.steps[0].parts[0].text
    expected = {
        Context.none: f"###Human: {asked}", Context.text: f"###Human:{SCENES[0]}{SCENES[1]}\n {asked}", Context.image: f"###Human:{SLOT}{SLOT}\n {asked}",
        Context.both: f"###Human:{SCENES[0]}{SLOT}{SCENES[1]}{SLOT}\n {asked}",
    }  # fmt: skip
    for context, text in expected.items():
        assert source(item, context=context) == f"{SYSTEM}{text} ###Assistant:"


def test_words_are_drawn_once_for_each_item_by_the_seed(tmp_path):
    file = str(vist_released(tmp_path))

    def words(seed):
        return [
            item.steps[0].parts[0].text for item in VistDataset("vist", annotations=file, tasks=ALL, apart=True, seed=seed).load()
        ]

    assert words(1) == words(1) and len({tuple(words(seed)) for seed in range(5)}) == 5
    assert {text for seed in range(20) for text in words(seed)} == {text for texts in WORDS.values() for text in texts}


def test_story_without_a_photo_is_left_out_with_the_reason(tmp_path):
    dataset = VistDataset("vist", annotations=str(vist_released(tmp_path)))
    assert [item.id for item in dataset.load()] == ["40470"]
    assert dataset.left_out() == [("40471", f"scene 0: no image {tmp_path}/val_images/5001.jpg")]
    places = json.loads((tmp_path / "val_image_mapping.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({key: place for key, place in places.items() if key != "5003"}))
    dataset = VistDataset("vist", annotations=str(tmp_path / "val_cleaned.json"), mapping=str(tmp_path / "other.json"))
    with pytest.raises(MagicError, match="no items found; set dataset.annotations to VIST's"):
        dataset.load()
    assert dataset.left_out()[0] == ("40470", "scene 2: other.json has no place for image 5003")


def test_official_annotations_give_the_same_items(tmp_path):
    for folder in ("released", "official"):
        (tmp_path / folder).mkdir()
    [released] = VistDataset("vist", annotations=str(vist_released(tmp_path / "released"))).load()
    official = VistDataset("vist", annotations=str(vist_official(tmp_path / "official")))
    [item] = official.load()
    assert item.id == released.id and [source(item, i) for i in range(5)] == [source(released, i) for i in range(5)]
    assert [step.target[0].image.stem for step in item.steps] == PHOTOS and not official.left_out()
    (tmp_path / "official" / "images" / "val" / "5007.png").unlink()
    left_out = VistDataset("vist", annotations=official.annotations, root=str(tmp_path / "official" / "images")).left_out()
    assert left_out == [("40470", f"scene 1: no image 5007.* below {tmp_path}/official/images")]
    [typed] = VistDataset("vist", annotations=str(vist_official(tmp_path / "official")), original_text=True).load()
    assert typed.steps[1].caption == "Uncle bob arrived ."  # capitalize() of the fixture


def test_last_step_alone_looks_back_on_all_others(training, tmp_path):
    file = str(vist_released(tmp_path))
    [item] = VistDataset("vist", annotations=file, tasks=[VistTask.multimodal], steps=VistSteps.last).load()
    assert len(item.steps) == 1 and len(item.past) == 8 and item.steps[0].caption == SCENES[4]
    [story] = VistDataset("vist", annotations=file, tasks=[VistTask.multimodal]).load()
    assert len(story.steps) == 4 and [part.text for part in story.past] == [SCENES[0], None]
    assert source(story, 3).startswith(source(item).partition(SCENES[3])[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "dataset.annotations is not set"),
        ({"annotations": "a", "tasks": []}, r"dataset.tasks=\[\]: name one of generation, multimodal, understanding or several"),
        (
            {"annotations": "a", "tasks": ALL},
            "a story is one item of generation or of multimodal; for others, or several, set dataset.apart=true",
        ),
        ({"annotations": "a", "seed": -1}, "dataset.seed must be in"),
    ],
)
def test_settings_are_refused_in_one_line(options, told):
    with pytest.raises(SettingsError, match=told):
        VistDataset("vist", **options)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "holds no stories"),
        ({"annotations": [[{"tier": "description-in-isolation"}]]}, "annotation 1: is of the tier 'description-in-isolation'"),
        ({"annotations": [[{"story_id": "1"}]]}, "not as expected .no key 'worker_arranged_photo_order'"),
        ({"annotations": [[], []]}, "not as expected"),
        ({"1": {"caption": "a"}}, "story 1: must be a list of scenes"),
        ({"1": [{"caption": "a", "image_id": "2", "sequence_index": 0}] * 2}, "story 1: two scenes have the place 0"),
        ({"1": [{"caption": 5, "image_id": "2", "sequence_index": 0}]}, "not as expected"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, document, told):
    (tmp_path / "val_cleaned.json").write_text(json.dumps(document))
    (tmp_path / "val_image_mapping.json").write_text("{}")
    with pytest.raises(MagicError, match=told):
        VistDataset("vist", annotations=str(tmp_path / "val_cleaned.json")).load()
