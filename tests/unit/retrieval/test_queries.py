"""Queries of every format; the released strip, letter for letter."""

import json

import pytest

from magic_cli.errors import MagicError
from magic_cli.retrieval.queries import load_queries, released_title


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("titles.txt", "A day out\tWe went.\n\nThe end\tIt was.\n"),
        ("lines.txt", "A  day out\r\nThe end"),
        ("lines.jsonl", '{"title": "A day out"}\n{"query": "The end"}\n'),
        ("lines.txt", '{"title": "A day out"}\n{"query": "The end"}\n'),
        (
            "released.json",
            json.dumps(
                {"evaluation_result": [{"prefix_text": "A day out <|endoftext|>"}, {"prefix_text": "The end <|endoftext|>"}]}
            ),
        ),
        ("list.json", json.dumps(["A day out", {"prefix_text": "The end"}])),
    ],
)
def test_queries_of_every_format_are_read(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert load_queries([str(tmp_path / name)], []) == [{"id": "1", "query": "A day out"}, {"id": "2", "query": "The end"}]


def test_half_a_character_is_replaced_as_tokenizers_refuse_it(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"query": "a \\ud83d dog"}\n')
    assert load_queries([str(tmp_path / "q.jsonl")], []) == [{"id": "1", "query": "a \ufffd dog"}]


def test_text_in_the_place_of_a_file_says_what_to_type():
    with pytest.raises(MagicError, match="a dog: no such file .*; for a text, type --query 'a dog'; "):
        load_queries(["a dog"], [])


def test_line_that_opens_with_a_bracket_is_no_json(tmp_path):
    (tmp_path / "titles.txt").write_text("[Untitled]\tIt was.\n")
    assert load_queries([str(tmp_path / "titles.txt")], []) == [{"id": "1", "query": "[Untitled]"}]


def test_words_come_before_files_and_ids_go_on(tmp_path):
    (tmp_path / "a.txt").write_text("b\n")
    assert load_queries([str(tmp_path / "a.txt")], ["a"]) == [{"id": "1", "query": "a"}, {"id": "2", "query": "b"}]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "\n", "holds no queries"),
        ("a.txt", "\tstory without title\n", "query 1 is empty"),
        ("a.json", '{"evaluation_result": 3}', "record 1: has no query"),
        ("a.jsonl", '{"titel": "x"}\n', "record 1: has no query"),
        ("a.jsonl", "{\"caption\": \"['a', 'b']\"}\n", "record 1: caption must be one text, got 2 of them"),
        ("a.jsonl", '{"id": [1], "query": "a"}\n', "record 1: id must be a text or a whole number"),
    ],
)
def test_bad_queries_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(MagicError, match=message):
        load_queries([str(tmp_path / name)], [])


@pytest.mark.parametrize(
    ("title", "cut"),
    [
        ("tip", "ip"),
        ("fire wood", "ire wood"),
        ("text", ""),
        ("The test", "The test"),
        ("a tent", "a tent"),
        ("do not end", "not end"),
    ],
)
def test_released_strip_eats_letters_of_the_separator_at_the_front_only(title, cut):
    eaten = title.lstrip("<|endoftx>") if title != "text" else ""
    assert released_title(title) == cut.strip() == eaten.strip()
