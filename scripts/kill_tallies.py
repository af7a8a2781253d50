"""The tallies of try_kills.py, kept in a file so that its command goes on with them."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

COMPARED = ("items", "lost", "doubled", "changed")
_COLUMNS = ("kills", "rounds", *COMPARED)
_HEAD = "| command | kills | rounds | items compared | lost | doubled | changed | faults |\n| --- |" + " ---: |" * 7


@dataclass
class Tally:
    """What came of a command's kills.

    Attributes:
        kills, rounds: So many.
        items: Records of JSON lines, and other files, that were compared.
        lost, doubled, changed: Of them; doubled is what should not be there, too.
        faults: What went wrong, one line each.
    """

    kills: int = 0
    rounds: int = 0
    items: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    faults: list[str] = field(default_factory=list)


class Tallies:
    """The tallies of all commands.

    Args:
        folder: Where they are kept, and what belongs to them is done; it must be theirs or empty, since things in it are deleted.
        seed: Of the moments; a folder is only ever continued with the same.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._file, self._seed = folder / "tally.json", seed
        kept = {"seed": seed, "commands": {}}
        if self._file.exists():
            kept = json.loads(self._file.read_text())
        elif folder.is_dir() and any(folder.iterdir()):
            sys.exit(f"--folder {folder}: holds other files; name an empty folder, or one that is not there")
        if kept["seed"] != seed:
            sys.exit(f"--seed {seed}: {folder} was begun with --seed {kept['seed']}; give that, or another --folder")
        self._all = {name: Tally(**tally) for name, tally in kept["commands"].items()}
        folder.mkdir(parents=True, exist_ok=True)
        self.keep()

    def of(self, name: str) -> Tally:
        """A command's, new if it has none."""
        return self._all.setdefault(name, Tally())

    def keep(self) -> None:
        """Write the file: a kill of this very program costs one round."""
        temporary = self._file.with_suffix(".tmp")
        document = {"seed": self._seed, "commands": {name: asdict(tally) for name, tally in self._all.items()}}
        temporary.write_text(json.dumps(document, indent=1) + "\n")
        temporary.replace(self._file)

    def total(self, names: Iterable[str]) -> list[int]:
        """Of these commands: the columns of the table."""
        return list(map(sum, zip(*map(self._numbers, names), strict=True)))

    def table(self, names: Iterable[str]) -> str:
        """A table of these commands, as Markdown."""
        rows = {name: self._numbers(name) for name in names} | {"all": self.total(names)}
        return "\n".join([_HEAD, *(f"| {name} | " + " | ".join(f"{n:,}" for n in row) + " |" for name, row in rows.items())])

    def _numbers(self, name: str) -> list[int]:
        tally = self.of(name)
        return [*(getattr(tally, column) for column in _COLUMNS), len(tally.faults)]
