"""Measured numbers beside the paper's: differences, averages, blanks, notes."""

import csv
import io
import math
from decimal import Decimal

import pytest

from magic_cli.errors import MagicError, SettingsError
from magic_cli.reports.comparison import check_against_paper
from magic_cli.reports.paper_tables import build_tables
from magic_cli.reports.tables import TERMINAL_WIDTH, render
from tests.unit.reports.documents import document, run_facts

MAGIC = {"bleu_1": 56.8149, "bleu_4": 12.9, "meteor": 17.36, "rouge_l": 39.9, "cider": 49.44, "spice": 11.301}


def cell(measured, row, measure, number="1"):
    """One record of the long form."""
    [table] = build_tables([number], measured)
    dataset, _, method = row.partition("/")
    [record] = [r for r in table.records if (r["dataset"], r["row"], r["measure"]) == (dataset, method, measure)]
    return {key: None if value is None else str(value) for key, value in record.items()}


def notes(measured, number="1"):
    [table] = build_tables([number], measured)
    return table.notes


def test_number_expected_and_difference_have_the_paper_s_precision():
    measured = {"coco/magic": [document(n=4982, **MAGIC)], "coco/clipre": [document("b", n=4982, cider=13.626)]}
    found = cell(measured, "coco/magic", "bleu_1")
    assert found == {"table": "1", "dataset": "coco", "row": "magic", "measure": "bleu_1", "measured": "56.8", "deviation": None,
                     "runs": "1", "expected": "56.8",
                     "source": "paper", "difference": "0.0", "n": "4982"}  # fmt: skip
    assert cell(measured, "coco/magic", "cider")["difference"] == "0.1", "of the printed numbers, not of 49.44"
    found = cell(measured, "coco/clipre", "cider")
    assert (found["measured"], found["expected"], found["difference"], found["source"]) == ("13.63", "13.62", "0.01", "rescored")


def test_terminal_table_fits_a_hundred_columns_and_marks_what_the_paper_did_not_print():
    measured = {"coco/magic": [document(n=4982, run=run_facts([100.0], 100), **MAGIC)]}
    text = render(build_tables(["1"], measured), "terminal")
    lines = text.splitlines()
    assert max(map(len, lines)) <= TERMINAL_WIDTH
    start = next(i for i, line in enumerate(lines) if line.startswith("MAGIC ") and "measured" in line)
    assert lines[start].split() == ["MAGIC", "measured", "4982", "56.8", "12.9", "17.4", "39.9", "49.4", "11.3"]
    assert lines[start + 1].split() == ["expected", "4982", "56.8", "12.9", "17.4", "39.9", "49.3", "11.3", "nearly", "27x"]
    assert lines[start + 2].split() == ["diff.", "0.0", "0.0", "0.0", "0.0", "+0.1", "0.0"]
    zerocap = next(line for line in lines if line.startswith("ZeroCap "))
    assert zerocap.split() == ["ZeroCap", "expected", "5000", "49.79*", "7.0", "15.4", "31.80*", "34.5", "9.2", "1.0x"]
    assert any(line.startswith("* rescored: ") for line in lines)


def test_all_tables_without_measured_numbers_show_what_is_known_and_nothing_else():
    tables = build_tables(["all"], {})
    assert [table.heading for table in tables] == [
        "Table 1: zero-shot image captioning", "Table 2: cross-domain image captioning", "Table 3: story generation"]  # fmt: skip
    for table in tables:
        assert all(
            record["measured"] is None and record["difference"] is None and record["n"] is None for record in table.records
        )
    blank = {r["measure"] for r in tables[2].records if r["expected"] is None}
    assert blank == {
        "coherence",
        "mauve",
        "clip_score",
        "human_relevance",
        "human_fluency",
        "human_informativeness",
        "human_image_relevance",
    }
    assert {r["row"] for r in tables[0].records} == {
        "top_k",
        "nucleus",
        "contrastive",
        "clipre",
        "clipre_full",
        "zerocap",
        "magic",
    }
    assert [
        r["measure"]
        for r in tables[0].records
        if r["row"] == "clipre_full" and r["dataset"] == "coco" and r["expected"] is not None
    ] == ["cider"]


def test_measured_number_stands_where_the_expected_one_is_unknown():
    found = cell({"coco/clipre_full": [document(cider=53.38, bleu_4=12.346)]}, "coco/clipre_full", "bleu_4")
    assert (found["measured"], found["expected"], found["difference"]) == ("12.35", None, None)


def test_sampled_runs_are_averaged_and_their_spread_is_told():
    runs = [document(f"coco/top_k_result_run_{i}.json", spice=value) for i, value in ((1, 1.752), (2, 1.721), (3, 1.632))]
    found = cell({"coco/top_k": runs}, "coco/top_k", "spice")
    assert (found["measured"], found["expected"], found["difference"], found["n"]) == ("1.70", "1.70", "0.00", "5000")
    assert (found["deviation"], found["runs"]) == (
        f"{math.sqrt(((1.752 - 5.105 / 3) ** 2 + (1.721 - 5.105 / 3) ** 2 + (1.632 - 5.105 / 3) ** 2) / 2):.2f}",
        "3",
    )
    text = render(build_tables(["1"], {"coco/top_k": runs}), "markdown")
    [line] = [line for line in text.splitlines() if "std. dev." in line]
    assert "3 runs" in line and "0.06" in line
    assert "std. dev." not in render(build_tables(["1"], {"coco/top_k": runs[:1]}), "markdown"), "one run has none"


def test_mean_is_of_the_runs_numbers_as_printed():
    """The authors' three runs of nucleus sampling on Flickr30k: the mean of the unrounded numbers would be printed as 32.59."""
    runs = [
        document(f"flickr30k/nucleus_result_run_{i}.json", n=1000, bleu_1=value)
        for i, value in ((1, 32.5377), (2, 32.5837), (3, 32.6341))
    ]
    assert cell({"flickr30k/nucleus": runs}, "flickr30k/nucleus", "bleu_1")["measured"] == "32.58"


def test_one_released_run_is_compared_with_that_run():
    measured = {"coco/top_k": [document("coco/top_k_result_run_1.json.gz", bleu_1=33.85, spice=1.7524)]}
    assert cell(measured, "coco/top_k", "bleu_1")["expected"] == "33.85"
    assert cell(measured, "coco/top_k", "spice")["difference"] == "0.000"
    assert any("run 1 only, compared with the known numbers of the authors' run 1" in note for note in notes(measured))
    assert all(check.agrees for check in check_against_paper(measured))
    second = {"coco/top_k": [document("coco/top_k_result_run_2.json", bleu_1=33.6, spice=1.721)]}
    assert cell(second, "coco/top_k", "bleu_1")["expected"] is None
    assert [check.measure for check in check_against_paper(second)] == ["n", "spice"]


def test_one_run_of_our_own_is_compared_with_the_mean_and_not_checked():
    measured = {"coco/nucleus": [document("runs/caption/coco-nucleus-1", run=run_facts([1.0], 5000, repeat=1), bleu_1=32.6)]}
    assert cell(measured, "coco/nucleus", "bleu_1")["expected"] == "32.64"
    assert any("one run, compared with a mean of 3" in note for note in notes(measured))
    assert check_against_paper(measured) == []


def test_measure_that_one_run_lacks_is_not_averaged():
    runs = [document("a", bleu_1=30.0, spice=1.0), document("b", bleu_1=32.0, not_run={"spice": "no jars"})]
    assert cell({"coco/top_k": runs}, "coco/top_k", "spice")["measured"] is None
    assert cell({"coco/top_k": runs}, "coco/top_k", "bleu_1")["measured"] == "31.00"
    assert "spice not run for coco/top_k: no jars" in notes({"coco/top_k": runs})


def test_reason_for_a_metric_of_no_column_is_not_told():
    assert not any("no images" in note for note in notes({"coco/magic": [document(not_run={"clip_score": "no images"})]}))


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"coco/magic": [document("a"), document("b")]}, r"coco/magic: is not a sampled method, but has 2 systems \(a, b\)"),
        ({"coco/top_k": [document("a"), document("a")]}, "a: is the same run of coco/top_k"),
        (
            {"coco/top_k": [document("a", run=run_facts([1], 1, seed=0)), document("b", run=run_facts([2], 1, seed=0))]},
            "b: is the same run",
        ),
    ],
)
def test_what_cannot_be_averaged_is_refused(measured, message):
    for function in (check_against_paper, lambda m: build_tables(["1"], m)):
        with pytest.raises(MagicError, match=message):
            function(measured)


def test_unknown_row_is_refused():
    with pytest.raises(SettingsError, match="unknown row 'coco/blip'"):
        build_tables(["1"], {"coco/blip": [document()]})


def test_known_defects_are_noted_below_the_tables_they_concern():
    first, second, third = build_tables(["all"], {})
    for table in (first, second):
        for words in ("4,982 of the 5,000", "first 128 training captions", "means of three runs' numbers"):
            assert sum(words in note for note in table.notes) == 1
    assert any("last n-gram" in note for note in third.notes)
    assert not any("4,982" in note for note in third.notes)


def test_other_n_and_left_out_captions_are_noted():
    bad = document(n=5000) | {"missing": 3, "empty": 1, "notes": ["the run is interrupted, not complete"]}
    found = [note for note in notes({"coco/magic": [bad]}) if note.startswith("MAGIC (COCO")]
    assert found == [
        "MAGIC (COCO, Karpathy test): measured on n = 5000, the expected numbers are of n = 4982.",
        "MAGIC (COCO, Karpathy test): captions 3 missing, 1 empty (empty ones score 0).",
        "MAGIC (COCO, Karpathy test): the run is interrupted, not complete.",
    ]
    assert [c for c in check_against_paper({"coco/magic": [bad]}) if not c.agrees][0][:4] == (
        "coco/magic",
        "n",
        Decimal(5000),
        Decimal(4982),
    )


def test_other_rule_of_repetition_is_noted():
    tools = {"repetition": {"last_ngram": True}}
    assert any(
        "last_ngram=true, unlike" in note for note in notes({"story/magic": [document(n=1500, tools=tools, rep_2=2.73)]}, "3")
    )
    assert not any(
        "unlike" in note for note in notes({"story/magic_every_ngram": [document(n=1500, tools=tools, rep_2=2.73)]}, "3")
    )


def test_speed_is_seconds_per_caption_of_zerocap_over_the_row_s():
    measured = {
        "coco/zerocap": [document("z", run=run_facts([3000.0, 1000.0], 1000))],
        "coco/magic": [document("m", n=4982, run=run_facts([300.0], 2000))],
        "coco/contrastive": [document("c.json")],
        "flickr30k/magic": [document("f", n=1000, run=run_facts([300.0], 2000))],
    }
    assert cell(measured, "coco/magic", "speed")["measured"] == "26.7"
    assert cell(measured, "coco/zerocap", "speed")["measured"] == "1.0"
    assert cell(measured, "coco/magic", "speed")["difference"] is None
    assert cell(measured, "coco/contrastive", "speed")["measured"] is None, "a file tells no time"
    assert cell(measured, "flickr30k/magic", "speed")["measured"] is None, "no ZeroCap on these images"
    assert any("ZeroCap 4 (cpu, 2 threads), MAGIC 0.15 (cpu, 2 threads)" in note for note in notes(measured))


@pytest.mark.parametrize("other", [{"device": "cuda"}, {"threads": 8}])
def test_speeds_of_different_machines_are_not_compared(other):
    measured = {
        "coco/zerocap": [document("z", run=run_facts([3000.0], 1000))],
        "coco/magic": [document("m", n=4982, run=run_facts([300.0], 2000, **other))],
    }
    assert cell(measured, "coco/magic", "speed")["measured"] is None


def test_speed_is_unknown_when_a_session_was_killed_before_its_time_was_noted():
    facts = run_facts([3000.0, 1.0], 1000)
    del facts["sessions"][0]["seconds"]
    assert cell({"coco/zerocap": [document("z", run=facts)]}, "coco/zerocap", "speed")["measured"] is None


def test_check_finds_a_number_that_differs_by_one_in_the_last_digit():
    right = {"coco/magic": [document(n=4982, **(MAGIC | {"cider": 49.31}))]}
    assert {check.measure for check in check_against_paper(right)} == {"n", *MAGIC}
    assert all(check.agrees for check in check_against_paper(right))
    wrong = {"coco/magic": [document(n=4982, **(MAGIC | {"cider": 49.36}))]}
    assert [tuple(c) for c in check_against_paper(wrong) if not c.agrees] == [
        ("coco/magic", "cider", Decimal("49.4"), Decimal("49.3"), 1, False)
    ]


def test_latex_leaves_the_number_to_latex():
    text = render(build_tables(["2"], {}), "latex")
    assert "\\caption{cross-domain image captioning}" in text and "Table 2" not in text
    assert r"\multicolumn{9}{l}{\emph{COCO -\textgreater{} Flickr30k}} \\" in text


def test_csv_has_one_line_a_cell_and_reads_back():
    text = render(build_tables(["1", "2"], {"coco/magic": [document(n=4982, **MAGIC)]}), "csv")
    records = list(csv.DictReader(io.StringIO(text)))
    assert list(records[0]) == [
        "table",
        "dataset",
        "row",
        "measure",
        "measured",
        "deviation",
        "runs",
        "expected",
        "source",
        "difference",
        "n",
    ]
    assert len(records) == 14 * 7 + 12 * 6
    for record in records:
        if record["difference"]:
            assert Decimal(record["measured"]) - Decimal(record["expected"]) == Decimal(record["difference"])
