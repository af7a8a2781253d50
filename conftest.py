"""What holds for all tests, doctests in the package included; fixtures are in tests/conftest.py."""

from __future__ import annotations

import os
import sys

import pytest
from _pytest.doctest import DoctestModule


def pytest_configure():
    """Compiled modules are kept, else each process that a test starts would compile all of magic anew."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Only a file that holds an example is searched for doctests: a search imports it, and some files import much."""
    found = yield
    if file_path.suffix == ".py" and ">>> " not in file_path.read_text(encoding="utf-8"):
        return [collector for collector in found if not isinstance(collector, DoctestModule)]
    return found
