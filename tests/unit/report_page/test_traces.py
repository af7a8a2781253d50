"""Steps of a trace as a page holds them."""

import base64
import json

import numpy as np
import pytest

from magic_cli.errors import MagicError
from magic_cli.report_page.traces import read_traces, weights
from tests.files import written

ITEMS = {"a": 0, "b": 1, "c": 2}


def step(item, number, choice, **terms):
    ids = [3, 1, 2]
    return {"id": item, "step": number, "choice": choice, "token_ids": ids, **terms, "tokens": [f"t{i}" for i in ids]}


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def write_lines(file, records):
    written(file.parent, file.name, records)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trace.jsonl"


def test_numbers_are_the_very_float32(file):
    p, penalty, f = [0.7, 0.2, float(np.float32(1) / 3)], [0.1, None, -0.5], [0.25, 0.5, 0.25]
    write_lines(file, [step("a", 0, 3, p=p, penalty=penalty, f=f), step("a", 1, 1, p=p, penalty=None, f=f)])
    traces, tokens = read_traces(file, ITEMS, limit=9)
    [trace] = traces[0]
    assert trace["kind"] == "steps" and trace["answer"] is None and trace["choice"] == [3, 1] and trace["counts"] == [3, 3]
    assert floats(trace["p"]).tolist() == np.array(p * 2, "f4").tolist()
    assert np.isnan(floats(trace["penalty"])).tolist() == [False, True, False, True, True, True]
    assert floats(trace["f"][0]).tolist() == np.array(f * 2, "f4").tolist() and len(trace["f"]) == 1
    assert np.frombuffer(base64.b64decode(trace["ids"]), "<u4").tolist() == [3, 1, 2] * 2
    assert tokens == {1: "t1", 2: "t2", 3: "t3"}


def test_texts_of_a_batch_that_grew_side_by_side_are_parted(file):
    write_lines(file, [step(item, number, 3, p=[1, 0, 0]) for number in range(3) for item in "abx"])
    traces, _ = read_traces(file, ITEMS, limit=9)
    assert {item: trace["choice"] for item, [trace] in traces.items()} == {0: [3, 3, 3], 1: [3, 3, 3]}
    assert list(read_traces(file, ITEMS, limit=1)[0]) == [0]


def test_what_was_never_computed_is_none(file):
    write_lines(file, [{"id": "a", "step": 0, "choice": 3, "tokens": ["t3"]}])
    [trace] = read_traces(file, ITEMS, limit=9)[0][0]
    assert (trace["counts"], trace["p"], trace["penalty"], trace["f"]) == ([0], None, None, [])


def test_answers_of_a_story_are_traces_of_their_own(file):
    write_lines(file, [step("a", number, 3, p=[1, 0, 0], answer=answer) for answer in (1, 2) for number in range(answer)])
    assert [(one["answer"], len(one["choice"])) for one in read_traces(file, ITEMS, limit=9)[0][0]] == [(1, 1), (2, 2)]


def test_beams_and_whole_texts_have_their_own_form(file):
    beams = [
        {"id": "a", "step": n, "choice": 5 + row, "parent": 0, "row": row, "tokens": ["x"]} for n in (0, 1) for row in (0, 1)
    ]
    texts = [{"id": "b", "step": n, "candidate": n, "choice": 1, "text": f"text {n}", "cosine": 0.5 * n, "token_ids": [1], "tokens": ["t"], "same_as": n} for n in (0, 1)]  # fmt: skip
    write_lines(file, beams + texts)
    traces, _ = read_traces(file, ITEMS, limit=9)
    assert traces[0][0]["steps"] == [[[0, 0, 5], [1, 0, 6]]] * 2
    assert traces[1][0]["texts"] == [["text 0", 0.0], ["text 1", 0.5]] and traces[1][0]["choice"] == 1


@pytest.mark.parametrize(
    "damage", [{"p": [1]}, {"token_ids": [-1, 1, 2]}, {"choice": "x"}, {"tokens": ["t"]}, {"p": ["x", 1, 2]}, {"f": 3}], ids=str
)
def test_damaged_step_is_one_line_with_its_place(file, damage):
    write_lines(file, [step("b", 0, 3, p=[1, 0, 0]), step("a", 0, 3, p=[1, 0, 0]) | damage])
    with pytest.raises(MagicError, match=r"trace.jsonl line 2: is not a trace of magic \(.*delete trace.jsonl"):
        read_traces(file, ITEMS, limit=9)


def test_only_the_last_line_may_be_half_written(file):
    whole = json.dumps(step("a", 0, 3, p=[1, 0, 0]))
    file.write_text(f"{whole}\n{whole[:30]}")
    assert len(read_traces(file, ITEMS, limit=9)[0][0][0]["choice"]) == 1
    file.write_text(f"{whole[:30]}\n{whole}\n")
    with pytest.raises(MagicError, match="line 1: not valid JSON"):
        read_traces(file, ITEMS, limit=9)


def test_weights_are_those_of_all_guides():
    decoding = {"method": "magic", "alpha": 0.1, "beta": 2.0}
    image = ["beta", 0, "image score"]
    assert weights({"decoding": decoding}) == {"alpha": 0.1, "beta": 2.0, "guides": [image]}
    beside = {"memory": {"use": "beside", "weight": 0.5}, "second_model": {"weight": 0.7}}
    assert weights({"decoding": decoding, "guides": beside})["guides"] == [
        image,
        ["beta", 1, "memory's score"],
        [0.7, 2, "second model's score"],
    ]
    second = {"second_model": {"weight": 0.7}}
    assert weights({"decoding": decoding | {"beta": 0}, "guides": second})["guides"] == [
        [
            "beta",
            None,
            "image score",
        ],  # a guide of weight 0 is not in the trace, so the second model's score is the first one there
        [0.7, 0, "second model's score"],
    ]
    assert weights({"decoding": decoding, "guides": {"memory": {"use": "mix"}}})["guides"] == [image]
    assert weights({"decoding": {"method": "contrastive", "alpha": 0.6}}) == {"alpha": 0.6, "beta": None, "guides": []}
    assert weights({"decoding": {"method": "greedy"}}) is None and weights({}) is None
