"""Answer files: what fits the key is read, everything else is refused by file and title."""

import json
import re
import zlib

import numpy as np
import pytest

from magic_cli.errors import MagicError
from magic_cli.human_eval.answers import checksum, read_ratings
from tests.unit.human_eval.studies import answers, random_answers, study


@pytest.fixture
def forms_and_key():
    return study(count=3, annotators=2, photos=(0,))


def write(folder, documents):
    paths = []
    for number, document in enumerate(documents, start=1):
        path = folder / f"answers-{number}.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        paths.append(path)
    return paths


def test_scores_find_their_way_back_through_the_blinding(tmp_path, forms_and_key):
    forms, key = forms_and_key
    value = {"human": 5, "magic": 3, "nucleus": 1}
    documents = [answers(form, key, lambda item, system, aspect: value[system]) for form in forms]
    ratings = read_ratings(write(tmp_path, documents), key, accept_incomplete=False)
    assert ratings.systems == ("human", "magic", "nucleus") and ratings.items == ("id0", "id1", "id2")
    assert ratings.annotators == (1, 2) and ratings.num_open == 0
    for s, name in enumerate(ratings.systems):
        assert (ratings.scores[:, :, s, :3] == value[name]).all()
        assert (ratings.scores[:, 0, s, 3] == value[name]).all() and np.isnan(ratings.scores[:, 1:, s, 3]).all()


def test_open_questions_are_refused_unless_accepted(tmp_path, forms_and_key):
    forms, key = forms_and_key
    document = answers(forms[0], key, lambda item, system, aspect: None if (item, aspect) == ("id1", "fluency") else 2)
    paths = write(tmp_path, [document])
    with pytest.raises(
        MagicError, match=r"answers-1.json: 3 of 30 questions are open, the first about 'Title 1'; .*incomplete=accept"
    ):
        read_ratings(paths, key, accept_incomplete=False)
    ratings = read_ratings(paths, key, accept_incomplete=True)
    assert ratings.num_open == 3 and np.isnan(ratings.scores[0, 1, :, 1]).all() and (ratings.scores[0, 0] == 2).all()


def change(**values):
    return lambda document: document.update(values)


def set_answer(value):
    def act(document):
        document["answers"][next(iter(document["answers"]))] = value

    return act


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_answer(6), r"answers-1.json: 1.A.relevance \(about 'Title \d'\) must be a whole number from 1 to 5, got 6"),
        (set_answer(0), "from 1 to 5, got 0"),
        (set_answer(2.5), "got 2.5"),
        (set_answer("3"), "got '3'"),
        (set_answer(True), "got True"),
        (set_answer(None), "got None"),
        (change(kind="something"), "is not a file of answers"),
        (change(study="0" * 16), "belongs to another study"),
        (change(form="0" * 16), "is damaged .*not in the key"),
        (change(annotator=2), "is damaged .*not in the key"),
        (change(answers=[1, 2]), "it has no answers"),
        (lambda document: document["answers"].update({"99.A.fluency": 3}), "has no question '99.A.fluency'"),
        (change(checksum="00000000"), "was changed after the form exported it"),
    ],
)
def test_unfit_answers_are_refused_in_one_line(damage, message, tmp_path, forms_and_key):
    forms, key = forms_and_key
    document = answers(forms[0], key, lambda item, system, aspect: 4)
    damage(document)
    with pytest.raises(MagicError, match=message) as caught:
        read_ratings(write(tmp_path, [document]), key, accept_incomplete=True)
    assert "\n" not in str(caught.value) and "answers-1.json" in str(caught.value)


def test_score_that_was_changed_within_the_range_is_noticed(tmp_path, forms_and_key):
    forms, key = forms_and_key
    document = answers(forms[0], key, lambda item, system, aspect: 4)
    set_answer(5)(document)
    with pytest.raises(MagicError, match="was changed after"):
        read_ratings(write(tmp_path, [document]), key, accept_incomplete=False)


def test_truncated_file_is_refused(tmp_path, forms_and_key):
    forms, key = forms_and_key
    text = json.dumps(random_answers(forms[0], key))
    with pytest.raises(MagicError, match=r"answers-1.json line 1: not valid JSON"):
        read_ratings(write(tmp_path, [text[:-40]]), key, accept_incomplete=True)


def test_same_form_twice_is_refused(tmp_path, forms_and_key):
    forms, key = forms_and_key
    paths = write(tmp_path, [random_answers(forms[0], key), random_answers(forms[0], key, seed=1)])
    with pytest.raises(
        MagicError, match=rf"{re.escape(str(paths[1]))}: answers the same form as {re.escape(str(paths[0]))} \(annotator 1\)"
    ):
        read_ratings(paths, key, accept_incomplete=False)


def test_answers_of_another_study_are_refused(tmp_path, forms_and_key):
    _, key = forms_and_key
    others, other_key = study(count=3, annotators=2, photos=(0,), seed=5)
    with pytest.raises(MagicError, match="belongs to another study"):
        read_ratings(write(tmp_path, [random_answers(others[0], other_key)]), key, accept_incomplete=False)


def test_checksum_is_crc32_of_the_answers_in_the_forms_order():
    document = {"study": "s", "form": "f", "answers": {"1.B.fluency": 2, "1.A.fluency": 5}}
    expected = zlib.crc32(b"s\nf\n1.A.fluency=5\n1.B.fluency=2")
    assert checksum(document, ["1.A.fluency", "1.B.fluency", "2.A.fluency"]) == f"{expected:08x}"
