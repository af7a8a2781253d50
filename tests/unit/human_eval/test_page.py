"""The HTML of a form: self-contained, blinded, escaped, labelled."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from magic_cli.errors import MagicError
from magic_cli.human_eval.forms import make_forms
from magic_cli.human_eval.page import page, photo_uri
from magic_cli.human_eval.stories import Item
from tests.unit.human_eval.studies import study


class Page(HTMLParser):
    """Tags with their attributes, and the text that is shown."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.shown = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.shown.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_form_needs_nothing_from_outside_and_may_load_nothing():
    [form], key = study(annotators=1)
    text = page(form, key["study"])
    parsed = Page(text)
    assert not parsed.all("link") and not any("src" in script for script in parsed.all("script"))
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in parsed.all("img"))
    assert len(parsed.all("img")) == 2 and all(image["alt"] for image in parsed.all("img"))
    [policy] = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:")
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text


def test_form_does_not_tell_whose_story_is_whose():
    forms, key = study(annotators=2)
    for form in forms:
        text = page(form, key["study"])
        for secret in ("nucleus", "human.jsonl", "magic.jsonl", "id0", "id3"):
            assert secret not in text
        assert f'data-form="{form.id}"' in text and f'data-study="{key["study"]}"' in text
        # the tool's own name stands in the file (storage key, kind of file), but nowhere else
        assert set(re.findall(r"magic[\w -]*", text)) == {"magic-human-eval ", "magic human-eval answers 1"}


def test_questions_are_fieldsets_of_five_labelled_choices_in_the_forms_order():
    [form], key = study(annotators=1)
    parsed = Page(page(form, key["study"]))
    names = [fieldset["data-question"] for fieldset in parsed.all("fieldset")]
    assert names == form.questions()
    choices = [choice for choice in parsed.all("input") if choice["type"] == "radio"]
    assert [choice["value"] for choice in choices] == ["1", "2", "3", "4", "5"] * len(names)
    assert [choice["aria-label"] for choice in choices[:5]] == ["1, the worst", "2", "3", "4", "5, the best"]
    assert len(parsed.all("legend")) == len(names)
    for definition in (
        "related to the title",
        "fluent and easy to understand",
        "diverse and interesting",
        "consistent with the photo",
    ):
        assert any(definition in shown for shown in parsed.shown)


def test_html_in_titles_and_stories_is_shown_as_text():
    evil = '</script><script>alert("x")</script> $style {{form}} & <b>bold</b> "quoted" \'single\''
    items = [Item("1", evil, {"a": evil, "b": "Fine."})]
    [form] = make_forms(items, {}, annotators=1, seed=0)
    parsed = Page(page(form, "study"))
    assert len(parsed.all("script")) == 1
    assert len(parsed.all("b")) == len(form.questions()) + 1  # our own: the legends, and the title in the header
    assert parsed.shown.count(evil) == 2


def test_photo_is_small_upright_and_without_metadata(tmp_path):
    image = Image.new("RGB", (2000, 1000), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # turned: to be shown upright, it is taller than wide
    exif[0x010E] = "the secret name"
    image.save(tmp_path / "a.jpg", exif=exif)
    uri = photo_uri(tmp_path / "a.jpg", side=300)
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    shown = Image.open(io.BytesIO(data))
    assert shown.size == (150, 300) and b"secret" not in data and not shown.getexif()
    assert uri == photo_uri(tmp_path / "a.jpg", side=300)


def test_unreadable_photo_is_refused_with_its_name(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(MagicError, match=r"a.jpg: cannot be shown \(UnidentifiedImageError"):
        photo_uri(tmp_path / "a.jpg", side=300)
