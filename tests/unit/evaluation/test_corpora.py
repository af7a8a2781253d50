"""Matching captions with references: nothing is left out without being counted."""

from pathlib import Path

import pytest

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.references import ReferenceSet
from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.corpora import build_corpus, distinct_names, find_systems

REFERENCES = ReferenceSet(
    Path("refs.json"), {"1": ("one", "eins"), "2": ("two",), "3": ("three",)}, {"2": "val2014/COCO_val2014_000000000002.jpg"}
)


def system(captions, references=(), images=(), **fields):
    items = tuple(Item(i, text, dict(references).get(i, ()), image=dict(images).get(i)) for i, text in captions.items())
    return System("mine", Path("preds.json"), items, **fields)


def build(captions, references=REFERENCES, images=None, drop=False, **fields):
    return build_corpus(
        system(captions, **fields), references, images=ImageLookup(images) if images else None, drop_unmatched=drop
    )


def test_order_is_that_of_the_references_and_missing_ones_are_counted():
    corpus, coverage = build({"3": "c", "1": "a"})
    assert (corpus.ids, corpus.captions, corpus.references) == (("1", "3"), ("a", "c"), (("one", "eins"), ("three",)))
    assert (coverage.n, coverage.missing, coverage.dropped) == (2, 1, 0)


def test_caption_without_references_is_refused_or_dropped_and_counted():
    with pytest.raises(MagicError, match=r"preds.json: the id '9' is not in refs.json.*unmatched=drop"):
        build({"1": "a", "9": "x"})
    corpus, coverage = build({"1": "a", "9": "x"}, drop=True)
    assert (corpus.ids, coverage.n, coverage.missing, coverage.dropped) == (("1",), 1, 2, 1)


def test_nothing_in_common_is_an_error_even_when_dropping():
    with pytest.raises(MagicError, match="its caption has no references in"):
        build({"9": "x"}, drop=True)


def test_two_names_of_one_image_are_refused():
    with pytest.raises(MagicError, match="'2' and 'COCO_val2014_000000000002' both mean image '2'"):
        build({"2": "a", "COCO_val2014_000000000002": "b"})


def test_white_space_of_any_kind_becomes_one_space():
    corpus, _ = build({"1": "a\nb\r\n c\u2028d\x0be\x85f"})
    assert corpus.captions == ("a b c d e f",)


def test_own_references_serve_when_none_are_given():
    own = system({"a": "x", "b": ""}, references={"a": ("r",), "b": ("s",)}, failed=3)
    corpus, coverage = build_corpus(own, None, images=None, drop_unmatched=False)
    assert (corpus.captions, coverage.n, coverage.missing) == (("x", ""), 2, 3)


@pytest.mark.parametrize(
    ("references", "part"),
    [({}, "has no references; give them with --references"), ({"a": ("r",)}, "1 caption has no references, e.g. id 'b'")],
)
def test_missing_own_references_name_the_remedy(references, part):
    with pytest.raises(MagicError, match=part):
        build_corpus(system({"a": "x", "b": "y"}, references=references), None, images=None, drop_unmatched=False)


def test_image_is_found_below_the_folder_by_full_or_bare_name(tmp_path):
    (tmp_path / "COCO_val2014_000000000002.jpg").touch()
    corpus, _ = build({"2": "a"}, images=str(tmp_path))
    assert corpus.images == (tmp_path / "COCO_val2014_000000000002.jpg",)


def test_image_of_an_absolute_path_is_found_below_the_folder_too(tmp_path):
    (tmp_path / "copy" / "sub").mkdir(parents=True)
    (tmp_path / "copy" / "sub" / "a.jpg").touch()
    (tmp_path / "empty").mkdir()
    elsewhere = tmp_path / "photos" / "sub" / "a.jpg"
    own = system({"sub/a.jpg": "x"}, images={"sub/a.jpg": str(elsewhere)})
    for folder, found in (("copy", tmp_path / "copy" / "sub" / "a.jpg"), ("empty", elsewhere)):
        corpus, _ = build_corpus(
            own, None, images=ImageLookup(str(tmp_path / folder)), drop_unmatched=False, needs_references=False
        )
        assert corpus.images == (found,)


def test_runs_without_texts_are_left_out_and_told_if_others_remain(tmp_path):
    for name, line in (("done", '{"id": "1", "caption": "x"}\n'), ("failed", None), ("killed", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
        if line is not None:
            (tmp_path / name / "predictions.jsonl").write_text(line)
    keys, told = {"id_key": None, "caption_key": None}, []
    by_the_shell = [f"{tmp_path}/{name}" for name in ("done", "failed", "killed")]
    for words in ([f"{tmp_path}/*"], by_the_shell, [f"{tmp_path}/done", f"{tmp_path}/[fk]*"]):
        assert [s.name for s in find_systems(words, **keys, tell=told.append)] == ["done"]
        assert told.pop() == f"systems: 2 folders have no text yet and are left out, e.g. {tmp_path}/failed" and not told
    assert find_systems([f"{tmp_path}/[dk]*"], **keys, tell=told.append)
    assert told.pop() == f"systems: 1 folder has no text yet and is left out: {tmp_path}/killed"
    for words in ([f"{tmp_path}/failed"], [f"{tmp_path}/f*"], by_the_shell[1:]):
        with pytest.raises(
            MagicError, match=r"failed: its predictions.jsonl is not there: .*no text yet; start its command again"
        ):
            find_systems(words, **keys, tell=told.append)
    for words in ([f"{tmp_path}/killed"], [f"{tmp_path}/k*"]):
        with pytest.raises(MagicError, match=r"killed: its predictions.jsonl is empty: .*no text yet; start its command again"):
            find_systems(words, **keys, tell=told.append)
    with pytest.raises(MagicError, match="no text yet"):
        find_systems([f"{tmp_path}/*"], **keys)
    assert not told


def test_systems_are_found_by_pattern_and_their_names_differ(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "preds.json").write_text('{"1": "x"}')
    systems = find_systems(
        [str(tmp_path / "*" / "preds.json"), str(tmp_path / "a" / "preds.json")], id_key=None, caption_key=None
    )
    assert [s.name for s in systems] == ["a/preds", "b/preds"]
    assert distinct_names(systems[:1]) == ["a/preds"]
    with pytest.raises(SettingsError, match="no such file"):
        find_systems([str(tmp_path / "nothing*")], id_key=None, caption_key=None)
