"""A sweep's points: what varies, what is best, and what is told of runs that have no value."""

import json
import re

import pytest

from magic_cli.cli.main import main
from magic_cli.errors import MagicError, SettingsError
from magic_cli.reports.sweep import read_sweep
from magic_cli.reports.sweep_plots import check_sweep, choices, grid, panels, plot_sweep
from magic_cli.reports.sweep_table import sweep_table
from magic_cli.reports.tables import render


def make_run(root, name, value, *, status="complete", key="cider", higher=True, interval=(0.4, 0.6), repeat=None, **decoding):
    """A run folder as `magic caption` and `magic evaluate` leave it; value None: not evaluated."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").touch()
    counts = {"planned": 50, "predictions": 50 if status == "complete" else 12, "failures": 0, "skipped": 0}
    identity = {
        "dataset": {"name": "coco", "limit": None},
        "decoding": decoding,
        "run": {"dtype": "float32"} | ({"repeat": repeat} if repeat else {}),
    }
    (folder / "manifest.json").write_text(json.dumps({"identity": identity, "status": status, "counts": counts}))
    if value is not None:
        fact = {
            "value": value,
            "interval": list(interval) if interval else None,
            "label": key.upper(),
            "scale": 100.0,
            "digits": 1,
            "higher_is_better": higher,
        }
        document = {"metrics": {key: fact}, "not_run": {}, "n": 50, "bootstrap": {"confidence": 0.9}, "run": {"counts": counts}}
        (folder / "metrics.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def cube(tmp_path):
    """3 x 3 x 2 points; the value is a function of the settings, so that every place can be checked."""
    for k in (45, 5):
        for alpha in (0.5, 0.1, 0.3):
            for beta in (2.0, 1.0, 10.0):
                make_run(
                    tmp_path, f"{k}-{alpha}-{beta}", value_at(k, alpha, beta), k=k, alpha=alpha, beta=beta, clip_text="generated"
                )
    return tmp_path


def value_at(k, alpha, beta):
    return 0.5 - (alpha - 0.3) ** 2 - (beta - 2.0) ** 2 / 400 + k / 1000


def test_measure_that_there_is_not_is_named_with_what_is_near_whether_runs_are_evaluated_or_not(tmp_path, capsys):
    folder = make_run(tmp_path, "a", None, alpha=0.1)
    for _ in range(2):
        assert main(["table", "sweep", str(folder), "--metric", "ciderr"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("magic: metric=ciderr: no such measure; did you mean cider? (") and err.count("\n") == 1
        assert "clip_score" in err
        (folder / "metrics.json").write_text(json.dumps({"metrics": {"bleu_1": {"value": 0.5}}, "n": 50}))
    with pytest.raises(SettingsError, match=r"metric=cider: the run is not finished and evaluated by it \(evaluated by bleu_1\)"):
        read_sweep([str(folder)], "cider", measures=["cider"])


def test_only_settings_that_vary_are_columns_and_points_stand_in_their_order(cube):
    sweep = read_sweep([str(cube)], "cider")
    assert sweep.names == ("decoding.k", "decoding.alpha", "decoding.beta")
    table = sweep_table(sweep)
    assert [column.title for column in table.columns] == ["k", "alpha", "beta", "CIDER", "90 % interval", "n"]
    expected = [(k, alpha, beta) for k in (5, 45) for alpha in (0.1, 0.3, 0.5) for beta in (1.0, 2.0, 10.0)]
    assert [tuple(point.settings.values()) for point in sweep.points] == expected, "as numbers: 10 after 2"
    assert [point.value for point in sweep.points] == [value_at(*place) for place in expected]


@pytest.mark.parametrize("higher", [True, False])
def test_best_point_is_the_one_that_a_plain_loop_finds(higher, tmp_path):
    values = {0.1: 0.31, 0.2: 0.58, 0.3: 0.12, 0.4: 0.47}
    for alpha, value in values.items():
        make_run(tmp_path, str(alpha), value, alpha=alpha, higher=higher)
    best = None
    for alpha, value in values.items():
        if best is None or (value > values[best] if higher else value < values[best]):
            best = alpha
    sweep = read_sweep([str(tmp_path)], "cider")
    assert sweep.best.settings == {"decoding.alpha": best}
    [note] = [note for note in sweep_table(sweep).notes if note.startswith("* best")]
    assert (
        f"alpha {best}" in note and "90 % bootstrap interval 40.0 to 60.0" in note and ("higher" if higher else "lower") in note
    )
    inside = sum(0.4 <= value <= 0.6 for alpha, value in values.items() if alpha != best)
    assert f"{inside} of the 3 other values lie within it" in note


def test_no_point_is_best_where_neither_side_is_better(tmp_path):
    for alpha, value in ((0.1, 9.0), (0.2, 12.0)):
        make_run(tmp_path, str(alpha), value, alpha=alpha, key="mean_length", higher=True)  # as magic 0.3.0 wrote it
    sweep = read_sweep([str(tmp_path)], "mean_length")
    table = sweep_table(sweep)
    assert sweep.best is None and not any(record["best"] for record in table.records)
    assert not any("* best" in note for note in table.notes)
    assert "No point is marked as the best: neither a higher nor a lower MEAN_LENGTH is better." in table.notes
    assert all(file.stat().st_size for file in plot_sweep(sweep, tmp_path / "plot"))


def test_runs_without_a_value_are_named_and_never_best(tmp_path):
    make_run(tmp_path, "done", 0.2, alpha=0.1)
    make_run(tmp_path, "half", 0.9, alpha=0.2, status="interrupted")
    make_run(tmp_path, "bare", None, alpha=0.3)
    make_run(tmp_path, "other", 0.9, alpha=0.4, key="bleu_4")
    stale = make_run(tmp_path, "stale", 0.9, alpha=0.5)
    document = json.loads((stale / "metrics.json").read_text())
    document["run"]["counts"]["predictions"] = 12
    (stale / "metrics.json").write_text(json.dumps(document))
    sweep = read_sweep([str(tmp_path)], "cider")
    assert len(sweep.points) == 5 and sweep.best.runs[0].folder.name == "done"
    text = render([sweep_table(sweep)], "markdown").replace("\\", "")
    for words in (
        "half is unfinished (interrupted, 12 of 50)",
        "bare is not evaluated",
        "other is evaluated without cider",
        "stale went on after it was evaluated",
    ):
        assert words in text
    assert "No value for alpha 0.5" in text and text.count("No value for") == 4


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("manifest.json", "{}", "has no identity"),
        ("manifest.json", "[]", "must hold a JSON object, but holds"),
        ("manifest.json", '{"identity": {}, "status": "complete", "counts": 5}', "counts must be whole numbers by name, got '5'"),
        ("metrics.json", '{"n": 5}', "has no metrics"),
        ("metrics.json", "[]", "must hold a JSON object, but holds"),
        ("metrics.json", '{"n": 5, "metrics": {"cider": {"value": "high"}}}', "metrics must be scores by name"),
        ("metrics.json", '{"n": 5, "metrics": {"cider": {"value": 0.5}}}', "its cider has no label"),
        ("metrics.json", '{"n": 5, "metrics": {"cider": {"value": 0.5, "interval": 5}}}', "metrics must be scores by name"),
        ("metrics.json", '{"n": 5, "metrics": {}, "bootstrap": 5}', "bootstrap must be an object"),
    ],
)
def test_damaged_run_is_one_line(name, text, problem, tmp_path):
    make_run(tmp_path, "a", 0.2, alpha=0.1)
    (make_run(tmp_path, "b", 0.3, alpha=0.2) / name).write_text(text)
    with pytest.raises(MagicError, match=rf"b/{name}: {problem}.*; delete "):
        read_sweep([str(tmp_path)], "cider")


def test_repeats_are_one_point_with_mean_and_deviation(tmp_path):
    for p, values in ((0.9, (0.2, 0.3, 0.7)), (0.95, (0.1, 0.1, 0.4))):
        for repeat, value in enumerate(values, start=1):
            make_run(tmp_path, f"{p}-{repeat}", value, p=p, repeat=repeat)
    sweep = read_sweep([str(tmp_path)], "cider")
    assert sweep.names == ("decoding.p",) and [point.value for point in sweep.points] == pytest.approx([0.4, 0.2])
    assert sweep.points[0].deviation == pytest.approx((((0.2 - 0.4) ** 2 + (0.3 - 0.4) ** 2 + (0.7 - 0.4) ** 2) / 2) ** 0.5)
    assert "mean of 3 runs with standard deviation 26.5" in sweep_table(sweep).notes[0]


@pytest.mark.parametrize("table_format", ["terminal", "markdown", "latex", "csv", "json"])
def test_every_format_holds_every_point(table_format, cube):
    text = render([sweep_table(read_sweep([str(cube)], "cider"))], table_format)
    assert "54.5" in text or "0.545" in text
    if table_format == "json":
        records = json.loads(text)[0]["records"]
        assert len(records) == 18 and [r["value"] for r in records if r["best"]] == [value_at(45, 0.3, 2.0)]


def test_wrong_places_and_metrics_are_one_line(cube, tmp_path):
    for places, metric, message in (
        ([], "cider", "which runs?"),
        (["nowhere"], "cider", "no such file or folder"),
        ([str(cube / "5-0.1-1.0" / "manifest.json")], "cider", "holds no run folder"),
        ([str(cube)], "cidr", "evaluated by cider"),
    ):
        with pytest.raises(SettingsError) as error:
            read_sweep(places, metric)
        assert message in str(error.value) and "\n" not in str(error.value)


def test_heat_map_has_every_value_at_its_place(cube):
    sweep = read_sweep([str(cube)], "cider")
    assert panels(sweep, ["decoding.k"]) == [{"decoding.k": 5}, {"decoding.k": 45}]
    for k in (5, 45):
        found = grid(sweep, "decoding.alpha", "decoding.beta", {"decoding.k": k})
        expected = [
            [100 * value_at(k, alpha, beta) for beta in choices(sweep, "decoding.beta")]
            for alpha in choices(sweep, "decoding.alpha")
        ]
        assert found == [pytest.approx(line) for line in expected]


def test_plots_are_written_also_with_a_gap_and_for_settings_that_are_words(cube, tmp_path):
    (cube / "5-0.1-1.0" / "metrics.json").unlink()
    files = plot_sweep(read_sweep([str(cube)], "cider"), tmp_path / "cider")
    assert [file.name for file in files] == [f"cider_{kind}.{end}" for kind in ("heat_map", "lines") for end in ("png", "svg")]
    assert {">alpha<", ">beta<", ">k 5<", ">k 45<", ">CIDER<", ">-<"} <= set(re.findall(">[^<>\n]+<", files[1].read_text()))
    words = tmp_path / "words"
    for text in ("generated", "prefix_and_generated"):
        make_run(words, text, len(text) / 100, clip_text=text)
    files += plot_sweep(read_sweep([str(words)], "cider"), tmp_path / "more")
    assert len(files) == 6 and all(file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000 for file in files[::2])


def test_plot_without_a_point_that_is_measured_whole_is_refused(tmp_path):
    for alpha in (0.1, 0.2):
        for beta in (1.0, 2.0):
            for repeat in (1, 2):
                make_run(
                    tmp_path, f"{alpha}-{beta}-{repeat}", 0.2 if repeat == 1 else None, repeat=repeat, alpha=alpha, beta=beta
                )
    sweep = read_sweep([str(tmp_path)], "cider")
    assert sweep.best is None and len(sweep.points) == 4
    with pytest.raises(SettingsError, match="--plot: no point has a value of cider of all its runs"):
        check_sweep(sweep)


def test_plot_of_a_single_run_is_refused(tmp_path):
    make_run(tmp_path, "one", 0.2, alpha=0.1)
    with pytest.raises(MagicError, match="nothing to draw"):
        check_sweep(read_sweep([str(tmp_path)], "cider"))
