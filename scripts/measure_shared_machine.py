"""Seconds that `magic caption` takes beside other busy processes, by how its threads wait for one another.

    python scripts/measure_shared_machine.py --images data/photos --busy 0 1 2

Each side captions the same photos in a process of its own, image features uncached, and the sides take turns. A busy
neighbour is a process that computes without pause. What is compared:

default         what `magic` does by itself
spin            GOMP_SPINCOUNT=300000, the spinning that libgomp does by itself where it knows of no other program
passive         OMP_WAIT_POLICY=passive, threads that sleep at once
one thread      run.threads=1
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SIDES: dict[str, tuple[dict[str, str], list[str]]] = {
    "default": ({}, []),
    "spin": ({"GOMP_SPINCOUNT": "300000", "OMP_WAIT_POLICY": "active"}, []),
    "passive": ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}, []),
    "one thread": ({}, ["run.threads=1"]),
}


@contextlib.contextmanager
def neighbours(number: int) -> Iterator[None]:
    """So many processes that compute without pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(images: Path, side: str) -> tuple[float, str]:
    """Wall seconds of one run from the shell, and the captions that it printed."""
    environment, settings = SIDES[side]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "magic_cli", "caption", "--images", str(images), f"run.dir={folder}/run"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "run.cache_images=false", *settings],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return time.perf_counter() - start, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of photos")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy neighbours")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="which sides")
    arguments = parser.parse_args()
    print("| busy neighbours | " + " | ".join(arguments.sides) + " |")
    print("| ---: |" + " ---: |" * len(arguments.sides))
    for number in arguments.busy:
        taken: dict[str, list[float]] = {side: [] for side in arguments.sides}
        captions = set()
        with neighbours(number):
            for _ in range(arguments.rounds):
                for side in arguments.sides:
                    spent, text = seconds(arguments.images, side)
                    taken[side].append(spent)
                    captions.add(text)
        if len(captions) > 1:
            sys.exit(f"captions differ between sides: {captions}")
        print(f"| {number} | " + " | ".join(f"{statistics.median(times):.1f}" for times in taken.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
