"""The script that kills every command that writes: what it finds, and that it finds nothing in a short trial."""

import subprocess
import sys
from pathlib import Path

import pytest

import kill_tallies
import magic_cli
import same_files

SCRIPT = Path(magic_cli.__file__).parents[1] / "scripts" / "try_kills.py"


def run(folder, *words):
    return subprocess.run([sys.executable, str(SCRIPT), "--folder", str(folder), *words], capture_output=True, text=True)


@pytest.mark.long
def test_few_kills_lose_nothing_and_the_tally_goes_on(tmp_path):
    words = ["--commands", "caption, photos changed;retrieve-images build", "--kills"]
    answer = run(tmp_path, *words, "4")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    answer = run(tmp_path, *words, "10")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    total = [cell.strip() for cell in answer.stdout.splitlines()[-1].split("|")][1:-1]
    assert total[:2] == ["all", "10"] and int(total[3].replace(",", "")) > 100 and total[4:] == ["0"] * 4


def test_what_cannot_be_done_is_refused_with_the_remedy(tmp_path):
    answer = run(tmp_path, "--commands", "captoin")
    assert answer.returncode == 1 and "no command 'captoin'; there are caption; " in answer.stderr
    (tmp_path / "inputs").mkdir()
    answer = run(tmp_path)
    assert answer.returncode == 1 and "holds other files; name an empty folder" in answer.stderr
    assert (tmp_path / "inputs").is_dir()


def test_tallies_go_on_beside_those_of_other_commands(tmp_path):
    tallies = kill_tallies.Tallies(tmp_path, 0)
    for name, kills in (("caption", 3), ("story", 4)):
        tallies.of(name).kills += kills
        tallies.keep()
    again = kill_tallies.Tallies(tmp_path, 0)
    again.of("story").faults.append("lost")
    assert again.total(["caption", "story"]) == [7, 0, 0, 0, 0, 0, 1]
    assert again.table(["story"]).splitlines()[-2:] == [f"| {name} | 4 | 0 | 0 | 0 | 0 | 0 | 1 |" for name in ("story", "all")]
    with pytest.raises(SystemExit, match="was begun with --seed 0"):
        kill_tallies.Tallies(tmp_path, 1)


def test_lost_doubled_and_changed_records_and_files_are_counted(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    files = {
        "same.jsonl": ['{"id": "a"}\n', '{"id": "a"}\n'],
        "lost.jsonl": ['{"id": "a"}\n{"id": "b"}\n', '{"id": "b"}\n'],
        "doubled.jsonl": ['{"id": "a"}\n', '{"id": "a"}\n{"id": "a"}\n'],
        "changed.jsonl": ['{"id": "a", "caption": "x"}\n{"id": "b"}\n', '{"id": "a", "caption": "y"}\n{"id": "b"}\n'],
        "order.jsonl": ['{"id": "a"}\n{"id": "b"}\n', '{"id": "b"}\n{"id": "a"}\n'],
        "torn.jsonl": ['{"id": "a"}\n{"id": "b"}\n', '{"id": "a"}\n{"id"'],
        "manifest.json": ['{"sessions": 1, "counts": 2}', '{"sessions": 3, "counts": 2}'],
        "page.html": ["a", "b"],
        "gone.png": ["a", None],
        "new.tmp": [None, "a"],
        ".lock": ["1", "2"],
    }
    for name, texts in files.items():
        for folder, text in zip((one, other), texts, strict=True):
            folder.mkdir(exist_ok=True)
            if text is not None:
                (folder / name).write_text(text)
    found = same_files.compare(same_files.contents(one), same_files.contents(other))
    assert {name: (d.lost, d.doubled, d.changed) for name, d in found.items() if d} == {
        "lost.jsonl": (1, 0, 0), "doubled.jsonl": (0, 1, 0), "changed.jsonl": (0, 0, 1), "order.jsonl": (0, 0, 1), "torn.jsonl": (1, 1, 0),
        "page.html": (0, 0, 1), "gone.png": (1, 0, 0), "new.tmp": (0, 1, 0),
    }  # fmt: skip
    assert not found["same.jsonl"] and not found["manifest.json"] and ".lock" not in found
