"""Models that are damaged, and machines without room, on the live page: one line in the caption's card, and the page lives on."""

import errno
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import OutOfMemoryError

from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.live.sessions import Workplace


@pytest.fixture
def photo(tiny_photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return sorted(tiny_photos.iterdir())[0]


def _half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("group", "file", "spoil", "said"),
    [
        ("language_model", "model.safetensors", _half, "cannot be loaded (SafetensorError: "),
        ("image_text_model", "model.safetensors", _half, "cannot be loaded (SafetensorError: "),
        ("language_model", "tokenizer.json", Path.unlink, "no tokenizer in "),
    ],
)
def test_model_that_is_damaged_is_said_in_its_card_and_the_others_go_on_writing(
    group, file, spoil, said, models, photo, tmp_path
):
    damaged = tmp_path / "damaged"
    shutil.copytree(getattr(models, group), damaged)
    spoil(damaged / file)
    with _studio(models) as studio:
        for _ in range(2):
            assert _last_shown(photo, studio, models).count('data-state="done"') == 1
            shown = _last_shown(photo, studio, replace(models, **{group: str(damaged)}))
            assert f'<span role="alert">{group}.path={damaged}: {said}' in shown and shown.count("<p ") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full (No space left on device); free some space; then write",
        ),
        (OutOfMemoryError("CUDA out of memory"), "run.device=auto: out of memory with run.batch_size=1; choose a smaller model"),
    ],
)
def test_machine_without_room_is_said_in_the_card(error, said, models, photo, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("magic_cli.live.writing.write_texts", fail)
    with _studio(models) as studio:
        assert f'<span role="alert">{said}' in _last_shown(photo, studio, models)


@contextmanager
def _studio(models):
    pytest.importorskip("gradio", reason="needs the extra `live`")
    from magic_cli.live.page import Studio

    studio = Studio(LiveSettings(run=models.machine), Workplace())
    try:
        yield studio
    finally:
        studio.workplace.close()


def _last_shown(photo, studio, models):
    """What the page shows when a caption by MAGIC is there."""
    upload = studio.workplace.folder / photo.name
    shutil.copy(photo, upload)
    studio.workplace.session("a").take(upload)
    chosen = (models.language_model, models.image_text_model, ["magic"], 0.3, 1.5, 4, 0)
    *_, (shown, _, _) = studio.write(*chosen, request=SimpleNamespace(session_hash="a"))
    return shown
