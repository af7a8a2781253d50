"""Thumbnails of a page: each image once, and what cannot be shown says why."""

import base64
import io

import fsspec
import pytest
from PIL import Image

from magic_cli.data.stored_images import RemoteImage
from magic_cli.report_page import pictures
from magic_cli.report_page.pictures import PictureList
from magic_cli.report_page.settings import Pictures


@pytest.fixture
def photos(tmp_path):
    for name, size in {"a.jpg": (600, 300), "b.jpg": (300, 600), "small.png": (20, 10)}.items():
        Image.new("RGB", size, "red").save(tmp_path / name)
    return tmp_path


def make(photos, kind=Pictures.auto):
    listed = PictureList(kind, 100, photos / "page.html")
    return listed, [listed.number(photos / name) for name in ("a.jpg", "b.jpg", "a.jpg", "small.png", "missing.jpg")]


def test_each_image_is_in_the_page_once_and_small(photos):
    listed, numbers = make(photos)
    assert numbers == [0, 1, 0, 2, 3] and listed.number(None) is None
    made = listed.make()
    sizes = [Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2]))).size for one in made[:3]]
    assert sizes == [(100, 50), (50, 100), (20, 10)]
    assert [one["src"].partition(";")[0] for one in made[:3]] == ["data:image/webp", "data:image/webp", "data:image/png"]
    assert made[3] == {"name": "missing.jpg", "fault": "no such file"}
    assert not listed.folder.exists()


def test_linked_thumbnails_are_made_once_and_old_ones_go(photos, monkeypatch):
    listed, _ = make(photos, Pictures.links)
    made = listed.make()
    files = {photos / one["src"] for one in made[:3]}
    assert files == set(listed.folder.iterdir()) and all(Image.open(file).size <= (100, 100) for file in files)
    earlier, own = listed.folder / f"{'0a' * 12}.img", listed.folder / "of-the-user.img"
    earlier.touch(), own.touch()
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "thumbnail", None)  # must not be called
        again = make(photos, Pictures.links)[0]
        assert again.make() == made and earlier.exists(), "the page that shows it is still there"
    again.delete_others(made)
    assert {*files, own} == set(listed.folder.iterdir())
    embedded, _ = make(photos, Pictures.embedded)
    embedded.delete_others(embedded.make())
    assert [own] == list(listed.folder.iterdir())
    own.unlink()
    embedded.delete_others([])
    assert not listed.folder.exists()


def test_image_behind_an_address_is_shown_as_it_is_now_or_not_at_all(photos, monkeypatch):
    listed = PictureList(Pictures.links, 100, photos / "page.html")
    for place in ("memory://page/a.jpg", "nosuch://page/b.jpg"):
        listed.number(RemoteImage(place))
    system = fsspec.filesystem("memory")
    system.pipe("/page/a.jpg", (photos / "a.jpg").read_bytes())
    first, missing = listed.make()
    assert "src" in first and missing["name"] == "b.jpg" and "is no known kind of address" in missing["fault"]
    with monkeypatch.context() as patch:
        patch.setattr(type(system), "info", lambda self, path: {"name": path, "size": 1})  # it does not tell versions apart
        one = listed.make()[0]
        system.pipe("/page/a.jpg", (photos / "b.jpg").read_bytes())
        two = listed.make()[0]
    assert [Image.open(photos / made["src"]).size for made in (one, two)] == [(100, 50), (50, 100)]
    system.rm("/page", recursive=True)


def test_many_images_are_linked_and_none_can_be_asked_for(photos, monkeypatch):
    monkeypatch.setattr(pictures, "EMBEDDED_AT_MOST", 3)
    assert not make(photos)[0].are_embedded and make(photos, Pictures.embedded)[0].are_embedded
    listed, numbers = make(photos, Pictures.none)
    assert numbers == [None] * 5 and listed.make() == []
