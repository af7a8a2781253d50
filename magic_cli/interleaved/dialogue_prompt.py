"""The prompt of a dialogue: the last turns, each with its speaker, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magic_cli.data.interleaved import Part
from magic_cli.interleaved.prompts import Piece, check_image, merged, pieces_of


@dataclass
class DialoguePrompt:
    """How turns become a prompt. Two speak in turn; a text opens a turn, and an image belongs to the text before it.

    What is too long ago is left out: when the second speaker has answered the second turn of the first, all before that turn is. So
    what the second speaker says looks back on three turns at most, what the first says on two.

    Attributes:
        system: What the prompt begins with.
        after_system: What stands behind that.
        first_speaker: What opens the turns of who speaks first.
        second_speaker: What opens the turns of the other.
        after_turn: What stands behind each turn.
        between: What stands between text and image of a turn.
        image: How an image stands in the text; {image} is the model's slot for it.
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
        """The prompt as texts and images in their order; no two texts stand side by side."""
        turns = _turns([*history, *parts])
        speakers = (self.first_speaker, self.second_speaker)
        pieces: list[Piece] = [self.system, self.after_system]
        for number in range(first_turn(len(turns)), len(turns)):
            pieces += [f"{speakers[number % 2]} ", *pieces_of(turns[number], self.between, self.image), self.after_turn]
        return merged([*pieces, speakers[len(turns) % 2]])


def first_turn(number: int) -> int:
    """The first turn that the turn with this number (from 0) looks back on.

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
