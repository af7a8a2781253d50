"""Plots as files: readable text, marks where the numbers are, the same bytes each time."""

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from magic_cli.cli.main import main
from magic_cli.errors import MagicError, SettingsError
from magic_cli.reports.interval_plots import HOLLOW, SOLID, Legend, Mark, Panel, comparison_plot, evaluation_plot, plot_intervals
from magic_cli.reports.paper import load_paper
from magic_cli.reports.paper_plots import plot_tables
from magic_cli.reports.plots import draw, label, plot_name

NAMES = ["$\\frac{a$ & <b>", "模型 é", "x" * 90, "a\nb\x1b[31m"]


def metric(value, interval=None, **facts):
    return {"value": value, "interval": interval, "label": "CIDEr", "scale": 100.0, "digits": 1, "higher_is_better": True} | facts


def texts(file):
    return ["".join(found.itertext()) for found in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]


def test_plot_is_the_same_bytes_again_and_its_text_can_be_searched(tmp_path):
    for name in ("a", "b"):
        files = draw(tmp_path / name, (3, 2), lambda figure: figure.subplots().set_xlabel("$5 per caption"))
        assert [file.name for file in files] == [f"{name}.png", f"{name}.svg"]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "$5 per caption" in texts(tmp_path / "a.svg") and len(list(tmp_path.iterdir())) == 4


@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_system_has_its_line_and_interval_whatever_its_name(tmp_path):
    documents = [{"system": name, "metrics": {"cider": metric(0.5, [0.4, 0.6])}} for name in NAMES]
    documents[1]["metrics"]["vocabulary"] = metric(120.0, label="vocabulary", scale=1.0)
    documents[2]["metrics"]["cider"] = metric(None)
    _, file = evaluation_plot(documents, 0.9, tmp_path / "plot")
    found = texts(file)
    assert {label(name) for name in NAMES} | {"CIDEr", "vocabulary", "bars: 90 % bootstrap intervals"} <= set(found)
    assert "…" in label(NAMES[2]) and "a\\x0ab\\x1b[31m" in found


def test_marks_stand_where_the_numbers_are(tmp_path):
    """In the picture's own coordinates: two marks and the ends of an interval keep their proportions."""
    panel = Panel("m", (Mark("a", 10.0, (5.0, 20.0)), Mark("b", 40.0)))
    _, file = plot_intervals([panel], ["a", "b"], Legend("", {}), tmp_path / "plot")
    places = sorted(
        {float(x) for x in re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="[\d.]+" style="fill: #1f77b4', file.read_text())}
    )
    left, middle, end, right = places
    assert (middle - left) / (right - left) == pytest.approx(5 / 35, abs=1e-3)
    assert (end - left) / (right - left) == pytest.approx(15 / 35, abs=1e-3)


def test_comparison_says_which_differences_are_significant(tmp_path):
    row = {"measure": "cider", "label": "CIDEr", "scale": 100.0, "digits": 1, "difference": 0.1, "low": 0.05, "high": 0.2}
    rows = [row | {"second_system": "B", "p_holm": 0.01}, row | {"second_system": "C", "low": -0.1, "p_holm": 0.3}]
    _, file = comparison_plot({"systems": ["A", "B", "C"], "confidence": 0.95, "measures": rows}, tmp_path / "plot")
    assert {"B", "C", "CIDEr", "p < 0.05 (Holm)", "not significant", "difference from A, with 95 % intervals"} <= set(texts(file))


def test_table_shows_measured_beside_expected_and_deviations_of_sampled_runs(tmp_path):
    def run(source, value):
        return {"source": source, "n": 5000, "run": None, "metrics": {"cider": metric(value, [value - 0.02, value + 0.02])}}

    measured = {"coco/magic": [run("m", 0.49)], "coco/nucleus": [run(str(i), 0.1 + i / 100) for i in range(3)]}
    files = plot_tables(load_paper(), ["1"], measured, tmp_path / "one")
    assert [file.name for file in files] == ["one.png", "one.svg"]
    found = texts(files[1])
    assert {"measured", "expected", "CIDEr"} <= set(found) and any("MAGIC" in text for text in found)
    assert [file.name for file in plot_tables(load_paper(), ["1", "2"], {}, tmp_path / "all")] == [
        "all_1.png", "all_1.svg", "all_2.png", "all_2.svg",
    ]  # fmt: skip


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no number to draw"):
        plot_intervals([Panel("m", ())], ["a"], Legend("", {}), tmp_path / "plot")
    assert {SOLID, HOLLOW} == {"solid", "hollow"} and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("plot", "problem"),
    [
        ("a.pdf", "name it a.png"),
        ("folder", "is a folder; name a file in it, such as folder/plot.png"),
        ("file/a", "cannot be made"),
    ],
)
def test_name_that_cannot_be_written_is_refused_before_anything_is_scored(plot, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(MagicError, match=re.escape(f"--plot {plot}: ")) as error:
        plot_name(plot)
    assert problem in str(error.value)


def test_plot_without_matplotlib_is_refused(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import finds where it is not installed
    assert main(["table", "1", "--plot", "a.png"]) == 2
    assert capsys.readouterr().err == "magic: --plot draws a plot and needs matplotlib; pip install matplotlib, or leave it out\n"


def test_name_may_hold_dots_and_either_ending(tmp_path):
    assert [plot_name(str(tmp_path / "new" / name)).name for name in ("a.png", "a.SVG", "a", "a.v2")] == ["a", "a", "a", "a.v2"]
