"""The prompt of a dialogue: the last turns, each with its speaker, and whose turn is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magic_cli.data.interleaved import Part
from magic_cli.interleaved.prompts import Piece, check_image, merged, pieces_of


@dataclass
class DialoguePrompt:
    """How turns become a prompt. Two people speak in turn. A text opens a turn; an image belongs to the text before it.

    Old turns are left out. After the second speaker's answer to the second turn of the first, everything before that turn is
    dropped. So the second speaker sees at most three earlier turns, the first speaker at most two.

    Attributes:
        system: The beginning of the prompt.
        after_system: Text after ``system``.
        first_speaker: Text before each turn of the first speaker.
        second_speaker: Text before each turn of the second speaker.
        after_turn: Text after each turn.
        between: Text between the text and the image of a turn.
        image: How an image appears in the text; {image} is the model's slot for it.
    """

    system: str = ""
    after_system: str = " "
    first_speaker: str = "###Human:"
    second_speaker: str = "###Assistant:"
    after_turn: str = " "
    between: str = " "
    image: str = "<Img>{image}</Img>"

    def __post_init__(self) -> None:
        check_image(self.image)

    def render(self, parts: Sequence[Part], history: Sequence[Part]) -> list[Piece]:
        """The prompt as texts and images in order, without two texts side by side."""
        turns = _turns([*history, *parts])
        speakers = (self.first_speaker, self.second_speaker)
        pieces: list[Piece] = [self.system, self.after_system]
        for number in range(first_turn(len(turns)), len(turns)):
            pieces += [f"{speakers[number % 2]} ", *pieces_of(turns[number], self.between, self.image), self.after_turn]
        return merged([*pieces, speakers[len(turns) % 2]])


def first_turn(number: int) -> int:
    """The first turn that turn ``number`` (from 0) sees.

    >>> [first_turn(number) for number in range(1, 9)]
    [0, 0, 0, 2, 2, 4, 4, 6]
    """
    return max(0, number - 2 if number % 2 == 0 else number - 3)


def _turns(parts: Sequence[Part]) -> list[list[Part]]:
    turns: list[list[Part]] = []
    for part in parts:
        if part.image is None or not turns:
            turns.append([])
        turns[-1].append(part)
    return turns
