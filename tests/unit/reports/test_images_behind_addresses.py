"""Images behind addresses: pages, forms and calls from Python show them like files of this machine."""

from pathlib import Path

import fsspec
import pytest

from magic_cli.api.images import is_one, pictures
from magic_cli.api.items import caption_item
from magic_cli.data.answers import answers_of
from magic_cli.errors import MagicError
from magic_cli.human_eval.stories import Item, find_photo
from magic_cli.reports.contact_sheet import contact_sheet
from magic_cli.reports.interleaved import interleaved_page


def _run(folder):
    folder.mkdir(exist_ok=True)
    return folder


PLACES = ["memory://shown/1.jpg", "memory://shown/2.jpg"]


@pytest.fixture
def photos(tiny_photos):
    """Two photos of this machine, the same as behind the two addresses."""
    files, system = sorted(tiny_photos.iterdir())[:2], fsspec.filesystem("memory")
    for file, place in zip(files, PLACES, strict=True):
        system.pipe(place.removeprefix("memory:/"), file.read_bytes())
    yield files
    system.rm("/shown", recursive=True)


@pytest.mark.parametrize("embedded", [True, False])
def test_pages_show_them_inside(photos, tmp_path, embedded):
    step = {"parts": [{"image": PLACES[0]}], "text": "a dog", "image": None, "target": [{"image": PLACES[1]}]}
    page = interleaved_page([{"id": "1", "steps": [step]}], tmp_path, total=1, embedded=embedded)
    found = [{"image": place, "id": "a", "score": 0.5} for place in (PLACES[0], str(photos[0]))]
    sheet = contact_sheet([{"query": "q", "images": found}], tmp_path, total=1, embedded=embedded)
    assert page.count("data:image/") == 2 and sheet.count("data:image/") == 1 + embedded, "files may be links instead"
    assert str(answers_of({"steps": [step]}, tmp_path, "x")[0].true_image) == PLACES[1]


def test_photos_of_a_title_are_compared_by_their_content(photos, tmp_path):
    def item(*names):
        return Item("1", "A day", {}, tuple((_run(tmp_path / f"{number}"), name) for number, name in enumerate(names)))

    assert str(find_photo(item(PLACES[0], str(photos[0])), images=None, may_lack=False)) == PLACES[0]
    with pytest.raises(MagicError, match="the systems' photos differ .*shown/1.jpg.*shown/2.jpg"):
        find_photo(item(*PLACES), images=None, may_lack=False)


def test_calls_from_python_take_them(photos):
    away, here = pictures([PLACES[0], str(photos[0])])
    assert (away.id, away.file, here.file) == ("1.jpg", PLACES[0], str(photos[0]))
    assert caption_item(away).path.read_bytes() == photos[0].read_bytes()
    assert is_one(PLACES[0]) and [one.id for one in pictures("memory://shown/")] == ["1.jpg", "2.jpg"]
    assert is_one(Path("memory:")) and not is_one("memory://shown/")
