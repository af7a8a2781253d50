"""What engines cost: local against several workers, in turns; and the driver's own work for a caption.

    python scripts/measure_engines.py                        # the sample photos, again and again, with the embedded models
    python scripts/measure_engines.py --images DIR --limit 100 --rounds 3

Sides: this process with two threads, `run.devices=2`, and Ray with two actors, each of one thread. A side's speed is that between its
first and its last batch, so that starting and loading count for none. The second table is of a driver whose workers do nothing and
take no time: what is left is its own work (dispatching, the run folder, stdout).
"""

import argparse
import contextlib
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from hydra import initialize_config_dir

from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.configuration.points import compose
from magic_cli.data.records import ImageRecord
from magic_cli.runs.batches import BatchResult
from magic_cli.runs.captions import CaptionTask
from magic_cli.runs.engines.host import Delivery, Ready
from magic_cli.runs.engines.pool import WorkerPool
from magic_cli.runs.run import write_texts
from magic_cli.runs.settings import CaptionSettings
from magic_cli.runs.writer import Writer

PHOTOS = Path(__file__).resolve().parents[1] / "data" / "photos"
SIDES = {
    "local, 2 threads": ["run.threads=2"],
    "run.devices=2, 1 thread each": ["run.devices=2", "run.threads=1"],
    "Ray, 2 actors, 1 thread each": ["run.engine=ray", "run.actors=2", "run.threads=1"],
}
_POLL_SECONDS = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")


def repeated_photos(folder: Path, limit: int) -> None:
    """So many links to the sample photos, in turn."""
    photos = sorted(PHOTOS.glob("*.jpg"))
    for number in range(limit):
        (folder / f"{number:06d}.jpg").symlink_to(photos[number % len(photos)])


def cpu_seconds(pid: int) -> float | None:
    """Processor time of a process, its children apart; None: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(words: list[str], folder: Path) -> dict[str, float]:
    """One run: seconds in all, captions a second between the first and the last batch, the driver's milliseconds a caption there."""
    began, file = time.monotonic(), folder / "predictions.jsonl"
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "magic_cli", "caption", *words, f"run.dir={folder}"]
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        seen: list[tuple[int, float, float]] = []  # lines, time, processor time of the driver
        while driver.poll() is None:
            lines = file.read_bytes().count(b"\n") if file.exists() else 0
            spent = cpu_seconds(driver.pid)
            if lines and spent is not None and (not seen or lines > seen[-1][0]):
                seen.append((lines, time.monotonic(), spent))
            time.sleep(_POLL_SECONDS)
        if driver.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{errors.read()[-3000:]}")
    (first, at_first, cpu_first), (last, at_last, cpu_last) = seen[0], seen[-1]
    if last == first:
        sys.exit("the run ended with its first batch; raise --limit, or lower --batch-size")
    captions = last - first
    return {
        "seconds": time.monotonic() - began,
        "speed": captions / (at_last - at_first),
        "driver_ms": 1000 * (cpu_last - cpu_first) / captions,
    }


class Nobody(WorkerPool):
    """Workers that write nothing worth the name, at once; what passes between processes is packed and unpacked as between real ones."""

    setting = "scripts/measure_engines.py"

    def __init__(self, writer, first, run) -> None:
        super().__init__(writer, first, run)
        self._task, self._mail = writer.task, deque()
        self.seconds_of_workers = 0.0

    def wanted(self) -> int:
        return 8

    def neighbours(self) -> int:
        return 1

    def __exit__(self, kind, error, traceback) -> None:
        """There is nothing to end."""

    def start(self, name: str) -> None:
        self._mail.append((name, pickle.dumps(Ready({"language_model": {"source": "none"}}, {"device": "none", "threads": 1}))))

    def send(self, name: str, batch) -> None:
        packed = pickle.dumps(batch)
        began = time.process_time()
        text = "A group of people standing around a table with a cake."
        lines = [
            self._task.prediction(item, digest=item.id * 8, text=text, token_ids=list(range(30000, 30014)))
            for item in pickle.loads(packed).items
        ]
        answer = pickle.dumps(Delivery(BatchResult(batch.number, predictions=lines), {"texts": 1}, {"text": 1.0}))
        self.seconds_of_workers += time.process_time() - began
        self._mail.append((name, answer))

    def events(self) -> Iterator[tuple]:
        name, packed = self._mail.popleft()
        yield name, pickle.loads(packed)


class Items(CaptionTask):
    """Images that nobody looks at."""

    def __init__(self, settings, number: int) -> None:
        super().__init__(settings)
        self._number = number

    def items(self) -> list[ImageRecord]:
        names = [f"{number:08d}.jpg" for number in range(self._number)]
        return [ImageRecord(id=name, path=Path("photos", name), image_name=name) for name in names]


class Loop(Writer):
    """The loop of a run over workers that do nothing."""

    def _first_to_write(self, items, writer):
        return items[0]

    @contextlib.contextmanager
    def open_engine(self, writer, first) -> Iterator[Nobody]:
        self.engine = Nobody(writer, first, self.run)
        yield self.engine


def driver_work(number: int, batch_size: int, folder: Path) -> tuple[float, float]:
    """Microseconds of the processor, and of the clock, that a caption costs a driver."""
    words = [f"dataset.paths=['{next(PHOTOS.glob('*.jpg'))}']", f"run.batch_size={batch_size}", f"run.dir={folder}"]
    composing.register()
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        settings = composing.to_settings(compose("caption", words), CaptionSettings)
    loops: list[Loop] = []

    def make(*arguments) -> Loop:
        loops.append(Loop(*arguments))
        return loops[-1]

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        began, clock = time.process_time(), time.monotonic()
        write_texts(settings, Items(settings, number), make)
        workers = loops[0].engine.seconds_of_workers
        spent, passed = time.process_time() - began - workers, time.monotonic() - clock - workers
    return 1e6 * spent / number, 1e6 * passed / number


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of photos; default: the sample photos again and again")
    parser.add_argument("--limit", type=int, default=100, help="photos of each run")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs, in turns")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--items", type=int, default=20_000, help="captions that the driver without workers keeps; 0: not measured"
    )
    parser.add_argument("--sides", nargs="*", choices=["local", "devices", "ray"], default=["local", "devices", "ray"])
    parser.add_argument("--settings", nargs="*", default=[], help="other settings of magic caption")
    arguments = parser.parse_args()
    sides = {
        name: words for name, words in SIDES.items() if any(side in " ".join([name, *words]).lower() for side in arguments.sides)
    }
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        images = arguments.images or place / "photos"
        if arguments.images is None:
            images.mkdir()
            repeated_photos(images, arguments.limit)
            arguments.settings.insert(0, "run.step_memory=0")  # photos that come again would be remembered to the last word
        words = ["--images", str(images), f"dataset.limit={arguments.limit}", f"run.batch_size={arguments.batch_size}"]
        words += ["run.image_cache=" + str(place / "features"), *arguments.settings]
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(arguments.rounds):
            for name, own in sides.items():
                folder = place / "run"
                found[name].append(measure([*words, *own], folder))
                shutil.rmtree(folder)
                print(f"round {number + 1}, {name}: {found[name][-1]['speed']:.2f} captions/s", file=sys.stderr)
        print(f"{arguments.limit} photos, batches of {arguments.batch_size}, medians of {arguments.rounds} rounds in turns\n")
        print("| side | seconds in all | captions/s while writing | against the first | driver's ms of CPU a caption |")
        print("| --- | ---: | ---: | ---: | ---: |")
        first = None
        for name, rounds in found.items():
            seconds, speed, driver = (statistics.median(one[key] for one in rounds) for key in ("seconds", "speed", "driver_ms"))
            first = first or speed
            own = "it decodes" if name.startswith("local") else f"{driver:.2f}"
            print(f"| {name} | {seconds:.1f} | {speed:.2f} | {speed / first:.2f} | {own} |")
        if arguments.items:
            print(
                f"\nThe driver alone, {arguments.items:,} captions\n\n| batch | µs of CPU a caption | µs in all | captions/s that it can keep |"
            )
            print("| ---: | ---: | ---: | ---: |")
            for size in (8, 64):
                cpu, clock = driver_work(arguments.items, size, place / f"driver-{size}")
                print(f"| {size} | {cpu:.0f} | {clock:.0f} | {1e6 / clock:,.0f} |")


if __name__ == "__main__":
    main()
