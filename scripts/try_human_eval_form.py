"""Fill forms of human evaluation in a real headless Chromium, reload half-way, export, and score what came out.

    python scripts/try_human_eval_form.py                            # needs chromium and chromedriver on PATH
    python scripts/try_human_eval_form.py --screenshots shots/       # also keeps pictures of the form

Forms of stories and forms of pairs. Everything is checked: that answers survive the reload, that an unfinished export happens only
knowingly, and that `magic human-eval score` finds exactly the means, or the shares of wins, that were filled in.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import Browser, BrowserFault, browser, check

PHOTOS = Path(__file__).resolve().parents[1] / "data" / "photos"
STORIES = {
    "careful": "{title} was all we talked about. We packed a bag in the morning. It rained, so we waited. Then we went. We were glad.",
    "wild": "The moon ate <b>my homework</b> & laughed. {title}! {title}! Nobody knew why. The end was near. It was only Tuesday.",
    "dull": "There was a thing. It was a thing. The thing was there. It was a thing again. It stayed a thing.",
}
ASPECTS = ("relevance", "fluency", "informativeness", "story_image_relevance")
PAIR_QUESTIONS = ("language", "image_quality", "coherence")


def magic(*words: str) -> str:
    """stdout of a magic command."""
    answer = subprocess.run([sys.executable, "-m", "magic_cli", *words], capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"magic {' '.join(words)}: {answer.stderr}")
    return answer.stdout


def make_study(folder: Path) -> Path:
    """Two forms about five titles, four of them with a photo, by three systems; returns their folder."""
    photos = sorted(PHOTOS.glob("*.jpg"))
    for name, story in STORIES.items():
        records = [
            {"id": str(i), "title": f"A Day With the {photo.stem.title()}", "story": story.format(title=photo.stem.title()),
             **({"image": str(photo)} if i else {})}
            for i, photo in enumerate(photos)
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    files = [str(folder / f"{name}.jsonl") for name in STORIES]
    magic("human-eval", "make", *files, "items=null", "annotators=2", "--output", str(folder / "forms"))
    return folder / "forms"


def fill(page: Browser, form: Path, wanted: dict[str, int], downloads: Path, shots: Path | None) -> Path:
    """Fill a form as a person would, and export it; returns the answer file."""
    page.open(form)
    names = page.run("return [...document.querySelectorAll('fieldset[data-question]')].map(q => q.dataset.question)")
    check(names == list(wanted), f"{form.name} asks the {len(wanted)} questions of its key, in order")
    check(
        page.run("return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0,
        "nothing is loaded from outside",
    )
    if shots:
        page.screenshot(shots / f"{form.stem}-introduction.png")
    half = list(wanted)[: len(wanted) // 2]
    answer(page, {name: wanted[name] for name in half})
    page.reload()
    kept = page.run("return [...document.querySelectorAll('input:checked')].map(i => [i.name, Number(i.value)])")
    check(dict(kept) == {name: wanted[name] for name in half}, f"all {len(half)} answers are there after the reload")
    check(page.run("return document.querySelector('#progress').value") == len(half), "the progress bar shows them")
    if shots:
        page.screenshot(shots / f"{form.stem}-half-way.png")
    page.click("#export")
    check(page.run("return document.querySelector('#incomplete').open") is True, "exporting unfinished answers asks first")
    check(not list(downloads.glob(f"answers-{form.stem[5:]}*")), "and saves nothing")
    if shots:
        page.screenshot(shots / f"{form.stem}-unfinished.png")
    page.click("#export-partial")
    unfinished = json.loads(saved(downloads / f"answers-{form.stem[5:]}-unfinished.json").read_text())
    check(not unfinished["complete"] and len(unfinished["answers"]) == len(half), "an unfinished export says so")
    answer(page, {name: wanted[name] for name in wanted if name not in half})
    if shots:
        page.screenshot(shots / f"{form.stem}-finished.png")
    page.click("#export")
    file = saved(downloads / f"answers-{form.stem[5:]}.json")
    check(json.loads(file.read_text())["answers"] == wanted, "the exported answers are those that were given")
    return file


def try_without_storage(folder: Path, form: Path) -> None:
    """In a browser that keeps nothing the form says so, and still exports."""
    with browser(folder, keeps_nothing=True) as page:
        page.open(form)
        check(
            page.run("return document.querySelector('#storage-warning').hidden") is False,
            "where nothing is kept, the form says so",
        )
        page.click("#titles button:nth-child(2)")
        page.press("5")
        page.click("#export")
        page.click("#export-partial")
        answers = json.loads(saved(folder / "downloads" / "answers-1-unfinished.json").read_text())["answers"]
        check(list(answers.values()) == [5], "and still exports")


def answer(page: Browser, wanted: dict[str, int]) -> None:
    """Each title's questions: the first by a click, the others by number keys, which go on to the next question."""
    for card in dict.fromkeys(name.partition(".")[0] for name in wanted):
        page.click(f"#titles button:nth-child({int(card) + 1})")
        first, *others = [name for name in wanted if name.partition(".")[0] == card]
        page.click(f"input[name='{first}'][value='{wanted[first]}']")
        page.run(
            "document.querySelectorAll(`input[name='${arguments[0]}']`)[0].closest('fieldset').querySelector('input:checked').focus()",
            first,
        )
        page.press("".join(str(wanted[name]) for name in [first, *others]))


def saved(file: Path, seconds: float = 20) -> Path:
    """The file, once the browser has saved it."""
    deadline = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    check(file.exists(), f"{file.name} was saved")
    return file


def scores_to_give(key: dict, form: str, rng: random.Random) -> dict[str, int]:
    """A score for every question of a form; the careful system gets the best ones."""
    least = {"careful": 3, "wild": 2, "dull": 1}
    return {
        f"{number}.{letter}.{aspect}": rng.randint(least[system], least[system] + 2)
        for number, card in enumerate(key["forms"][form]["cards"], start=1)
        for letter, system in card["letters"].items()
        for aspect in ASPECTS
        if card["photo"] or aspect != ASPECTS[-1]
    }


def expected_means(key: dict, given: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Mean of all scores that were given to each system in each aspect."""
    scores: dict[tuple[str, str], list[int]] = {}
    for form, answers in given.items():
        for name, score in answers.items():
            number, letter, aspect = name.split(".")
            scores.setdefault((key["forms"][form]["cards"][int(number) - 1]["letters"][letter], aspect), []).append(score)
    return {
        system: {aspect: sum(found) / len(found) for (of, aspect), found in scores.items() if of == system} for system in STORIES
    }


def make_pairs(folder: Path) -> Path:
    """Two forms about five items that two systems have answered in two steps, one with a picture; returns their folder."""
    photos = sorted(PHOTOS.glob("*.jpg"))[:5]
    for name, text in (("ours", "And so <b>it</b> went on & on."), ("theirs", "Nobody knows.")):
        (folder / name / "images").mkdir(parents=True)
        records = []
        for i, photo in enumerate(photos):
            shutil.copy(photo if name == "ours" else photos[0], folder / name / "images" / f"{i}.jpg")
            steps = [
                {"parts": [{"text": "A walk in town."}, {"image": str(photo)}], "text": text, "image": None},
                {"parts": [{"text": "What next?"}], "text": f"{text} Again.", "image": f"images/{i}.jpg"},
            ]
            records.append({"id": f"walk-{i}", "text": text, "steps": steps})
        (folder / name / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    runs = [str(folder / name) for name in ("ours", "theirs")]
    magic("human-eval", "make", "kind=pairs", *runs, "items=null", "annotators=2", "--output", str(folder / "forms"))
    return folder / "forms"


def try_pairs(folder: Path, rng: random.Random, shots: Path | None) -> None:
    """Fill forms of pairs and score them."""
    folder.mkdir()
    forms = make_pairs(folder)
    key = json.loads((forms / "key.json").read_text())
    lefts = [[card["letters"]["A"] for card in form["cards"]].count("ours") for form in key["forms"].values()]
    check(all(left in (2, 3) for left in lefts) and sum(lefts) == 5, f"sides are balanced: ours is A in {lefts} of 5 pairs each")
    given = {
        form: {f"{number}.{question}": rng.randint(1, 3) for number in range(1, 6) for question in PAIR_QUESTIONS}
        for form in key["forms"]
    }
    with browser(folder) as page:
        files = [
            fill(page, forms / f"form-{key['forms'][form]['annotator']}.html", wanted, folder / "downloads", shots)
            for form, wanted in given.items()
        ]
    print(magic("human-eval", "score", *map(str, files), "--key", str(forms / "key.json"), "bootstrap.samples=1000"), end="")
    found = json.loads((forms / "scores.json").read_text())["preferences"]
    for question in PAIR_QUESTIONS:
        wins = sum(
            answers[f"{number}.{question}"] == (1 if card["letters"]["A"] == "ours" else 3)
            for form, answers in given.items()
            for number, card in enumerate(key["forms"][form]["cards"], start=1)
        )
        check(
            abs(found[question]["wins"]["share"] - wins / 10) < 1e-9, f"{question}: the share of wins is that which was filled in"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the form")
    parser.add_argument("--seed", type=int, default=0, help="of the scores that are given")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forms = make_study(folder)
        key = json.loads((forms / "key.json").read_text())
        rng = random.Random(args.seed)
        given = {form: scores_to_give(key, form, rng) for form in key["forms"]}
        with browser(folder) as page:
            files = [
                fill(page, forms / f"form-{key['forms'][form]['annotator']}.html", wanted, folder / "downloads", args.screenshots)
                for form, wanted in given.items()
            ]
        try_without_storage(folder / "blocked", forms / "form-1.html")
        words = [*map(str, files), "--key", str(forms / "key.json"), "bootstrap.samples=1000"]
        print(magic("human-eval", "score", *words), end="")
        scored = json.loads((forms / "scores.json").read_text())["systems"]
        found = {system: {aspect: scores["mean"] for aspect, scores in aspects.items()} for system, aspects in scored.items()}
        expected = expected_means(key, given)
        close = all(abs(found[system][aspect] - mean) < 1e-9 for system in expected for aspect, mean in expected[system].items())
        check(close and found.keys() == expected.keys(), "magic human-eval score finds the means that were filled in")
        try_pairs(folder / "pairs", rng, args.screenshots and args.screenshots / "pairs")


if __name__ == "__main__":
    try:
        main()
    except BrowserFault as fault:
        sys.exit(str(fault))
