"""scripts/write_items.py: every data set becomes a file of items that gives the same prompts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from magic_cli.data.cc3m import Cc3mDataset
from magic_cli.data.interleaved import read_interleaved
from magic_cli.data.mmdialog import MmDialogDataset
from magic_cli.data.vist import VistDataset, VistTask
from tests.files import lines
from tests.interleaved_files import cc3m_table, mmdialog, vist_released

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "write_items.py"


def write(*words, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize(
    ("name", "make", "setting", "dataset", "left_out"),
    [
        (
            "vist_train",
            vist_released,
            "annotations",
            lambda file: VistDataset("vist", annotations=file, tasks=list(VistTask), apart=True),
            1,
        ),
        ("mmdialog", mmdialog, "conversations", lambda file: MmDialogDataset("mmdialog", conversations=file), 0),
        ("cc3m_train", cc3m_table, "captions", lambda file: Cc3mDataset("cc3m", captions=file, instructions=100), 0),
    ],
)
def test_file_of_items_gives_the_items_of_the_data_set(tmp_path, name, make, setting, dataset, left_out):
    file = make(tmp_path)
    done = write(f"dataset={name}", f"dataset.{setting}={file}", "--output", "items.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_interleaved(tmp_path / "items.jsonl", setting="x") == dataset(str(file)).load()
    assert len(lines(tmp_path / "items.left_out.jsonl")) == left_out


def test_slips_are_one_line(tmp_path, tiny_language_model_folder):
    file = mmdialog(tmp_path)
    words = ["dataset=mmdialog_train", f"dataset.conversations={file}", "--output", "items.jsonl"]
    done = write(*words, cwd=tmp_path)
    assert done.returncode == 2 and "dataset.max_tokens=50 counts tokens of the model that is trained" in done.stderr
    done = write(*words, "--tokenizer", tiny_language_model_folder, cwd=tmp_path)
    assert done.returncode == 2 and "no items found" in done.stderr  # the first turn is too long
    done = write("dataset=nothing", "--output", "items.jsonl", cwd=tmp_path)
    assert done.returncode == 2 and "nothing" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.long
def test_three_million_captions_take_no_more_memory_than_their_file(tmp_path):
    """As many rows as Conceptual Captions has, all of one image; items are written one by one."""
    count = 3_318_333
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(b"an image, as far as reading the table is concerned")
    table = tmp_path / "cc3m_train.tsv"
    with table.open("w") as stream:
        stream.write("caption\timage_path\n")
        for number in range(count):
            stream.write(f"photo number {number} of a dog that runs over the green field with a ball\timages/0.jpg\n")
    code = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('MiB', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    words = ["dataset=cc3m_train", f"dataset.captions={table}", "--output", "items.jsonl"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT), *words],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert f"{count + -(-count // 100)} items" in done.stdout
    peak, size = int(done.stdout.split()[-1]), table.stat().st_size >> 20
    assert peak < 2 * size + 300, f"{peak} MiB for a table of {size} MiB"
    with (tmp_path / "items.jsonl").open("rb") as stream:
        assert sum(1 for _ in stream) == count + -(-count // 100)
