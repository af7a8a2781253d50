"""What the live page rests on: wishes that equal the command line, captions token by token, photos that are refused, folders that go."""

import json
import shlex
import struct
import threading
import zlib
from types import SimpleNamespace

import pytest
from PIL import Image

from magic_cli.cli.main import main
from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.data.images import UnreadableImage
from magic_cli.errors import MagicError
from magic_cli.live.cards import Card, cards_html, inspector_html, photo_html, problem_html
from magic_cli.live.photos import check_photo
from magic_cli.live.sessions import Workplace
from magic_cli.live.wishes import Wish
from magic_cli.live.writing import Loaded, Stopped, write_caption

SLIDERS = (("alpha", 0.3), ("beta", 1.5), ("k", 4))
SAME = ("predictions.jsonl", "trace.jsonl", "failures.jsonl")


@pytest.fixture
def photo(tiny_photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "it's [1], $x.jpg"
    file.write_bytes(sorted(tiny_photos.iterdir())[0].read_bytes())
    return file


def write(wish, photo, folder, loaded, stop=None):
    return list(write_caption(wish, photo, folder, loaded, stop or threading.Event()))


@pytest.mark.parametrize("method", ["magic", "contrastive", "nucleus", "beam", "rerank"])
def test_shown_command_line_gives_the_same_files(method, models, photo, tmp_path):
    wish, loaded = Wish(models, method, SLIDERS, seed=3), Loaded()
    told = write(wish, photo, tmp_path / "live", loaded)
    assert told[-1].is_done and told[-1].text
    words = shlex.split(wish.command(photo.name))
    assert words[:4] == ["magic", "caption", "--image", photo.name]
    assert ("decoding.alpha=0.3" in words) == (method in ("magic", "contrastive")) and ("run.seed=3" in words) == (
        method == "nucleus" or method == "rerank"
    )
    assert main([*words[1:], "run.dir=command"]) == 0
    for name in SAME:
        mine, theirs = ((tmp_path / folder / name) for folder in ("live", "command"))
        assert mine.is_file() == theirs.is_file()
        if mine.is_file():
            assert mine.read_text().replace(str(photo), photo.name) == theirs.read_text()


def test_text_grows_token_by_token_and_models_are_loaded_once(models, photo, tmp_path):
    loaded = Loaded()
    told = write(Wish(models, "magic", SLIDERS), photo, tmp_path / "one", loaded)
    texts = [one.text for one in told]
    steps = len((tmp_path / "one" / "trace.jsonl").read_text().splitlines())
    assert len(texts) == steps + 2 and [one.is_done for one in told] == [False] * (steps + 1) + [True]
    assert all(len(a) <= len(b) for a, b in zip(texts[:-1], texts[1:-1], strict=False)) and texts[0] == ""
    kept = loaded.shelf.language_model
    again = write(Wish(models, "magic", SLIDERS), photo, tmp_path / "two", loaded)
    assert again == told and loaded.shelf.language_model == kept and len(loaded.shelf._kept) == 2
    works = [json.loads((tmp_path / name / "manifest.json").read_text())["sessions"][0]["work"] for name in ("one", "two")]
    assert works[0]["lm_positions"] == works[1]["lm_positions"], "each run counts its own work"


@pytest.mark.parametrize("gives_up", [False, True])
def test_caption_stops_between_two_tokens_and_its_thread_with_it(gives_up, models, photo, tmp_path):
    stop, loaded = threading.Event(), Loaded()
    telling = write_caption(Wish(models, "magic", SLIDERS), photo, tmp_path / "run", loaded, stop)
    next(telling), next(telling)
    if gives_up:
        telling.close()
    else:
        stop.set()
        with pytest.raises(Stopped):
            list(telling)
    assert not any(thread.name == "magic live" for thread in threading.enumerate()) and not loaded.lock.locked()
    assert not (tmp_path / "run" / "predictions.jsonl").exists()


def test_what_cannot_be_written_says_why(models, photo, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(MagicError, match="no caption: .*(?i:truncated)"):
        write(Wish(models, "magic", SLIDERS), broken, tmp_path / "run", Loaded())
    with pytest.raises(MagicError, match="k must be at most|k=|decoding.k"):
        write(Wish(models, "magic", (("alpha", 0.1), ("beta", 1.0), ("k", 10**6))), photo, tmp_path / "other", Loaded())


def huge_png(width, height):
    """The head of a PNG that would have so many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + zlib.compress(b"")[:10]


@pytest.mark.filterwarnings("ignore:Image size")
def test_photos_that_cannot_be_captioned_are_refused_in_one_line(photo, tmp_path):
    def refusal(name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImage) as error:
            check_photo(tmp_path / name, max_megabytes=1, max_megapixels=50)
        assert "\n" not in str(error.value)
        return str(error.value)

    check_photo(photo, max_megabytes=1, max_megapixels=50)
    assert refusal("notes.txt", b"a text") == "notes.txt is not an image; drop a photo: JPEG, PNG, WebP, GIF, BMP or TIFF"
    assert refusal("cut.jpg", photo.read_bytes()[:300]).startswith("cut.jpg is damaged (")
    assert refusal("sea.png", huge_png(10_000, 10_000)).startswith("sea.png has 100 megapixels, and this page takes at most 50; ")
    assert refusal("space.png", huge_png(100_000, 100_000)).startswith("space.png has too many megapixels")
    assert refusal("big.jpg", b"x" * 2_000_000) == "big.jpg has 2 MB, and this page takes at most 1; make it smaller"


def test_nothing_in_a_card_is_markup():
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>${alert(1)}"
    shown = cards_html([Card(evil, evil, "done", evil, 1.0), Card(evil, evil, "failed", evil)]) + problem_html(evil)
    shown += photo_html(evil, evil) + inspector_html(evil)
    assert "<script" not in shown and "<img src=x" not in shown and "'><" not in shown and shown.count("<img") == 1


def test_visitors_leave_nothing_behind(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    killed = tmp_path / "tmp" / "magic-live-killed"
    killed.mkdir(parents=True)
    (killed / ".lock").touch()
    (killed / "photo.jpg").touch()
    workplace = Workplace()
    other = Workplace()
    assert not killed.exists() and workplace.folder.exists(), "only what nobody uses is deleted"
    session = workplace.session("a")
    taken = session.take(tmp_path / photo.name)
    (session.begin() / "run").mkdir()
    assert taken.is_file() and not photo.exists()
    page = session.folder / "steps.html"
    page.touch()
    name = workplace.publish(page)
    assert workplace.page(name) == page and workplace.page("other") is None
    stop = session.stop
    workplace.leave("a")
    assert stop.is_set() and not session.folder.exists() and workplace.page(name) is None
    assert workplace.session("../../b").begin().is_relative_to(workplace.folder / "visitors")
    workplace.close()
    other.close()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_damaged_photo_takes_the_captions_of_the_last_one_away(photo, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "next.png")
    workplace = Workplace()
    try:
        session = workplace.session("a")
        session.take(photo)
        (session.begin() / "magic").mkdir()
        session.take(tmp_path / "next.png")
        assert session.photo.name == "next.png" and [file.name for file in session.folder.rglob("*") if file.is_file()] == [
            "next.png"
        ]
        assert list(session.folder.glob("runs-*/*")) == []
    finally:
        workplace.close()


def test_request_gets_an_empty_folder_where_no_stopping_run_writes_a_last_file():
    workplace = Workplace()
    try:
        session = workplace.session("a")
        first = session.begin()
        second = session.begin()
        assert not first.exists() and list(second.iterdir()) == []
        first.mkdir()
        (first / "late").touch()
        assert list(session.begin().iterdir()) == [] and not first.exists()
    finally:
        workplace.close()


@pytest.mark.parametrize("then", ["another photo", "no photo", "the steps are due"])
def test_photo_that_is_dropped_meanwhile_never_gets_the_captions_of_the_one_before(then, models, photo, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra `live`")
    from magic_cli.live.page import Studio

    Image.new("RGB", (40, 40)).save(tmp_path / "next.png")
    studio, request = Studio(LiveSettings(run=models.machine), Workplace()), SimpleNamespace(session_hash="a")
    try:
        session = studio.workplace.session("a")
        session.take(photo)
        chosen = (models.language_model, models.image_text_model, ["greedy", "contrastive"], 0.3, 1.5, 4, 0)
        telling = studio.write(*chosen, request=request)
        shown, *_ = next(telling)
        while then == "the steps are due" and shown.count('data-state="done"') < 2:
            shown, *_ = next(telling)
        if then == "no photo":
            session.drop_photo()
        else:
            session.take(tmp_path / "next.png")
        for shown, steps, download in telling:
            assert 'data-state="done"' not in shown and "next.png" not in shown and steps == "" and not download.value
        assert list(session.folder.glob("runs-*/*")) == []
    finally:
        studio.workplace.close()


def test_page_chooses_the_models_of_the_command_line_at_first():
    for group in ("language_model", "image_text_model"):
        offered = LiveSettings().offered(group)
        assert offered[0] == "embedded" and len(offered) == len(set(offered)) > 3
    assert LiveSettings(language_models=["gpt2", "embedded"]).offered("language_model") == ["gpt2", "embedded"]


def test_settings_name_what_is_wrong():
    with pytest.raises(MagicError, match="methods: magik is unknown; did you mean"):
        LiveSettings(methods=["magik"])
    with pytest.raises(MagicError, match="port must be"):
        LiveSettings(port=70000)
    with pytest.raises(MagicError, match=r"language_models=\[\]: name one"):
        LiveSettings(language_models=[])
