"""Paths as people type them: of users that are not there, and with names that no file system takes."""

import json
from pathlib import Path

import pytest

import magic_cli
from magic_cli.data.datasets import PhotoFiles, PhotoFolder
from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.interleaved_datasets import ItemFile
from magic_cli.data.paths import expanded, named_paths, user_cache
from magic_cli.data.predictions import read_system
from magic_cli.errors import MagicError
from magic_cli.evaluation.corpora import build_corpus, find_systems
from magic_cli.models.settings import LanguageModelSettings

NOBODY = "~nobody-of-this-name/a"


@pytest.mark.parametrize(
    ("ask", "setting"),
    [
        (lambda: expanded(NOBODY, "output"), "output"),
        (lambda: named_paths(NOBODY, setting="files"), "files"),
        (lambda: find_systems([NOBODY], id_key=None, caption_key=None), "systems"),
        (lambda: ImageLookup(NOBODY), "images"),
        (lambda: PhotoFiles(name="files", paths=[NOBODY]).load(), "dataset.paths"),
        (lambda: PhotoFolder(name="photos", root=NOBODY).load(), "dataset.root"),
        (lambda: LanguageModelSettings(path=NOBODY), "language_model.path"),
        (lambda: ItemFile("items", items=NOBODY).load(), "dataset.items"),
    ],
)
def test_user_that_is_not_there_is_one_line(ask, setting):
    with pytest.raises(MagicError) as caught:
        ask()
    assert str(caught.value).startswith(f"{setting}={NOBODY}: there is no user 'nobody-of-this-name'") and "\n" not in str(
        caught.value
    )


def test_home_folders_are_expanded_in_one_place():
    root = Path(magic_cli.__file__).parent
    bare = [
        file.relative_to(root).as_posix() for file in root.rglob("*.py") if ".expanduser()" in file.read_text(encoding="utf-8")
    ]
    assert bare == ["data/paths.py"]


def test_name_that_is_too_long_names_nothing(tmp_path):
    name = f"{'x' * 300}.jpg"
    assert named_paths(name) == []
    with pytest.raises(MagicError, match="no such folder"):
        ImageLookup(str(tmp_path / name))
    (tmp_path / "preds.json").write_text(json.dumps({name: "a dog"}))
    images = ImageLookup(str(tmp_path))
    corpus, _ = build_corpus(
        read_system(tmp_path / "preds.json"), None, images=images, drop_unmatched=False, needs_references=False
    )
    assert corpus.images == (tmp_path / name,)


def test_user_without_a_home_is_one_line(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", str)  # what it gives a user who has none
    for ask in (lambda: user_cache("images"), lambda: expanded("~/photos", "dataset.root")):
        with pytest.raises(MagicError, match="this user has no home folder .*; set HOME to a folder$"):
            ask()
