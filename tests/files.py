"""Files that commands wrote, as tests look at them."""

import json
from pathlib import Path


def lines(file):
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
