"""The scripts for a machine with a GPU: what they refuse, and their twin on the CPU, small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# stands for Python: says that it has packages and a GPU; of pytest it tells what TOLD says
PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
[[ $1 == -m && $2 == pytest ]] && { echo "$TOLD"; exit "${STATUS:-0}"; }
exit 0
"""


@pytest.mark.parametrize("part", ["parity", "more"])
@pytest.mark.parametrize(
    ("told", "status", "expected"),
    [
        ("32 passed in 90 s", 0, 0),
        ("SKIPPED [90] tests/shared/test_parity.py: the shared folder is not beside this checkout", 0, 1),
        ("1 failed", 1, 1),
    ],
)
def test_part_fails_where_a_test_fails_or_is_skipped(part, told, status, expected, tmp_path):
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    calls = tmp_path / "calls"
    variables = {"PYTHON": str(python), "CALLS": str(calls), "TOLD": told, "STATUS": str(status), "OUTPUT": str(tmp_path / "out")}
    # there are wheels to unpack only where they were packed
    answer = subprocess.run(
        [str(ROOT / "scripts/check_gpu.sh"), part], env=os.environ | variables, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == expected, answer.stdout + answer.stderr
    assert told in answer.stdout
    assert ("proves nothing" in answer.stderr) == ("SKIPPED" in told)
    assert ("scripts/check_device.py" in calls.read_text()) == (part == "more" and expected == 0)


@pytest.mark.long
def test_third_part_finds_on_the_cpu_what_it_looks_for_on_a_gpu(tmp_path):
    words = ["--photos", "3", "--ways", "float32,bfloat16,batch_size=auto", "--texts", "48", "--batch-size", "4"]
    answer = subprocess.run(
        [sys.executable, str(ROOT / "scripts/check_device.py"), "--device", "cpu", "--output", str(tmp_path / "out"), *words],
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr[-2000:]
    rows = [line for line in answer.stdout.splitlines() if line.startswith("| ") and "---" not in line]
    assert [row.split(" | ")[0] for row in rows] == [
        "| captions", "| float32", "| bfloat16", "| batch_size=auto", "| finetuning", "| one epoch, batch 4", "| interleave", "| on cpu",
    ]  # fmt: skip
    assert rows[3].split(" | ")[1] == "3" and rows[5].endswith(" | 48 | " + rows[5].split(" | ")[2] + " | 1 | 0 |")
    again = subprocess.run(
        [sys.executable, str(ROOT / "scripts/check_device.py"), "--output", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert again.returncode == 1 and "is there already" in again.stderr
