"""Stories made ready for scoring: released files and runs, parted by image, with people's stories and retrieved images."""

import gzip
import json
from types import SimpleNamespace

import pytest

from magic_cli.commands.evaluate import run
from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.predictions import read_system
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.corpora import build_corpus
from magic_cli.evaluation.settings import EvaluateSettings, ScoringSettings
from magic_cli.evaluation.stories import of_rank, story_systems
from magic_cli.evaluation.story_rows import measure_stories
from magic_cli.metrics.settings import MetricsSettings
from tests.systems import by_id

HUMAN_STORY = "we went home . we went home"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def record(*written, human=HUMAN_STORY, title="Home"):
    images = {str(i): {"image_name": f"{i}.jpg", "generated_continuation_text": text} for i, text in enumerate(written)}
    return {"prefix_text": f"{title} <|endoftext|>", "reference_continuation_text": human, "generated_result": images}


def write(path, *records):
    text = json.dumps({"evaluation_result": list(records)})
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def settings(**values):
    metrics = MetricsSettings(names=["repetition"])
    return ScoringSettings(image_text_model=None, **{"metrics": metrics, **values})


def run_folder(tmp_path, records, failures=(), **manifest):
    folder = tmp_path / "run"
    folder.mkdir()
    for name, found in (("predictions.jsonl", records), ("failures.jsonl", failures)):
        (folder / name).write_text("".join(json.dumps(one) + "\n" for one in found))
    (folder / "manifest.json").write_text(json.dumps({"status": "complete", **manifest}))
    return folder


def prediction(title_id, rank=None, **more):
    ranked = {} if rank is None else {"rank": rank, "image": f"{rank}.jpg"}
    item = title_id if rank is None else f"{title_id}#{rank}"
    return {
        "id": item,
        "title_id": title_id,
        "title": f"Title {title_id}",
        **ranked,
        "story": f"Story {item}.",
        "reference": "Told.",
        **more,
    }


def test_rows_of_a_magic_file_are_both_rules_all_images_and_the_humans(tmp_path):
    # bigrams ab bc ca ab | ax xb: by the released rule ab bc ca | ax
    file = write(tmp_path / "m.json.gz", record("a b c a b", "x x x x x"), record("a x b", "x x x"))
    measured = measure_stories({file: "story/magic"}, settings())
    assert set(measured) == {"story/magic", "story/magic_mean", "story/magic_every_ngram", "story/human"}
    [released], [every] = measured["story/magic"], measured["story/magic_every_ngram"]
    assert (released["n"], released["missing"], released["empty"], released["texts"]) == (2, 0, 0, "stories")
    assert released["metrics"]["rep_2"]["value"] == 0
    assert every["metrics"]["rep_2"]["value"] == pytest.approx(1 / 6)
    assert released["tools"]["repetition"]["last_ngram"] is False and every["tools"]["repetition"]["last_ngram"] is True
    # we went, went home, home ., . we, we went (went home left out) twice
    assert measured["story/human"][0]["metrics"]["rep_2"]["value"] == pytest.approx(1 / 5)
    assert [run["image_rank"] for run in measured["story/magic_mean"]] == [1, 2]
    # x x thrice and once: four bigrams, of which one and one are distinct
    assert measured["story/magic_mean"][1]["metrics"]["rep_2"]["value"] == pytest.approx(1 - 2 / 4)


def test_humans_stories_are_counted_once_when_several_files_hold_them(tmp_path):
    files = [write(tmp_path / name, record("a b c")) for name in ("a.json", "b.json")]
    measured = measure_stories(dict(zip(files, ("story/contrastive", "story/magic"), strict=True)), settings())
    assert len(measured["story/human"]) == 1 and len(measured) == 5


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no evaluation_result with stories"),
        (
            [record("a"), {"generated_result": {}}],
            r"s.json record 2: not as expected \(KeyError\('reference_continuation_text'\)\)",
        ),
        ([record(None)], "s.json record 1: a story must be a text"),
        ([record()], "s.json record 1: has no story"),
    ],
)
def test_other_files_are_refused_with_the_record(tmp_path, records, message):
    with pytest.raises(MagicError, match=message):
        read_system(write(tmp_path / "s.json", *records))


def test_run_is_parted_by_image_and_what_is_missing_is_counted_for_each(tmp_path):
    failures = [{"id": "3#2", "title_id": "3", "title": "Title 3", "rank": 2, "reason": "damaged"}]
    records = [prediction("1", 1), prediction("1", 2), prediction("2", 1), prediction("3", 1)]
    system = read_system(run_folder(tmp_path, records, failures, stories_by_rank={"1": 4, "2": 3}))
    first, second = story_systems([system], settings(image_ranks=[1, 2]))
    assert (first.name, second.name) == ("run", "run-image-2")
    assert [(item.id, item.text) for item in first.items] == [("1", "Story 1#1."), ("2", "Story 2#1."), ("3", "Story 3#1.")]
    assert (
        first.items[1].title == "Title 2" and first.items[2].references == ("Told.",) and by_id(second, "image") == {"1": "2.jpg"}
    )
    corpora = [build_corpus(one, None, images=None, drop_unmatched=False) for one in (first, second)]
    assert [(coverage.n, coverage.missing) for _, coverage in corpora] == [(3, 1), (1, 2)]
    assert corpora[0][0].titles == ("Title 1", "Title 2", "Title 3")
    assert "1 title of the run has no story" in corpora[1][1].notes
    with pytest.raises(SettingsError, match="image_ranks=4: .* has stories for the images 1, 2 of a title"):
        story_systems([system], settings(image_ranks=[4]))


def test_stories_without_image_get_the_best_retrieved_one(tmp_path):
    system = read_system(run_folder(tmp_path, [prediction("1"), prediction("2")]))
    assert by_id(system, "image") == by_id(system, "rank") == {}
    file = tmp_path / "found" / "retrieved.jsonl"
    file.parent.mkdir()
    file.write_text(
        json.dumps({"id": "x", "query": "Title  2", "images": [{"image": "best.jpg"}, {"image": "second.jpg"}]}) + "\n"
    )
    [found] = story_systems([system], settings(retrieved=str(file)))
    assert by_id(found, "retrieved") == {"2": tmp_path / "found" / "best.jpg"}


def test_retrieved_images_are_found_where_their_file_says_beside_a_folder_of_others(tmp_path):
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "best.jpg").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "best.jpg").touch()  # another photo of that name
    (tmp_path / "found" / "retrieved.jsonl").write_text(
        json.dumps({"id": "x", "query": "Home", "images": [{"image": "best.jpg"}]}) + "\n"
    )
    unseen = record("a b")
    del unseen["generated_result"]["0"]["image_name"]
    [system] = story_systems([read_system(write(tmp_path / "m.json", unseen))], settings(retrieved="found/retrieved.jsonl"))
    built, _ = build_corpus(system, None, images=ImageLookup("photos"), drop_unmatched=False)
    assert built.images == (tmp_path / "found" / "best.jpg",)


def test_people_s_stories_are_a_system_with_the_same_titles_and_images(tmp_path):
    system = read_system(write(tmp_path / "m.json", record("a b", title="One"), record("c d", human="they slept", title="Two")))
    written, human = story_systems([system], settings(human=True))
    assert (human.name, [item.text for item in human.items]) == ("human", [HUMAN_STORY, "they slept"])
    assert by_id(human, "title") == by_id(written, "title") and by_id(human, "image") == by_id(written, "image") == {
        "1": "0.jpg",
        "2": "0.jpg",
    }
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1": "a cat"}))
    with pytest.raises(SettingsError, match="human=true: no system holds stories"):
        story_systems([read_system(captions)], settings(human=True))


def test_stories_without_references_are_scored_by_metrics_that_need_none(tmp_path):
    records = [{key: value for key, value in prediction("1").items() if key != "reference"}]
    system = read_system(run_folder(tmp_path, records))
    corpus, _ = build_corpus(system, None, images=None, drop_unmatched=False, needs_references=False)
    assert corpus.references == ((),)
    with pytest.raises(MagicError, match="has no references"):
        build_corpus(system, None, images=None, drop_unmatched=False)


def test_titles_may_repeat(tmp_path):
    system = of_rank(read_system(write(tmp_path / "m.json", record("a b"), record("c d"))), 1)
    assert by_id(system) == {"1": "a b", "2": "c d"} and {item.title for item in system.items} == {"Home"}


@pytest.mark.parametrize("ranks", [[], [0], [1, 1]])
def test_impossible_ranks_are_refused(ranks):
    with pytest.raises(SettingsError, match="image_ranks"):
        settings(image_ranks=ranks)


def test_stories_are_scored_as_stories_unless_other_metrics_are_chosen(tmp_path, monkeypatch, capsys):
    scored = []

    def evaluated(prepared, settings):
        scored.append(settings.metrics.names)
        raise MagicError("enough")

    monkeypatch.setattr("magic_cli.evaluation.judging.evaluate", evaluated)
    stories, captions = write(tmp_path / "m.json", record("a b")), tmp_path / "c.json"
    captions.write_text(json.dumps([{"image_id": 1, "caption": "a dog", "references": ["a dog"]}]))
    defaults = MetricsSettings()
    for file, metrics in ((stories, defaults), (captions, defaults), (stories, MetricsSettings(names=["bleu"]))):
        with pytest.raises(MagicError, match="enough"):
            run(EvaluateSettings(image_text_model=SimpleNamespace(source="any"), systems=[str(file)], metrics=metrics))
    assert scored == [["repetition", "coherence", "mauve", "clip_score"], defaults.names, ["bleu"]]
    assert (
        capsys.readouterr().err.count("these are stories, scored by repetition, coherence, mauve, clip_score; choose others") == 1
    )
