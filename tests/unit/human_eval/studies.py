"""Made-up studies and their answers."""

import random

from magic_cli.human_eval.answers import checksum
from magic_cli.human_eval.forms import make_forms, make_key
from magic_cli.human_eval.stories import Item

PHOTO = "data:image/jpeg;base64,AAAA"


def items(count=4, systems=("magic", "nucleus", "human")):
    return [
        Item(f"id{i}", f"Title {i}", {name: f"Story {i} number {s}." for s, name in enumerate(systems)}) for i in range(count)
    ]


def study(count=4, annotators=2, photos=(0, 1), seed=0, systems=("magic", "nucleus", "human")):
    """Forms and key; the titles whose numbers are in ``photos`` have one."""
    forms = make_forms(items(count, systems), {f"id{i}": PHOTO for i in photos}, annotators=annotators, seed=seed)
    return forms, make_key(forms, {name: f"{name}.jsonl" for name in systems}, seed)


def answers(form, key, score):
    """The answer file of a form; ``score(item id, system, aspect)`` gives each answer, None: none."""
    cards = key["forms"][form.id]["cards"]
    given = {}
    for name in form.questions():
        number, letter, aspect = name.split(".")
        card = cards[int(number) - 1]
        if (value := score(card["id"], card["letters"][letter], aspect)) is not None:
            given[name] = value
    return answer_document(form, key, given)


def answer_document(form, key, given):
    """The answer file of a form with these answers."""
    document = {
        "kind": "magic human-eval answers 1", "study": key["study"], "form": form.id, "annotator": form.annotator,
        "complete": len(given) == len(form.questions()), "answers": given,
    }  # fmt: skip
    return document | {"checksum": checksum(document, form.questions())}


def random_answers(form, key, seed=0):
    rng = random.Random(f"{seed} {form.id}")
    return answers(form, key, lambda item, system, aspect: rng.randint(1, 5))
