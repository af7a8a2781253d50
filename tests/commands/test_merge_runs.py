"""`magic merge-runs`: what a merged run says of its traces, and what it leaves alone."""

import json
from pathlib import Path

import pytest
import yaml

from magic_cli.cli.main import main
from tests.commands.test_shards import big, captions, edit_manifest, parts, seven_photos  # noqa: F401 - fixtures, too
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def test_traces_and_sizes_of_batches_of_parts(captions, capsys):
    assert (
        main([*captions, "-m", "run.dir=big", "run.shard=1/2,2/2", "run.trace=true", "run.batch_size=auto", "run.parquet=true"])
        == 3
    )
    assert main([*captions, "run.dir=whole", "run.parquet=true"]) == 3
    both = ["big/shard-1-of-2", "big/shard-2-of-2"]
    assert main(["merge-runs", *both, "--output", "traced"]) == 0
    sizes = json.loads(Path("traced/manifest.json").read_text())["merged"]["batch_size"]
    assert {folder: facts["chosen"] for folder, facts in sizes.items()} == {both[0]: 3, both[1]: 4}
    assert Path("traced/predictions.parquet").read_bytes() == Path("whole/predictions.parquet").read_bytes()
    assert "trace: true" in Path("traced/settings.yaml").read_text()
    for folder in both:
        Path(folder, "trace.jsonl").unlink()
    edit_manifest("traced", lambda manifest: manifest.update(status="merging"))
    assert main(["merge-runs", *both, "--output", "traced"]) == 0
    assert "trace: false" in Path("traced/settings.yaml").read_text()
    assert not Path("traced/trace.jsonl").exists(), "a merge that was killed leaves nothing behind"


def test_merged_run_says_what_is_true_of_its_traces(captions, capsys):
    assert main([*captions, "-m", "run.dir=big", "run.shard=1/2,2/2", "run.trace=true"]) == 3
    both = ["big/shard-1-of-2", "big/shard-2-of-2"]
    file = Path(both[1], "trace.jsonl")
    whole, kept = file.read_text(), lines(file)
    first, last = kept[0]["id"], kept[-1]["id"]

    def merged(name, steps):
        file.write_text("".join(json.dumps(step) + "\n" for step in steps))
        capsys.readouterr()
        assert main(["merge-runs", *both, "--output", name]) == 0
        run = yaml.safe_load(Path(name, "settings.yaml").read_text())["run"]
        assert lines(f"{name}/trace.jsonl") == [*lines(f"{both[0]}/trace.jsonl"), *steps], "what there is stays"
        return (run["trace"], run["lazy"]), capsys.readouterr().err

    true, told = merged("all", kept)
    assert true == (True, None) and "no trace" not in told
    true, told = merged("some", [step for step in kept if step["id"] != last])
    assert true[0] is False and f"magic: 1 text has no trace, e.g. {last} of {both[1]}; " in told
    true, told = merged("none", [])
    assert true[0] is False and f"texts have no trace, e.g. {first} of {both[1]}; " in told
    true, told = merged("thin", [{**kept[0], "magic": [None]}, *kept[1:]])
    assert true == (True, True) and "no trace" not in told
    assert main([*captions, "run.dir=some", "run.trace=true"]) == 3
    assert "1 image was captioned without trace earlier" in capsys.readouterr().err
    file.write_text(whole + json.dumps({**kept[0], "id": "lost"}) + "\n")
    assert main(["merge-runs", *both, "--output", "wrong"]) == 2
    assert f"{file} line {len(kept) + 1}: there is no text of 'lost'; delete this trace.jsonl" in capsys.readouterr().err


def test_merge_that_is_done_is_left_as_it_is_until_something_has_changed(parts, captions, capsys):
    def times():
        return {file.name: file.stat().st_mtime_ns for file in Path("merged").iterdir() if file.name != ".lock"}

    capsys.readouterr()
    assert main(["merge-runs", *parts, "--output", "merged"]) == 0
    told, before = capsys.readouterr(), times()
    assert main(["merge-runs", *parts, "--output", "merged"]) == 0, "as after a kill at the last moment"
    assert capsys.readouterr() == told
    assert times() == before
    assert main([*captions, "run.dir=merged"]) == 3
    assert main(["merge-runs", *parts, "--output", "merged"]) == 2
    assert "output=merged: holds a run already" in capsys.readouterr().err


def test_own_files_of_the_output_folder_are_kept(parts, capsys):
    Path("mine").mkdir()
    Path("mine/report.html").write_text("mine")
    capsys.readouterr()
    assert main(["merge-runs", *parts, "--output", "mine"]) == 2
    assert "holds another report.html; set output to another folder" in capsys.readouterr().err
    assert Path("mine/report.html").read_text() == "mine" and not Path("mine/predictions.jsonl").exists()


def test_empty_part_needs_no_batch_size(captions, capsys):
    own = [word for word in captions if not word.startswith("run.batch_size")]
    assert main([*own, "run.dir=big", "run.shard=1/9", "run.batch_size=auto"]) == 0
    assert json.loads(Path("big/shard-1-of-9/manifest.json").read_text())["status"] == "complete"


def test_folder_of_another_command_is_no_part(capsys, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest.json").write_text('{"status": "complete", "identity": {"format": 1}}')
    assert main(["merge-runs", "index", "--output", "merged"]) == 2
    assert capsys.readouterr().err == "magic: runs: index is no part of a run; parts are written with run.shard=i/n\n"
