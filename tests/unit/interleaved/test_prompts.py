"""Prompts of texts and images: the released form to the letter, contexts, and templates that cannot be meant."""

from pathlib import Path

import pytest

from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.errors import SettingsError
from magic_cli.interleaved.prompts import Context, PromptSettings, step_prompt

RELEASED = PromptSettings(
    template="{system}###Human:{history} {parts} ###Assistant:", system="Look.", between="", after_history="\n"
)
STORY = InterleavedItem(
    "s",
    tuple(
        Step(
            (Part("Generate an image with the scene description: ", once=True), Part(f"cap {i}")), (Part(image=Path(f"{i}.jpg")),)
        )
        for i in range(3)
    ),
)


def shown(pieces):
    return "".join(piece if isinstance(piece, str) else f"[{piece.name}]" for piece in pieces)


def prompt(number, context=Context.both, settings=RELEASED):
    return step_prompt(STORY, number, STORY.truth(number), context, settings)


def test_released_form_is_kept_to_the_letter():
    assert prompt(0) == ["Look.###Human: Generate an image with the scene description: cap 0 ###Assistant:"]
    assert shown(prompt(2)) == (
        "Look.###Human:cap 0<Img>[0.jpg]</Img>cap 1<Img>[1.jpg]</Img>\n Generate an image with the scene description: cap 2 ###Assistant:"
    )


@pytest.mark.parametrize(
    ("context", "past"), [("none", ""), ("text", "cap 0cap 1\n"), ("image", "<Img>[0.jpg]</Img><Img>[1.jpg]</Img>\n")]
)
def test_context_chooses_from_the_history_only(context, past):
    assert (
        shown(prompt(2, Context(context)))
        == f"Look.###Human:{past} Generate an image with the scene description: cap 2 ###Assistant:"
    )


def test_parts_stand_apart_and_texts_side_by_side_are_one_piece():
    parts = [Part("Look at"), Part(image=Path("a.jpg")), Part("and"), Part("then {image} {x}")]
    assert PromptSettings().render(parts, []) == [
        "###Human: Look at <Img>",
        Path("a.jpg"),
        "</Img> and then {image} {x} ###Assistant:",
    ]
    assert PromptSettings(image="{image}", template="{parts}").render(parts[1:2], []) == [Path("a.jpg")]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"template": "{parts"},
            "prompt.template='{parts': expected '}' before end of string; a brace that is meant is written twice",
        ),
        (
            {"template": "{foo}{parts}"},
            "prompt.template='{foo}{parts}': {foo} is unknown; it may hold {system}, {history} and {parts}",
        ),
        (
            {"template": "{history}"},
            "prompt.template='{history}': must hold {parts} once, and {system} and {history} at most once",
        ),
        ({"template": "{parts}{parts}"}, "prompt.template='{parts}{parts}': must hold {parts} once"),
        ({"template": "{parts!r}"}, "prompt.template='{parts!r}': {parts} must be a plain name"),
        ({"image": "<Img>"}, "prompt.image='<Img>': must hold {image} once, the model's slot for an image"),
    ],
)
def test_template_is_refused_in_one_line(settings, told):
    with pytest.raises(SettingsError) as error:
        PromptSettings(**settings)
    assert str(error.value).startswith(told)
