"""scripts/reproduce_tables.sh: every row is run and evaluated, one that fails stops no other, and the tables come last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "reproduce_tables.sh"
EXPERIMENTS = sorted(f"{file.parent.name}/{file.stem}" for file in (ROOT / "configs" / "experiment").glob("table*/*.yaml"))

# stands for `magic`: notes its words, makes run folders, fails for what FAILS names
RECORDER = """#!/usr/bin/env bash
echo "$*" >> calls.txt
for word in "$@"; do case $word in run.dir=*) dir=${word#run.dir=} ;; experiment=*) name=${word#experiment=} ;; esac; done
[[ -n ${FAILS:-} && ${name:-} == $FAILS ]] && exit 2
if [[ ${name:-} == *nucleus ]]; then mkdir -p $dir/repeat-{1,2,3}; touch $dir/repeat-{1,2,3}/manifest.json
elif [[ -n ${dir:-} ]]; then mkdir -p "$dir"; touch "$dir/manifest.json"; fi
[[ $1 == table ]] && echo "the tables"
exit 0
"""


def reproduce(words, tmp_path, magic, **variables):
    return subprocess.run(
        [str(SCRIPT), *words],
        cwd=tmp_path,
        env=os.environ | {"MAGIC": magic, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def recorder(tmp_path):
    file = tmp_path / "recorder"
    file.write_text(RECORDER)
    file.chmod(0o755)
    return str(file)


def calls(tmp_path):
    return [line.split() for line in (tmp_path / "calls.txt").read_text().splitlines()]


def test_every_experiment_is_run_and_evaluated_and_the_tables_come_last(recorder, tmp_path):
    result = reproduce(["run.device=cpu", "--", "--spice-lib", "jars"], tmp_path, recorder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "the tables\n", "stdout holds nothing but the tables"
    *rows, table = calls(tmp_path)
    ran = [words for words in rows if words[0] != "evaluate"]
    assert [words[1].removeprefix("experiment=") for words in ran] == EXPERIMENTS and len(EXPERIMENTS) >= 16
    assert all(
        words[2] == f"run.dir=runs/tables/{words[1].removeprefix('experiment=')}" and words[3:] == ["run.device=cpu"]
        for words in ran
    )
    assert {words[0] for words in ran} <= {"caption", "story"}
    assert all(words[0] == "evaluate" and words[-2:] == ["--spice-lib", "jars"] for words in rows[1::2])
    assert table[:2] == ["table", "all"] and table[-2:] == ["--spice-lib", "jars"]
    pairs = table[3:-2:2]
    assert "coco/magic=runs/tables/table1/coco_magic" in pairs
    assert [f"coco_to_flickr30k/nucleus=runs/tables/table2/coco_to_flickr30k_nucleus/repeat-{n}" for n in (1, 2, 3)] == [
        pair for pair in pairs if pair.startswith("coco_to_flickr30k/nucleus")
    ]


def test_stories_are_scored_as_stories_with_the_best_image_of_their_title(recorder, tmp_path):
    file = tmp_path / "data" / "rocstories" / "retrieved.jsonl"
    file.parent.mkdir(parents=True)
    file.touch()
    images = ["--retrieved", "data/rocstories/retrieved.jsonl"]
    assert reproduce(["--rows", "table[13]/*_nucleus"], tmp_path, recorder).returncode == 0
    *rows, table = calls(tmp_path)
    assert rows[1] == ["evaluate", *(f"runs/tables/table1/coco_nucleus/repeat-{n}" for n in (1, 2, 3))]
    assert rows[-1][4:] == ["metrics=stories", *images] and rows[-1][1] == "runs/tables/table3/story_nucleus/repeat-1"
    assert table[-2:] == images
    assert reproduce(["--rows", "table3/*_nucleus", "--", "--retrieved", "mine"], tmp_path, recorder).returncode == 0
    assert all(
        "data/rocstories/retrieved.jsonl" not in words and words[-2:] == ["--retrieved", "mine"] for words in calls(tmp_path)[-2:]
    )


def test_row_that_fails_is_told_at_the_end_and_stops_no_other(recorder, tmp_path):
    result = reproduce(["--rows", "table1/coco_*"], tmp_path, recorder, FAILS="table1/coco_contrastive")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "reproduce_tables: table1/coco_contrastive: magic caption ended with status 2"
    *rows, table = calls(tmp_path)
    assert len(rows) == 2 * len([name for name in EXPERIMENTS if name.startswith("table1/coco_")]) - 1, "it is not evaluated"
    assert "coco/magic=runs/tables/table1/coco_magic" in table and "coco/contrastive" not in " ".join(table)


@pytest.mark.parametrize(("words", "message"), [(["--rows", "tabel1/*"], "no such experiment"), (["coco"], "unexpected 'coco'")])
def test_mistakes_are_one_line_and_status_2(words, message, recorder, tmp_path):
    result = reproduce(words, tmp_path, recorder)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "calls.txt").exists()


@pytest.mark.slow
@pytest.mark.long
def test_rows_of_tiny_models_stand_in_the_real_table(tiny_photos, tiny_language_model_folder, tmp_path):
    data = tmp_path / "data" / "coco"
    data.mkdir(parents=True)
    images = [
        {"split": "test", "filename": file.name, "sentences": [{"raw": f"a photo of {file.stem}"}]}
        for file in sorted(tiny_photos.iterdir())
    ]
    (data / "dataset_coco.json").write_text(json.dumps({"images": images}))
    words = ["--rows", "table1/*_nucleus", f"dataset.root={tiny_photos}", f"language_model.path={tiny_language_model_folder}",
             "decoding.decoding_len=8", "run.threads=1", "--", "--metrics", "bleu,cider"]  # fmt: skip
    result = reproduce(words, tmp_path, f"{sys.executable} -m magic_cli", PYTHONPATH=str(ROOT))
    assert (
        result.returncode == 1 and "table1/flickr30k_nucleus: magic caption ended with status 2" in result.stderr.splitlines()[-1]
    )
    assert "Nucleus" in result.stdout and "std. dev." in result.stdout and "3 runs" in result.stdout
    assert len(list((tmp_path / "runs/tables/table1/coco_nucleus").glob("repeat-*/metrics.json"))) == 3
