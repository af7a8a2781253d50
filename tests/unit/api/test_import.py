"""``import magic_cli`` waits for nothing, and gives the whole API."""

import subprocess
import sys

import pytest

import magic_cli
import magic_cli.api

MEASURE = """
import sys, time
started = time.process_time()  # the clock would also count what else this machine does
import magic_cli
print(time.process_time() - started)
print(sorted({"torch", "numpy", "hydra", "omegaconf", "transformers", "PIL"} & set(sys.modules)))
magic_cli.load, magic_cli.score
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def test_import_is_fast_and_brings_no_library():
    runs = [
        subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(3)
    ]
    assert all(libraries == "[]" and heavy == "[]" for _, libraries, heavy in runs)
    assert min(float(seconds) for seconds, *_ in runs) < 0.1


def test_all_names_are_there_and_no_others():
    assert set(magic_cli.__all__) <= set(dir(magic_cli))
    assert all(getattr(magic_cli, name) is not None for name in magic_cli.__all__)
    assert set(magic_cli.api.__all__) | {"MagicError", "SettingsError"} == set(magic_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'captoin'"):
        magic_cli.captoin  # noqa: B018
