"""Blinding: which titles, in which order, under which letters, and the key."""

from collections import Counter

import pytest

from magic_cli.errors import MagicError, SettingsError
from magic_cli.human_eval.aspects import STORIES
from magic_cli.human_eval.forms import check_key, draw, make_forms
from tests.unit.human_eval.studies import items, study


def test_draw_is_a_sample_that_only_the_seed_decides():
    population = items(40)
    drawn = draw(population, 10, 3, STORIES)
    assert drawn == draw(population, 10, 3, STORIES) != draw(population, 10, 4, STORIES)
    assert len({item.id for item in drawn}) == 10
    assert draw(population, None, 3, STORIES) == population
    with pytest.raises(SettingsError, match="items=41: only 40 titles"):
        draw(population, 41, 0, STORIES)


def test_every_form_shows_everything_once_in_an_order_of_its_own():
    forms, _ = study(count=12, annotators=3)
    for form in forms:
        assert sorted(card.item.id for card in form.cards) == sorted(f"id{i}" for i in range(12))
        assert all(sorted(card.systems) == ["human", "magic", "nucleus"] for card in form.cards)
    assert len({tuple(card.item.id for card in form.cards) for form in forms}) == 3
    assert len({form.id for form in forms}) == 3
    assert [form.id for form in forms] == [form.id for form in study(count=12, annotators=3)[0]]
    assert [form.id for form in forms] != [form.id for form in study(count=12, annotators=3, seed=1)[0]]


def test_letters_do_not_give_systems_away():
    forms, _ = study(count=60, annotators=5)
    firsts = Counter(card.systems[0] for form in forms for card in form.cards)
    assert all(70 <= firsts[name] <= 130 for name in ("human", "magic", "nucleus"))  # 100 each by chance, deviation 8


def test_form_id_changes_with_whatever_is_shown():
    [form], _ = study(annotators=1)
    changed = items()
    changed[0].stories["magic"] += " And more."
    assert make_forms(changed, {}, annotators=1, seed=0)[0].id != make_forms(items(), {}, annotators=1, seed=0)[0].id != form.id


def test_question_about_the_photo_is_asked_only_where_there_is_one():
    [form], _ = study(count=4, annotators=1, photos=(2,))
    asked = Counter(name.split(".")[2] for name in form.questions())
    assert asked == {"relevance": 12, "fluency": 12, "informativeness": 12, "story_image_relevance": 3}
    [number] = {int(name.split(".")[0]) for name in form.questions() if name.endswith("story_image_relevance")}
    assert form.cards[number - 1].item.id == "id2"


def test_key_undoes_the_blinding():
    forms, key = study(count=5, annotators=2)
    check_key(key, "key.json")
    for form in forms:
        for card, keyed in zip(form.cards, key["forms"][form.id]["cards"], strict=True):
            for letter, text in card.labelled():
                assert card.item.stories[keyed["letters"][letter]] == text
            assert (keyed["id"], keyed["title"]) == (card.item.id, card.item.title)


@pytest.mark.parametrize(
    "damage",
    [
        lambda key: key.pop("kind"),
        lambda key: key.pop("systems"),
        lambda key: key["systems"].pop("magic"),
        lambda key: key["forms"].clear(),
        lambda key: next(iter(key["forms"].values()))["cards"].pop(),
        lambda key: next(iter(key["forms"].values()))["cards"][0].pop("letters"),
        lambda key: next(iter(key["forms"].values())).update(annotator="one"),
    ],
)
def test_damaged_key_is_refused(damage):
    _, key = study()
    damage(key)
    with pytest.raises(MagicError, match=r"key=key.json: is .*name the key.json"):
        check_key(key, "key.json")


def test_more_systems_than_letters_are_refused():
    with pytest.raises(SettingsError, match="27 systems: a form shows at most 26"):
        make_forms(items(2, [f"s{i}" for i in range(27)]), {}, annotators=1, seed=0)
