"""The page of ``magic report`` in a real browser: search, filter, sort, items, the inspector, keyboard, phone width."""

import pytest
from PIL import Image

from magic_cli.report_page.pictures import PictureList
from magic_cli.report_page.settings import Pictures
from magic_cli.report_page.traces import read_traces, weights
from magic_cli.report_page.writing import page as html_of
from tests.files import written
from tests.unit.report_page.pages import contents

RIGHT, LEFT = "\ue014", "\ue012"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The page of two systems and 60 items, of which one is traced."""
    folder = tmp_path_factory.mktemp("page")
    file = folder / "page.html"
    file.write_text(html_of("magic and greedy", contents(folder), []))
    return file


@pytest.fixture
def report(page, small):
    return page(small)


def shown(report):
    """Ids of the items that are drawn."""
    return [int(item) for item in report.run("return [...document.querySelectorAll('.card')].map(card => card.dataset.place)")]


def told(report, selector):
    return report.run(f"return document.querySelector({selector!r}).textContent")


def enter(report, field, value):
    report.run(
        "const [id, value] = arguments, field = document.getElementById(id); field.value = value;"
        "field.dispatchEvent(new Event('input', { bubbles: true }))",
        field,
        value,
    )


def settled(report, told_count):
    report.wait(f"document.querySelector('#shown').textContent.startsWith('{told_count}')")


def test_items_are_drawn_as_far_as_one_looks(report):
    assert told(report, "#shown") == "60 images" and shown(report) == list(range(len(shown(report))))
    assert 24 <= len(shown(report)) < 60
    for drawn in (48, 60):  # scrolled again and again: photos that arrive late push the end away
        report.wait(f"(document.querySelector('#more').scrollIntoView(), document.querySelectorAll('.card').length >= {drawn})")
    assert shown(report) == list(range(60)) and report.run("return document.querySelector('#more').hidden")


def test_screen_that_is_taller_than_the_list_is_filled(report):
    report.emulate(width=1280, height=9000)
    report.wait("document.querySelectorAll('.card').length === 60")
    report.choose("#order", "down")  # draws anew, while the end of the list never leaves the screen
    report.wait("document.querySelector('.card').dataset.place === '59' && document.querySelectorAll('.card').length === 60")


def test_search_filter_and_sort_choose_the_items(report):
    enter(report, "search", "DOGS magic")
    settled(report, "30 of 60")
    assert set(shown(report)) <= set(range(1, 60, 2))
    report.click("#clear")
    settled(report, "60 images")
    report.choose("#order", "down")
    report.wait("document.querySelector('.card').dataset.place === '59'")
    assert shown(report)[:3] == [59, 58, 57]
    report.choose("#order", "up")
    report.wait("document.querySelector('.card').dataset.place === '0'")
    enter(report, "least", "55")
    settled(report, "5 of 60")
    assert shown(report) == [55, 56, 57, 58, 59]
    enter(report, "most", "56.5")
    settled(report, "2 of 60")
    assert shown(report) == [55, 56] and "CIDEr 55.0" in told(report, ".card")


def test_difference_of_two_systems_sorts_and_filters(report):
    report.choose("#minus", "1")
    report.choose("#order", "down")
    enter(report, "least", "28")
    settled(report, "2 of 60")
    assert shown(report) == [59, 58] and "Difference +29.0" in told(report, ".card")
    report.choose("#system", "1")
    report.choose("#minus", "0")
    enter(report, "least", "29.5")
    settled(report, "1 of 60")
    assert shown(report) == [0]  # item 7, which has no score, is never among them


def test_item_opens_by_a_click_and_by_its_address(page, report, small):
    report.click(".card:nth-child(4) a")
    report.wait("!document.querySelector('#view-item').hidden")
    assert told(report, "#heading-item") == "3" and "greedy says 3 of dogs" in told(report, "#view-item")
    assert report.run("return document.activeElement.id") == "heading-item"
    assert report.run("return location.hash") == "#item=3"
    assert "27.0" not in told(report, "#view-item") and "30.0, the best" in told(report, "#view-item")
    report.click("#view-item .steps a:last-child")
    report.wait("document.querySelector('#heading-item').textContent === '4'")
    report.open(f"{small.resolve().as_uri()}#item=42")
    report.wait("document.querySelector('#heading-item')?.textContent === '42'")
    report.open(f"{small.resolve().as_uri()}#item=nobody")
    report.wait("document.querySelector('#shown').textContent.startsWith('There is no image nobody')")


def test_other_views_show_measures_histograms_runs_and_failures(report):
    for view, parts in {
        "measures": [
            "magic6050.0, the best40.0 to 60.010.00greedy6030.020.0 to 40.010.00",
            "greedy less magic",
            "-20.0",
            "0.0010",
            "1,000 random swaps",
        ],
        "histograms": ["CIDEr of magic: 59 images from 0.0 to 59.0"],
        "runs": ["texts encoded77", "decoding.methodmagicgreedy", "2.00"],
        "failures": ["99greedybroken.jpgno such filefailed"],
    }.items():
        report.click(f"nav a[data-view={view}]")
        report.wait(f"!document.querySelector('#view-{view}').hidden")
        for part in parts:
            assert part in told(report, f"#view-{view}"), part
    assert "run.seed" not in told(report, "#view-runs")  # both have the same


def test_thumbnails_in_a_folder_beside_the_page_are_seen(page, tmp_path):
    file = tmp_path / "50 % of it?" / "page.html"
    file.parent.mkdir()
    pictures = PictureList(Pictures.links, 64, file)
    found = contents(tmp_path)
    for item in found["items"]:
        photo = tmp_path / f"{item['id']}.png"
        Image.new("RGB", (96, 70 + int(item["id"])), "teal").save(photo)
        item["image"] = pictures.number(photo)
    file.write_text(html_of("linked", found, pictures.make()))
    report = page(file)
    report.wait("document.querySelectorAll('.card img').length >= 24")
    report.wait("[...document.querySelectorAll('.card img')].slice(0, 6).every((image) => image.naturalWidth === 64)")


def open_traced(report):
    report.run("location.hash = '#item=1'")
    report.wait("document.querySelectorAll('.token').length === 2")


def test_inspector_shows_what_was_chosen_and_what_other_weights_would(report):
    open_traced(report)
    assert told(report, "#outcome") == "These are the run's own weights."
    rows = report.run(
        "return [...document.querySelectorAll('.candidates tbody tr')].map(row => row.innerText.split('\\t').join('|'))"
    )
    assert [row.split("|")[0].strip() for row in rows] == ["dog", "cat"]
    assert "the run's choice" in rows[0] and "runner-up" in rows[1] and "0.5000" in rows[0] and "1.9000" in rows[0]
    enter(report, "weight-beta", "0")
    enter(report, "weight-alpha", "0.5")
    # 0.5 p - 0.5 penalty: dog 0, cat 0.0625
    assert told(report, "#outcome") == "Step 1 would choose cat instead of dog. Later steps need decoding again."
    report.click(".tokens li:nth-child(2) button")
    assert "this step needs decoding again" in told(report, "#step") and "not evaluated" in told(report, "#step")
    report.click("#own-weights")
    assert told(report, "#outcome") == "These are the run's own weights."


def test_inspector_does_not_guess_what_a_penalty_that_was_not_evaluated_would_do(report):
    open_traced(report)
    enter(report, "weight-beta", "0.5")
    # dog stays; of the second step the first token's penalty is unknown: 0.9 x 0.5 -+ 0.1 against 0.9 x 0.25 - 0.0125 + 0.5
    assert told(report, "#outcome").startswith("Every step would choose the same")
    enter(report, "weight-beta", "0.25")
    assert told(report, "#outcome").startswith("Step 2: not known, because penalties that decide it were not evaluated")


def test_inspector_says_that_rounding_may_decide_an_earlier_step(report):
    open_traced(report)
    enter(report, "weight-beta", "0")
    enter(report, "weight-alpha", "0.399999")  # 0.25 - 0.625 alpha is dog's lead in the first step
    assert told(report, "#outcome").startswith("Step 2: not known")
    assert told(report, "#outcome").endswith("Step 1 is so close that rounding may decide it otherwise.")


def test_inspector_weighs_the_second_model_of_a_run_whose_beta_is_0(page, tmp_path):
    found = contents(tmp_path)
    step = {
        "id": "1", "step": 0, "choice": 1, "token_ids": [1, 2, 3], "p": [0.5, 0.25, 0.25], "penalty": [0.0, 0.1, None],
        "f": [0.75, 0.3, 0.29], "tokens": [" dog", " cat", " cow"],
    }  # fmt: skip
    found["traces"][0], found["tokens"][0] = read_traces(written(tmp_path, "second.jsonl", [step]), {"1": 1}, limit=5)
    decoding, guides = {"method": "magic", "alpha": 0.1, "beta": 0.0}, {"second_model": {"weight": 1.0}}
    found["systems"][0]["weights"] = weights({"decoding": decoding, "guides": guides})
    file = tmp_path / "page.html"
    file.write_text(html_of("two guides", found, []))
    report = page(file)
    report.run("location.hash = '#item=1'")
    report.wait("document.querySelectorAll('.token').length === 1")
    assert told(report, "#outcome") == "These are the run's own weights."
    shown = told(report, "#step")
    assert "second model's score" in shown and "image score" not in shown and "1.2000" in shown
    assert "runner-up" not in shown, "cow's total, 0.415 to 0.615, may be above cat's, 0.515"
    enter(report, "weight-beta", "1")
    assert "the image's score was not computed" in told(report, "#outcome")


def test_inspector_is_walked_through_by_keyboard(report):
    open_traced(report)
    report.run("document.querySelector('.token').focus()")
    report.press(RIGHT)
    assert "Step 2 of 2, after dog" in told(report, "#step")
    assert report.run("return document.activeElement.getAttribute('aria-label')") == "Step 2:  sits"
    report.press(LEFT)
    assert "Step 1 of 2, after nothing" in told(report, "#step")
