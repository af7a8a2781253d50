"""The page of ``magic live`` in a real Chromium, with the embedded models."""

import subprocess
import sys
from pathlib import Path

import pytest

import magic_cli
from browser import missing

SCRIPT = Path(magic_cli.__file__).parents[1] / "scripts" / "try_live_page.py"


@pytest.mark.slow
@pytest.mark.long
def test_page_gives_what_the_command_line_gives_and_leaves_nothing_behind():
    pytest.importorskip("gradio", reason="needs the extra `live`")
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `embedded`")
    if (program := missing()) is not None:
        pytest.skip(f"no {program} on PATH")
    answer = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
