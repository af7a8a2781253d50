"""Kill every command that writes, 1,000 times, and see whether anything is lost.

    python scripts/try_kills.py
    python scripts/try_kills.py --kills 100 --commands "caption;story"

Each command is carried out undisturbed first, twice. Then come rounds: it is started in a new folder, killed with SIGKILL at a
random moment between its first change to a file and its end, started again, killed again, until it ends by itself. It must
leave what the undisturbed command left: every file, byte for byte, and what the last start prints.

Half of the moments are drawn from the time that the command takes; the others lie right before a change to a file, or just
after it was begun. In half of the kills only the process that was started is killed: its workers must end by themselves.

Not compared: lock files, and in some JSON files and a report what tells the time (see same_files.py). Of SQLite files the rows are
compared, of checkpoints the tensors. The tally is kept in FOLDER/tally.json, and the same command goes on with it. Ends with 1 if there was a fault.
"""

import argparse
import importlib.util
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kill_tallies import COMPARED, Tallies, Tally
from killed_commands import BUILDERS, COMMANDS, build_inputs
from killing import Ending, Hung, adopt_orphans, draw, load, start, wait_until_gone
from same_files import compare, contents

_ROUND = 8
"""Kills of a round; then the command may end."""


class Trial:
    """The rounds of one command.

    Args:
        name: Of the command.
        work: Folder of all that is tried.
        seed: Of the moments.
        tally: What has come of it so far.
    """

    def __init__(self, name: str, work: Path, seed: int, tally: Tally) -> None:
        self.name, self.command, self.work, self.seed, self.tally = name, COMMANDS[name], work, seed, tally
        self.folder = work / "".join(letter if letter.isalnum() else "-" for letter in name)
        self.whole: Ending | None = None
        self.expected: dict[str, Any] = {}

    def begin(self) -> None:
        """Carry out the command undisturbed, twice: the second start is the one that is timed, and must leave the same."""
        shutil.rmtree(self.folder, ignore_errors=True)
        prepared, modules = self.folder / "prepared", self.folder / "modules.txt"
        prepared.mkdir(parents=True)
        for step in self.command.before:
            if callable(step):
                step(prepared)
            elif (ending := start(step, prepared)).status not in (0, 3):
                sys.exit(f"{self.name}: {' '.join(step)} ended with {ending.status}, see {prepared}.err")
        first, self.expected = self._undisturbed(modules)
        load(modules.read_text().split())
        self.whole, again = self._undisturbed(None)
        differing = [f"{file}: {found}" for file, found in compare(self.expected, again).items() if found]
        if differing or first.status != self.whole.status:
            sys.exit(f"{self.name}: two undisturbed starts differ, so that kills prove nothing: {'; '.join(differing)}")
        print(f"{self.name}: {self.whole.seconds:.1f} s, {self.whole.changes} changes to files", flush=True)

    def _undisturbed(self, modules: Path | None) -> tuple[Ending, dict[str, Any]]:
        folder = self._new()
        ending = start(self.command.words, folder, modules=modules)
        if ending.status not in (0, 3):
            sys.exit(f"{self.name}: ended with {ending.status} undisturbed, see {folder}.err")
        wait_until_gone()
        return ending, _left(folder)

    def _new(self) -> Path:
        """A working folder, always of the same name: some files hold full paths."""
        folder = self.folder / "here"
        _remove(folder)
        return shutil.copytree(self.folder / "prepared", folder)

    def round(self, most: int) -> None:
        """Kill the command, at most so many times, until it ends by itself; what a fault left is kept."""
        tally, name = self.tally, f"round-{self.tally.rounds}"
        rng, folder, aims, faults = random.Random(f"{self.seed} {self.name} {name}"), self._new(), [], []
        try:
            while (ending := start(self.command.words, folder, aim := self._aim(rng, len(aims), most))).was_killed:
                aims.append(aim)
            if not aims:  # the machine is faster now
                self.whole = replace(self.whole, seconds=min(self.whole.seconds, ending.seconds))
            if ending.status == self.whole.status:
                faults += self._compare(folder)
            else:
                faults.append(f"ended with {ending.status} instead of {self.whole.status}")
        except Hung as hung:
            faults.append(str(hung))
        faults += [f"was left behind: {process}" for process in wait_until_gone()]
        tally.kills, tally.rounds = tally.kills + len(aims), tally.rounds + 1
        tally.faults += [f"{name}, after {len(aims)} kills: {fault}" for fault in faults]
        if faults:
            print("\n".join([f"FAULT: {self.name}, {name}, see {self.folder / name}", *faults, *map(str, aims)]), flush=True)
            for end in ("", ".out", ".err"):
                shutil.move(f"{folder}{end}", f"{self.folder / name}{end}")

    def _aim(self, rng: random.Random, kills: int, most: int) -> Any:
        return draw(rng, self.whole) if kills < min(most, _ROUND) else None

    def _compare(self, folder: Path) -> list[str]:
        differences = compare(self.expected, _left(folder))
        for column in COMPARED:
            setattr(self.tally, column, getattr(self.tally, column) + sum(getattr(one, column) for one in differences.values()))
        return [f"{file}: {found}" for file, found in differences.items() if found]


def _left(folder: Path) -> dict[str, Any]:
    return contents(folder) | {"what is printed": Path(f"{folder}.out").read_bytes()}


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for end in ("out", "err"):
        Path(f"{folder}.{end}").unlink(missing_ok=True)


def make_inputs(folder: Path, builders: list[Callable[[Path], None]]) -> None:
    """Make what the commands read, in a process of its own: models may start threads, and those are not forked."""
    if (pid := os.fork()) == 0:
        status = 1
        try:
            for build in builders:
                build(folder)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        sys.exit(f"{folder}: the inputs could not be made")


def chosen(names: str | None) -> list[str]:
    """The commands that are to be killed, of those that can run here."""
    asked = list(dict.fromkeys(name.strip() for name in names.split(";"))) if names else list(COMMANDS)
    if unknown := [name for name in asked if name not in COMMANDS]:
        sys.exit(f"--commands: no command {unknown[0]!r}; there are {'; '.join(COMMANDS)}")
    missing = {name: COMMANDS[name].package for name in asked if importlib.util.find_spec(COMMANDS[name].package) is None}
    for name, package in missing.items():
        print(f"{name}: left out, {package} is not installed")
    return [name for name in asked if name not in missing] or sys.exit("no command is left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", help=f"only these, parted by semicolons, of: {'; '.join(COMMANDS)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"), help="where everything is done (runs/kills)")
    arguments = parser.parse_args()
    names, work = chosen(arguments.commands), arguments.folder.resolve()
    tallies = Tallies(work, arguments.seed)
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ["MPLCONFIGDIR"] = str(work / "matplotlib")  # its list of fonts is none of our files
    adopt_orphans()
    try:
        kill_all([Trial(name, work, arguments.seed, tallies.of(name)) for name in names], arguments.kills, tallies)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    finally:
        wait_until_gone(0)
    print(tallies.table(names))
    sys.exit(bool(tallies.total(names)[-1]))


def kill_all(trials: list[Trial], kills: int, tallies: Tallies) -> None:
    """Kill the commands in turn, until there are so many kills of them."""
    began, names, inputs = time.monotonic(), [trial.name for trial in trials], trials[0].work / "inputs"
    shutil.rmtree(inputs, ignore_errors=True)
    needed = {trial.command.package for trial in trials}
    make_inputs(inputs, [build_inputs, *(build for package, build in BUILDERS.items() if package in needed)])
    for trial in trials:
        trial.begin()
    while (left := kills - tallies.total(names)[0]) > 0:
        trial = min(trials, key=lambda trial: (trial.tally.kills + 1) / trial.command.share)
        trial.round(left)
        tallies.keep()
        done, rounds, *_, faults = tallies.total(names)
        print(f"{time.monotonic() - began:.0f} s: {done} kills, {rounds} rounds, {faults} faults; {trial.name}", flush=True)


if __name__ == "__main__":
    main()
