"""Scores that people gave become columns of table 3, or one line says what is wrong with them."""

import json

import pytest

from magic_cli.errors import MagicError
from magic_cli.evaluation.human_scores import add_human_scores, add_preferences
from magic_cli.reports.paper import MINIGPT5, load_paper
from magic_cli.reports.paper_tables import build_tables

ASPECTS = {"relevance": 3.5, "fluency": 4.0, "informativeness": 2.25, "story_image_relevance": 5.0}


def written(tmp_path, systems):
    file = tmp_path / "scored.json"
    file.write_text(json.dumps({"systems": systems}))
    return file


def scores(**means):
    return {aspect: {"mean": mean, "interval": [1, 5]} for aspect, mean in means.items()}


def measured(system="run-magic", n=2, **more):
    return {"system": system, "source": f"{system}/x", "n": n, "metrics": {}, "not_run": {}, "run": None, **more}


def test_means_stand_in_the_rows_of_their_systems(tmp_path):
    file = written(tmp_path, {"run-magic": scores(**ASPECTS), "story/human": scores(relevance=4.6), "nucleus": scores(fluency=2)})
    found = add_human_scores({"story/magic": [measured()]}, file)
    assert set(found) == {"story/magic", "story/human", "story/nucleus"} and found["story/magic"][0]["n"] == 2
    [table] = build_tables(["3"], found)
    cells = {(record["row"], record["measure"]): record["measured"] for record in table.records}
    assert str(cells["magic", "human_image_relevance"]) == "5.00" and str(cells["magic", "human_informativeness"]) == "2.25"
    assert str(cells["human", "human_relevance"]) == "4.60" and cells["human", "human_fluency"] is None
    assert str(cells["nucleus", "human_fluency"]) == "2.00" and cells["nucleus", "rep_2"] is None
    assert cells["contrastive", "human_fluency"] is None


def test_one_study_of_a_sampled_method_has_no_deviation_over_runs(tmp_path):
    runs = [measured("run", source=f"repeat-{n}", metrics={"rep_2": {"value": n / 100}}) for n in (1, 2, 3)]
    [table] = build_tables(["3"], add_human_scores({"story/nucleus": runs}, written(tmp_path, {"nucleus": scores(fluency=2.5)})))
    found = {record["measure"]: record for record in table.records if record["row"] == "nucleus"}
    assert str(found["human_fluency"]["measured"]) == "2.50" and found["human_fluency"]["deviation"] is None
    assert str(found["rep_2"]["deviation"]) == "1.00"


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({}, "no systems; give a file of `magic human-eval score`"),
        ({"magik": scores(**ASPECTS)}, "magik is neither a row nor a measured system; did you mean magic"),
        ({"magic": {}}, "magic has none of relevance, fluency"),
        ({"magic": scores(fluency=5.5)}, "magic, fluency: the mean must be a number from 1 to 5, got 5.5"),
        ({"magic": {"fluency": 3}}, "magic, fluency: the mean must be a number"),
        ({"magic": scores(fluency=2), "run-magic": scores(fluency=3)}, "magic and run-magic are both story/magic"),
    ],
)
def test_faults_are_named(tmp_path, systems, message):
    with pytest.raises(MagicError, match=message):
        add_human_scores({"story/magic": [measured()]}, written(tmp_path, systems))


def test_wins_of_pairs_stand_beside_the_printed_ones(tmp_path):
    file = tmp_path / "scores.json"
    shares = {"language": 0.5, "image_quality": 0.25, "coherence": 1}
    file.write_text(
        json.dumps({"systems": ["a", "b"], "items": 4, "preferences": {key: {"wins": {"share": x}} for key, x in shares.items()}})
    )
    [table] = build_tables(["vist"], add_preferences({}, file), load_paper(MINIGPT5))
    found = {(record["row"], record["measure"]): record["measured"] for record in table.records if record["measured"] is not None}
    assert {key: str(value) for key, value in found.items()} == {
        ("first_system", "human_language"): "50.00",
        ("first_system", "human_image_quality"): "25.00",
        ("first_system", "human_coherence"): "100.00",
    }


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"systems": {"magic": {}}},
        {"systems": ["a"], "preferences": {"language": {"wins": {"share": 1}}}},
        {"systems": ["a", "b"], "preferences": {"language": {"wins": {"share": 57}}}},
        {"systems": ["a", "b"], "preferences": {"language": {}}},
    ],
)
def test_file_without_preferences_is_refused(document, tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(document))
    with pytest.raises(MagicError, match=r"scores.json: .*kind=pairs"):
        add_preferences({}, tmp_path / "scores.json")
