"""Captions of a data set that cannot be read: they are left out and told of, because captioning needs none of them."""

from __future__ import annotations

from dataclasses import dataclass

from magic_cli.terminal.wording import counted


@dataclass
class UnreadCaptions:
    """Those of one file.

    Attributes:
        count: How many there are.
        first: Why the first cannot be read, with its place.
    """

    count: int = 0
    first: str = ""

    def add(self, reason: object) -> None:
        """Count one more."""
        self.first = self.first or str(reason)
        self.count += 1

    def notes(self, place: str) -> list[str]:
        """One line for the user if there are some."""
        if not self.count:
            return []
        what = counted(self.count, "image whose caption cannot be read has", "images whose captions cannot be read have")
        return [f"{place}: {what} no references; the first: {self.first}"]
