"""MMDialog becomes the released code's windows and prompts, to the character."""

import json

import pytest

from magic_cli.data.mmdialog import BROKEN, MmDialogDataset
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.prompts import Context, step_prompt
from tests.interleaved_files import KEYS, LONG_TURN, TURNS, dialogue_line, mmdialog, picture, prompt_form

SYSTEM = (
    "Give the following images in <Img>ImageContent</Img> format. You will be able to see the images once I provide it to you. "
    "Please generate conversations with appropriate images."
)
SLOT = "<Img><ImageHere></Img>"


def source(item, turn, form="mmdialog"):
    """The prompt of a turn as one text, and the names of its images."""
    pieces = step_prompt(item, turn - 1, item.truth(turn - 1), Context.both, prompt_form(form))
    return "".join(piece if isinstance(piece, str) else "<ImageHere>" for piece in pieces), [
        piece.stem for piece in pieces if not isinstance(piece, str)
    ]


def released_windows(turns):
    """The released code's own bookkeeping, turn by turn: what stands before each turn, and its role."""
    history, count, cut, found = [], 0, 0, []
    for i, (text, key) in enumerate(turns):
        role = "###Human:" if i % 2 == 0 else "###Assistant:"
        if i:
            found.append((" ".join([SYSTEM, *history, role]), target(text, key)))
        if i % 2 == 0:
            count += 1
            if count == 2:
                cut = len(history)
        if count == 2 and i % 2 == 1:
            history, count, cut = history[cut:], 1, 0
        history += [f"{role} {text}", *([SLOT] if key else [])]
    return found


def target(text, key):
    return [text, *([key] if key else [])]


@pytest.fixture
def item(tmp_path):
    [item] = MmDialogDataset("mmdialog", conversations=str(mmdialog(tmp_path))).load()
    return item


def test_eight_windows_are_the_released_codes(item):
    assert len(item.steps) == 8
    windows = [[0], [0, 1], [0, 1, 2], [2, 3], [2, 3, 4], [4, 5], [4, 5, 6], [6, 7]]
    for turn, (window, (expected, answer)) in enumerate(zip(windows, released_windows(TURNS), strict=True), start=1):
        text, images = source(item, turn)
        assert text == expected and images == [TURNS[i][1] for i in window if TURNS[i][1]]
        assert [TURNS[i][0] in text for i in range(9)] == [i in window for i in range(9)]
        assert [part.text or part.image.stem for part in item.steps[turn - 1].target] == answer
    assert sum(len(step.target) == 2 for step in item.steps) == 3


def test_golden_prompts_of_turns_1_and_4(item):
    assert source(item, 1)[0] == f"{SYSTEM} ###Human: {LONG_TURN} {SLOT} ###Assistant:"
    assert source(item, 4)[0] == (
        f"{SYSTEM} ###Human: Lovely :smiling_face_with_smiling_eyes: mine is Hong Kong {SLOT} "
        f"###Assistant: Thanks! This one is Tower Bridge :winking_face: {SLOT} ###Human:"
    )


def test_prompt_of_version_1_joins_turns_by_line_ends(item):
    system = SYSTEM.replace("conversations with appropriate images", "conversation with appropriate image")
    assert source(item, 2, "mmdialog_v1")[0] == (
        f"{system}###Human: {LONG_TURN} {SLOT}\n###Assistant: Stunning photo. Mine is Melbourne. {SLOT}\n###Human:"
    )
    assert source(item, 4, "mmdialog_v1")[0].startswith(f"{system}###Human: Lovely")


def test_long_first_turn_leaves_nothing_to_train_on(tmp_path):
    file = str(mmdialog(tmp_path))
    dataset = MmDialogDataset("mmdialog", conversations=file, max_tokens=50)
    dataset.connect(lambda text: len(text.split()))
    with pytest.raises(MagicError, match="no items found; set dataset.conversations to"):
        dataset.load()
    assert dataset.left_out() == [
        ("0_0", "the dialogue ends before this turn: its text has 53 tokens, and dataset.max_tokens=50")
    ]
    with pytest.raises(SettingsError, match="dataset.max_tokens=50 counts tokens of the model that is trained"):
        MmDialogDataset("mmdialog", conversations=file, max_tokens=50).load()
    dataset = MmDialogDataset("mmdialog", conversations=file, max_words=20)
    assert dataset.find()[0] == [] and "words, and dataset.max_words=20" in dataset.left_out()[0][1]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (("", None), "it has no text"),
        (("look.jpg", None), "its text ends in .jpg"),
        (("hi", "-99"), "no image "),
        (("hi", min(BROKEN)), "is one that the released code leaves out"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_dialogue_ends_before_the_first_odd_turn(tmp_path, odd, reason, place):
    picture(tmp_path / f"{min(BROKEN)}.jpg")
    turns = [*TURNS[1:][:place], odd, *TURNS[5:]]
    dataset = MmDialogDataset("mmdialog", conversations=str(mmdialog(tmp_path, turns, TURNS)), limit=2)
    items = {item.id: item for item in dataset.load()}
    assert len(items["0"].steps) == place - 1 if place > 1 else list(items) == ["1"]
    [(turn, why)] = dataset.left_out()
    assert turn == f"0_{place}" and reason in why


def test_single_turn_is_no_dialogue_and_train_files_have_no_negatives(tmp_path):
    file = mmdialog(tmp_path, TURNS[:1], TURNS[:3])
    file.write_text(file.read_text() + "\n" + dialogue_line("2", TURNS[4:], with_negatives=False))
    dataset = MmDialogDataset("mmdialog", conversations=str(file))
    assert [(item.id, len(item.steps)) for item in dataset.load()] == [("1", 2), ("2", 4)] and dataset.left_out() == []


def test_elements_of_a_turn_count_wherever_they_stand_unless_released(tmp_path):
    file = mmdialog(tmp_path)
    turns = [
        {"turn": [{"__MEDIA__": int(KEYS[1])}, {"__TEXT__": "first"}, {"__TEXT__": "more"}]},
        {"turn": [{"__TEXT__": "second"}]},
    ]
    file.write_text(json.dumps({"conversation_id": 7, "conversation": turns}))
    [item] = MmDialogDataset("mmdialog", conversations=str(file)).load()
    assert [part.text or part.image.stem for part in item.past] == ["first more", KEYS[1]]
    with pytest.raises(
        MagicError, match="line 1 turn 0: must begin with a text and go on with an image, as the released code needs it"
    ):
        MmDialogDataset("mmdialog", conversations=str(file), released=True).load()
    [same] = MmDialogDataset("mmdialog", conversations=str(mmdialog(tmp_path)), released=True).load()
    assert len(same.steps) == 8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: not valid JSON"),
        ('{"conversation_id": 1}', "line 1: needs a conversation_id and a list called conversation"),
        ('{"conversation_id": 1, "conversation": [{"turn": []}]}', "line 1 turn 0: must be"),
        (
            '{"conversation_id": 1, "conversation": [{"turn": [{"__SOUND__": "a"}]}]}',
            "line 1 turn 0: each of its elements must be",
        ),
        (dialogue_line(3, [("a", None), ("b", None)]) * 2, "line 2: the conversation_id '3' appears twice"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, text, told):
    (tmp_path / "c.txt").write_text(text)
    with pytest.raises(MagicError, match=told):
        MmDialogDataset("mmdialog", conversations=str(tmp_path / "c.txt")).load()
