"""The version stands in three files, which must agree."""

import re
from datetime import date
from pathlib import Path

import yaml

from magic_cli import __version__

ROOT = Path(__file__).parents[2]
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", re.MULTILINE)


def test_changelog_and_citation_name_the_version_when_it_moves():
    [(newest, day), *older] = RELEASE.findall((ROOT / "CHANGELOG.md").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert __version__ == newest == citation["version"]
    assert citation["date-released"] == date.fromisoformat(day)


def test_releases_stand_newest_first():
    releases = RELEASE.findall((ROOT / "CHANGELOG.md").read_text())
    numbers = [tuple(map(int, number.split("."))) for number, _ in releases]
    days = [date.fromisoformat(day) for _, day in releases]
    assert numbers == sorted(set(numbers), reverse=True) and days == sorted(days, reverse=True)


def test_citation_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format demands
    [paper] = citation["references"]
    assert paper["year"] == 2022 and paper["url"].endswith("2205.02655") and len(paper["authors"]) == 8
