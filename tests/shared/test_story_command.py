"""``magic story`` on the parity models: the stories that the released code wrote, through the command and its files."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from magic_cli.cli.main import main

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")


def test_stories_equal_released_code_when_the_command_writes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    groups = defaultdict(list)
    for number, case in enumerate(json.loads((SHARED / "parity" / "stories.json").read_text())):
        groups[case["k"], case["alpha"], case["beta"], case["decoding_len"]].append(
            {**case, "id": str(number), "image": case["photo"]}
        )
    compared = 0
    for number, ((k, alpha, beta, decoding_len), cases) in enumerate(groups.items()):
        titles = tmp_path / f"titles{number}.json"
        titles.write_text(json.dumps([{key: case[key] for key in ("id", "title", "image")} for case in cases]))
        words = [
            "story", "--titles", str(titles), f"dataset.root={SHARED / 'data' / 'photos' / 'story'}",
            f"language_model.path={SHARED / 'parity' / 'language_model'}", "image_text_model=clip_vit_b32",
            f"image_text_model.path={SHARED / 'parity' / 'clip'}", f"decoding.k={k}", f"decoding.alpha={alpha}", f"decoding.beta={beta}",
            f"decoding.decoding_len={decoding_len}", "prompt=null", "run.threads=1", f"run.dir=run{number}", "run.image_cache=cache",
        ]  # fmt: skip
        assert main(words) == 0
        stories = [json.loads(line) for line in Path(f"run{number}/predictions.jsonl").read_text().splitlines()]
        assert [story["story"] for story in stories] == [case["story"] for case in cases]
        compared += len(stories)
    assert compared == 30


def test_released_titles_are_all_read():
    from magic_cli.data.stories import read_titles

    records = read_titles(SHARED / "data" / "magic_released" / "story" / "rocstories_test.txt")
    assert len(records) == len({record.id for record in records}) == 1500
    assert (records[0].title, len({record.title for record in records})) == ("Skipping School", 1462)
    assert all(record.reference for record in records)


def test_case_study_experiment_finds_its_six_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "story", "--experiment", "case_study", f"dataset.titles={SHARED / 'data' / 'magic_released' / 'story' / 'case_study.json'}",
        f"dataset.root={SHARED / 'data' / 'photos' / 'story'}", f"language_model.path={SHARED / 'parity' / 'language_model'}",
        f"image_text_model.path={SHARED / 'parity' / 'clip'}", "decoding.decoding_len=30", "run.threads=1", "run.dir=run",
    ]  # fmt: skip
    assert main(words) == 0
    titles = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert titles == ["Ice Cream Tasting", "Sand Volleyball", "Rainstorm", "French Braid", "The Hair Clump", "Pig"]
