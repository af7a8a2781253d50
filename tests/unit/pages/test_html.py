"""Pages: what stands in them is text, and nothing but their own script and style may run."""

import base64
import hashlib
import json
import re

import pytest

from magic_cli.pages.html import as_html, data_block, document
from tests.hostile_strings import HOSTILE


def policy_of(text):
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    return dict(part.strip().partition(" ")[::2] for part in policy.split(";"))


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_policy_allows_exactly_what_stands_in_the_page():
    text = document("A page", "<p>Hello</p>", style="p { color: red }", scripts=["one()", "two()"])
    policy = policy_of(text)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert scripts == ["one()\n", "two()\n"] and "p { color: red }" in style
    assert policy["script-src"] == " ".join(map(digest, scripts)) and policy["style-src"] == digest(style)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in text and "http" not in text.replace("http-equiv", "")
    assert policy_of(document("A page", ""))["script-src"] == "'none'"


@pytest.mark.parametrize("text", [*HOSTILE, "half \ud83d", "odd \udcff name"], ids=range(len(HOSTILE) + 2))
def test_data_comes_back_and_cannot_end_its_block(text):
    block = data_block("data", {text: [text]})
    inner = block.removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert "<" not in inner and json.loads(inner) == {text: [text]}
    inner.encode()
    assert "<" not in as_html(text) and '"' not in as_html(text)
    as_html(text).encode()


def test_number_that_is_none_is_refused():
    with pytest.raises(ValueError):
        data_block("data", float("nan"))
