"""Stories of several systems: the forms of files, how titles are matched, and which photo a title has."""

import json

import pytest

from magic_cli.errors import MagicError
from magic_cli.human_eval.stories import find_photo, match, read_systems


def lines(file, records):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def record(number, story="Once.", **more):
    return {"id": str(number), "title": f"Title {number}", "story": story, **more}


def released(title, story, image=None, reference="Told by a person."):
    best = {"generated_continuation_text": story} | ({"image_name": image} if image else {})
    return {
        "prefix_text": f"{title} <|endoftext|>",
        "reference_continuation_text": reference,
        "generated_result": {"0": best, "1": best | {"generated_continuation_text": "Of the second image."}},
    }


def test_run_folder_released_file_and_plain_lines_are_read_alike(tmp_path):
    run = tmp_path / "runs" / "mine"
    lines(run / "predictions.jsonl", [record(1, "Of the run."), record(2, "More.")])
    (tmp_path / "theirs.json").write_text(json.dumps({"evaluation_result": [released("Title 1", "Theirs.", "a.jpg")]}))
    plain = lines(tmp_path / "plain.jsonl", [{"title": "Title 1", "story": "Plain,\n  on two lines."}])
    systems = read_systems([str(run), str(tmp_path / "theirs.json")], [f"other={plain}"], human=True)
    assert [system.name for system in systems] == ["mine", "theirs", "other", "human"]
    [item], left_out = match(systems)
    assert item.stories == {
        "mine": "Of the run.",
        "theirs": "Theirs.",
        "other": "Plain, on two lines.",
        "human": "Told by a person.",
    }
    assert [name for _, name in item.images] == ["a.jpg"] and left_out == 1


def test_half_written_last_line_of_a_run_is_left_out(tmp_path):
    lines(tmp_path / "run" / "predictions.jsonl", [record(1), record(2)])
    with (tmp_path / "run" / "predictions.jsonl").open("a") as stream:
        stream.write('{"id": "3", "tit')
    [system, _] = read_systems([str(tmp_path / "run"), lines(tmp_path / "b.jsonl", [record(1)])], [], human=False)
    assert [story.id for story in system.stories] == ["1", "2"]


def test_title_of_which_a_run_has_written_nothing_is_left_out_and_counted(tmp_path):
    for name, second in (("a", "Twice."), ("b", "")):
        lines(tmp_path / name / "predictions.jsonl", [record(1), record(2, second)])
    items, left_out = match(read_systems([str(tmp_path / "a"), str(tmp_path / "b")], [], human=False))
    assert [item.id for item in items] == ["1"] and left_out == 1


def test_only_the_best_image_counts_when_a_title_has_stories_for_several(tmp_path):
    several = [record("7#1", "Best.", title_id="7", rank=1, image="a.jpg"), record("7#2", "Second.", title_id="7", rank=2)]
    a = lines(tmp_path / "a.jsonl", [entry | {"title": "T"} for entry in several])
    b = lines(tmp_path / "b.jsonl", [{"id": 7, "title": "T", "story": "Blind."}])
    [item], _ = match(read_systems([a, b], [], human=False))
    assert item.id == "7" and item.stories == {"a": "Best.", "b": "Blind."}


def test_titles_that_stand_twice_are_left_out_when_there_are_no_ids(tmp_path):
    without_ids = [{"title": title, "story": "S."} for title in ("Twice", "Once", "Twice")]
    systems = read_systems([lines(tmp_path / f"{name}.jsonl", without_ids) for name in "ab"], [], human=False)
    items, left_out = match(systems)
    assert [item.title for item in items] == ["Once"] and left_out == 1


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(1, story="")], "record 1: story must be a text that is not empty"),
        ([{"id": "1", "story": "S."}], "record 1: has no title"),
        ([record(1) | {"id": 1.5}], "id must be a text or a whole number, got '1.5'"),
        ([record(1), record(1)], "the id '1' appears 2 times"),
        ([record(1) | {"title": "Another"}], "id '1' has different titles"),
        ([record(9)], "no title has a story of every system"),
    ],
)
def test_unfit_stories_are_refused_with_file_and_record(records, message, tmp_path):
    files = [lines(tmp_path / "good.jsonl", [record(1)]), lines(tmp_path / "bad.jsonl", records)]
    with pytest.raises(MagicError, match=message.replace("(", r"\(")):
        match(read_systems(files, [], human=False))


@pytest.mark.parametrize(
    ("files", "named", "human", "message"),
    [
        (["a.jsonl", "b/a.jsonl"], [], False, "2 systems are called 'a'"),
        (["a.jsonl"], [], False, "only .*a.jsonl to judge"),
        (["a.jsonl"], ["b/a.jsonl"], False, "write NAME=FILE"),
        (["a.jsonl"], [], True, "no file holds a person's story"),
        (["nothing.jsonl", "a.jsonl"], [], False, "nothing.jsonl: no such file"),
        (["b", "a.jsonl"], [], False, "b: is not a run folder, since it has no predictions.jsonl"),
    ],
)
def test_unfit_choice_of_systems_is_refused(files, named, human, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("a.jsonl", "b/a.jsonl"):
        lines(tmp_path / file, [record(1)])
    with pytest.raises(MagicError, match=message):
        read_systems(files, named, human=human)


def test_photo_is_found_beside_the_file_or_in_the_named_folder(tmp_path, tiny_photos):
    photo = sorted(tiny_photos.glob("*.jpg"))[0]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "copy.jpg").write_bytes(photo.read_bytes())
    a = lines(tmp_path / "a.jsonl", [record(1, image="x/a.jpg")])
    b = lines(tmp_path / "b.jsonl", [record(1, image="copy.jpg")])
    blind = lines(tmp_path / "blind.jsonl", [record(1)])
    [item], _ = match(read_systems([blind, a, b], [], human=False))
    assert find_photo(item, images=None, may_lack=False).samefile(tmp_path / "x" / "a.jpg")  # equal files are one photo
    [item], _ = match(read_systems([blind, a], [], human=False))
    assert find_photo(item, images=tmp_path / "x", may_lack=False).samefile(tmp_path / "x" / "a.jpg")
    [item], _ = match(read_systems([blind, blind.replace("blind", "a")], [], human=False))
    (tmp_path / "x" / "a.jpg").unlink()
    with pytest.raises(MagicError, match=r"id '1': no photo x/a.jpg .*--images"):
        find_photo(item, images=None, may_lack=False)
    assert find_photo(item, images=None, may_lack=True) is None


def test_two_different_photos_of_a_title_are_refused(tmp_path, tiny_photos):
    names = [str(photo) for photo in sorted(tiny_photos.glob("*.jpg"))[:2]]
    files = [lines(tmp_path / f"{i}.jsonl", [record(1, image=name)]) for i, name in enumerate(names)]
    [item], _ = match(read_systems(files, [], human=False))
    with pytest.raises(MagicError, match="id '1': the systems' photos differ"):
        find_photo(item, images=None, may_lack=False)
