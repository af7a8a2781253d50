"""paper.yaml against its source, number by number, and the released files against paper.yaml.

Skipped only where the ``shared`` folder does not lie beside the checkout.
"""

import re
import shutil
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from check_released_files import main
from magic_cli.evaluation.corpora import build_corpus, find_systems
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.evaluation.story_rows import measure_stories
from magic_cli.metrics.bleu import Bleu
from magic_cli.metrics.ptb import tokenize
from magic_cli.metrics.settings import MetricsSettings
from magic_cli.reports.comparison import check_against_paper
from magic_cli.reports.paper import load_paper
from magic_cli.reports.paper_rows import recognise
from magic_cli.reports.row_files import locate

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
RELEASED = SHARED / "data" / "magic_released"
CAPTION_MEASURES = ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider", "spice")
STORY_MEASURES = ("rep_2", "rep_3", "rep_4", "diversity")
METHODS = {"Top-k": "top_k", "Nucleus": "nucleus", "Contrastive": "contrastive", "CLIPRe (released, 128)": "clipre", "CLIPRe(128)": "clipre",
           "ZeroCap": "zerocap", "MAGIC": "magic", "human": "human", "contrastive": "contrastive", "MAGIC, top-1 image": "magic"}  # fmt: skip

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")


@pytest.fixture(scope="module")
def reference():
    """REFERENCE.md, each paragraph on one line, tables as they are."""
    return (SHARED / "docs" / "REFERENCE.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def section(reference):
    """Its section of expected numbers."""
    return re.search(r"\n## 7\. .*?(?=\n## )", reference, re.DOTALL)[0]


def table_after(text, heading):
    """The rows of the Markdown table below a heading, as lists of cells; its two header lines left out."""
    lines = text[text.index(heading) :].splitlines()[1:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert len(rows) > 3, heading
    return rows[2:]


def numbers(text):
    return re.findall(r"\d+\.\d+", text)


def known_in_reference(reference, section):
    """``{row: {measure: (number as printed, source)}}`` of everything that REFERENCE.md says."""
    found = {}
    for heading, name in (("COCO Karpathy test", "coco"), ("Flickr30k Karpathy test", "flickr30k")):
        for title, *cells, source in table_after(section, heading):
            kind = source.split(",")[0].split(";")[0]
            row = {measure: (cell, kind) for measure, cell in zip(CAPTION_MEASURES, cells, strict=True)}
            if "B@1, R-L rescored" in source:
                row |= {measure: (row[measure][0], "rescored") for measure in ("bleu_1", "rouge_l")}
            for label, measure in (("B@2", "bleu_2"), ("B@3", "bleu_3")):
                if label in source:
                    row[measure] = (re.search(rf"{label} (\S+?)[,;]", source)[1], kind)
            found[f"{name}/{METHODS[title]}"] = row
    paragraph = " ".join(section[section.index("Cross-domain:") : section.index("Speed:")].split())
    for heading, name in (("COCO -> Flickr30k", "coco_to_flickr30k"), ("Flickr30k -> COCO", "flickr30k_to_coco")):
        for entry in re.search(rf"{heading} (.*?5\.\d+; .*?)\.(?: |$)", paragraph)[1].split(";"):
            title, cells = re.match(r"(.*?) (\d.*)", entry.strip()).groups()
            cells = numbers(cells)
            # the paper prints one decimal, the rescored numbers have two
            found[f"{name}/{METHODS[title]}"] = {
                m: (cell, "paper" if re.fullmatch(r"\d+\.\d", cell) else "rescored")
                for m, cell in zip(CAPTION_MEASURES, cells, strict=True)
            }
    for title, *cells in table_after(section, "Stories (rescored"):
        found[f"story/{METHODS[title]}"] = {m: (cell, "rescored") for m, cell in zip(STORY_MEASURES, cells, strict=True)}
    every = numbers(re.search(r"With every n-gram counted, MAGIC gives (.*)", section)[1])
    found["story/magic_every_ngram"] = {m: (cell, "rescored") for m, cell in zip(STORY_MEASURES, every, strict=True)}
    full = " ".join(re.search(r"\n## 5\. .*?(?=\n## )", reference, re.DOTALL)[0].split())
    full = re.search(
        r"a full index gives CIDEr (\S+) COCO, (\S+) Flickr30k, (\S+) / (\S+) cross-domain \(quoted by MeaCap\)", full
    )
    for name, cell in zip(("coco", "flickr30k", "coco_to_flickr30k", "flickr30k_to_coco"), full.groups(), strict=True):
        found[f"{name}/clipre_full"] = {"cider": (cell, "quoted")}
    assert 'MAGIC "nearly 27 times" faster decoding than ZeroCap (paper)' in section
    for name in ("coco", "flickr30k"):
        found[f"{name}/magic"]["speed"] = ("nearly 27", "paper")
        found[f"{name}/zerocap"]["speed"] = ("1.0", "definition")
    return found


def test_every_expected_number_and_its_source_is_the_reference_s(reference, section):
    ours = {row.id: {m: (cell.text, cell.source.name) for m, cell in row.cells.items()} for row in load_paper().rows.values()}
    wanted = known_in_reference(reference, section)
    assert sum(map(len, wanted.values())) == 12 * 6 + 10 * 6 + 2 + 4 * 4 + 4 + 4
    assert {row: cells for row, cells in ours.items() if cells != wanted.get(row, {})} == {}
    assert {row for row, cells in ours.items() if cells} == wanted.keys()


def test_every_number_of_single_runs_is_the_reference_s(section):
    flat = " ".join(section.split())
    paragraph = flat[flat.index("Run 1 alone") : flat.index("Supervised and weakly")]
    first = numbers(paragraph)
    rows = [load_paper().row(f"{name}/{method}") for name in ("coco", "flickr30k") for method in ("top_k", "nucleus")]
    for i, row in enumerate(rows):
        wanted = dict(zip(CAPTION_MEASURES, first[6 * i : 6 * i + 6], strict=True))
        run_1 = row.released_runs[0]
        assert {m: run_1[m].text for m in CAPTION_MEASURES[:-1]} == {m: wanted[m] for m in CAPTION_MEASURES[:-1]}
        assert str(run_1["spice"].number.quantize(Decimal("0.01"), ROUND_HALF_UP)) == wanted["spice"]
    runs = [re.findall(r"\d\.\d{3}", found) for found in re.findall(r"SPICE runs ([^)]*)\)", section)]
    assert [[run["spice"].text for run in row.released_runs] for row in rows] == runs
    assert len(first) == 24 and len(runs) == 4


def test_counts_of_images_and_tokens_are_the_reference_s(section):
    magic = load_paper().row("coco/magic")
    assert (
        "MAGIC and CLIPRe rows: the released 4,982 images" in section and "1,000 images" in section and "1,500 titles" in section
    )
    assert f"testlen {magic.tokens['captions']}, reflen {magic.tokens['references']}" in section
    sizes = {row.id: row.n for row in load_paper().rows.values() if row.n is not None}
    assert {row for row, n in sizes.items() if n == 4982} == {
        f"{d}/{m}" for d in ("coco", "flickr30k_to_coco") for m in ("magic", "clipre")
    }
    assert {n for row, n in sizes.items() if row.split("/")[0] in ("flickr30k", "coco_to_flickr30k")} == {1000}
    assert {n for row, n in sizes.items() if row.startswith("story/")} == {1500}


def test_released_files_are_recognised():
    found = locate([str(RELEASED)], []).rows
    methods = {
        f"{d}/{m}" for d in ("coco", "flickr30k") for m in ("magic", "contrastive", "clipre", "zerocap", "top_k", "nucleus")
    }
    assert set(found.values()) == methods | {"story/contrastive", "story/magic"} and len(found) == 14
    assert recognise(RELEASED / "story" / "case_study.json") is None


def test_story_numbers_are_reproduced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stories = {path: row for path, row in locate([str(RELEASED)], []).rows.items() if row.startswith("story/")}
    settings = ScoringSettings(image_text_model=None, metrics=MetricsSettings(names=["repetition"]))
    checks = check_against_paper(measure_stories(stories, settings))
    # of the mean of three images nothing but n is expected
    assert len(checks) == 4 * (1 + len(STORY_MEASURES)) + 3
    assert [check for check in checks if not check.agrees] == []


def test_token_counts_of_the_coco_file_are_reproduced():
    [system] = find_systems([str(RELEASED / "coco" / "magic_result.json.gz")], id_key=None, caption_key=None)
    corpus, _ = build_corpus(system, None, images=None, drop_unmatched=False)
    [[bleu, *_]] = Bleu().score(tokenize([corpus]))
    tokens = load_paper().row("coco/magic").tokens
    assert bleu.statistics[:, -2:].sum(axis=0).tolist() == [tokens["captions"], tokens["references"]]


def test_script_agrees_on_fast_metrics_of_flickr30k_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(str(RELEASED / "flickr30k"), ["--metrics", "bleu,rouge_l,cider"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(lines) - 1} of {len(lines) - 1} numbers of 6 files agree" and len(lines) == 6 * 5 + 1


def test_script_fails_when_a_file_is_another_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flickr30k").mkdir()
    shutil.copy(RELEASED / "flickr30k" / "contrastive_result.json.gz", tmp_path / "flickr30k" / "magic_result.json.gz")
    assert main(str(tmp_path / "flickr30k"), ["--metrics", "bleu"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
