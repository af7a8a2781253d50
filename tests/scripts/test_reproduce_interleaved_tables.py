"""scripts/reproduce_interleaved_tables.sh: every row is run, one that fails stops no other, and each table gets its rows."""

import os
import subprocess
from pathlib import Path

from magic_cli.reports.paper import MINIGPT5, load_paper

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(file.stem for file in (ROOT / "configs" / "experiment" / "minigpt5").glob("*.yaml"))
RECORDER = """#!/usr/bin/env bash
echo "$*" >> calls.txt
for word in "$@"; do [[ -n ${FAILS:-} && $word == experiment=minigpt5/$FAILS ]] && exit 2; done
exit 0
"""


def reproduce(words, tmp_path, **variables):
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    script = ROOT / "scripts" / "reproduce_interleaved_tables.sh"
    done = subprocess.run(
        [str(script), *words],
        cwd=tmp_path,
        env=os.environ | {"MAGIC": str(recorder), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    calls = tmp_path / "calls.txt"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_all_rows_go_to_their_tables(tmp_path):
    done, calls = reproduce(["interleaved_model=minigpt5_7b", "--", "metrics.fid.weights=w.pth"], tmp_path)
    assert done.returncode == 0, done.stderr
    count = len(NAMES)
    assert calls[:count] == [
        f"interleave experiment=minigpt5/{name} run.dir=runs/interleaved_tables/lora/{name} interleaved_model=minigpt5_7b"
        for name in NAMES
    ]
    tables = {call.split()[1]: call for call in calls[count:]}
    assert list(tables) == ["vist", "mmdialog", "cc3m"]
    assert all(call.endswith("metrics.fid.weights=w.pth") for call in calls[count:])
    given = [word.partition("=")[0] for call in calls[count:] for word in call.split() if "/" in word and "=" in word]
    assert len(given) == len(set(given)) == count and set(given) <= set(load_paper(MINIGPT5).rows)
    assert tables["vist"].count("--row") == 11 and "vist_both/two_stage=" in tables["vist"] and "cc3m/sd2=" in tables["cc3m"]


def test_variant_has_its_own_rows_beside_those_that_are_there(tmp_path):
    before = tmp_path / "runs" / "interleaved_tables" / "lora" / "vist_both"
    before.mkdir(parents=True)
    (before / "predictions.jsonl").touch()
    for variant, rows in {
        "prefix": {"vist_none", "vist_text", "vist_image", "vist_both", "vist_steps"},
        "16": {"vist_none", "vist_text", "vist_image", "vist_both", "mmdialog", "cc3m"},
        "one_stage": {"vist_none", "vist_text", "vist_image", "vist_both", "vist_steps"},
    }.items():
        (tmp_path / "calls.txt").unlink(missing_ok=True)
        done, calls = reproduce(["--variant", variant, "interleaved_model.vokens=v"], tmp_path)
        assert done.returncode == 0, done.stderr
        named = {word.partition("=")[0] for call in calls if call.startswith("table") for word in call.split() if "=" in word}
        own = "one_stage" if variant == "one_stage" else f"minigpt5_{variant}"
        assert named == {f"{row}/{own}" for row in rows} | {"vist_both/minigpt5_lora"} and named <= set(load_paper(MINIGPT5).rows)
        assert len(calls) == len(rows) + 3
    assert "unknown; allowed: lora, prefix" in reproduce(["--variant", "lara"], tmp_path)[0].stderr


def test_failed_row_stops_no_other_and_is_told(tmp_path):
    done, calls = reproduce(["--rows", "vist_[a-z]*"], tmp_path, FAILS="vist_image")
    assert done.returncode == 1 and "vist_image: magic interleave ended with status 2" in done.stderr
    assert sum(call.startswith("interleave") for call in calls) == 11 and "vist_image/minigpt5" not in calls[11]


def test_slips_are_told_at_once(tmp_path):
    assert reproduce(["--rows", "none"], tmp_path)[0].returncode == 2
    assert "unexpected 'now'" in reproduce(["now"], tmp_path)[0].stderr
    assert "--rows PATTERN" in reproduce(["--help"], tmp_path)[0].stdout
