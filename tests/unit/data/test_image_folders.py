"""What is found below a folder: every photo, and everything that may hide one."""

import os
import re
import shlex
import socket

import pytest
from PIL import Image

from magic_cli.data.datasets import PhotoFiles, PhotoFolder
from magic_cli.data.image_folders import find_images
from magic_cli.data.images import UnreadableImage, open_image
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ImageReader


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def names(root):
    return [path.relative_to(root).as_posix() for path in find_images(root).paths]


def reason(path):
    refused = ImageReader().read(path)
    assert isinstance(refused, UnreadableImage) and "\n" not in str(refused)
    with pytest.raises(UnreadableImage) as opened:
        open_image(path)
    assert str(opened.value) == str(refused), "whoever opens it says the same"
    return str(refused)


@pytest.fixture
def root(tmp_path):
    photo(tmp_path / "photos" / "a" / "cat.jpg")
    return tmp_path / "photos"


@pytest.fixture
def forbid(monkeypatch):
    """``forbid(folder)``: it may not be read, as for users other than root."""

    def forbid(folder):
        scandir = os.scandir

        def refuse(path):
            if os.fspath(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return forbid


def test_linked_folders_are_followed_once_and_never_in_a_circle(root, tmp_path):
    photo(tmp_path / "far" / "deep" / "dog.jpg")
    (root / "far").symlink_to(tmp_path / "far")
    (root / "again").symlink_to(tmp_path / "far" / "deep")
    (tmp_path / "far" / "back").symlink_to(root)
    for name, target in {"same": "a", "self": ".", "up": ".."}.items():
        (root / name).symlink_to(target)
    assert names(root) == ["a/cat.jpg", "again/dog.jpg"]
    assert find_images(root).notes() == [f"{root}: links to folders that hold it are not followed: up"]


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("gone.jpg", "none.jpg", "a link to none.jpg, which does not exist"),
        ("coco", "/mnt/none", "a link to /mnt/none, which does not exist"),
        ("loop.jpg", "loop.jpg", "a link that leads back to itself"),
        ("zero.png", "/dev/zero", "a device, not an image file"),
    ],
)
def test_link_that_leads_to_no_file_stands_among_the_images_and_says_why(root, name, target, why):
    (root / name).symlink_to(target)
    assert names(root) == ["a/cat.jpg", name]
    assert reason(root / name) == why


def test_pipe_and_socket_are_refused_without_waiting(root, monkeypatch):
    os.mkfifo(root / "pipe.jpg")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.jpg")
    assert names(root) == ["a/cat.jpg", "pipe.jpg", "sock.jpg"]
    assert reason(root / "pipe.jpg") == "a named pipe, not an image file"
    assert reason(root / "sock.jpg") == "a socket, not an image file"


def test_folder_that_may_not_be_read_stands_among_the_images(root, forbid):
    photo(root / "locked" / "dog.jpg")
    forbid(root / "locked")
    assert [record.id for record in PhotoFolder(name="photos", root=str(root)).load()] == ["a/cat.jpg", "locked"]
    assert reason(root / "locked") == "a folder that cannot be read (Permission denied)"


def test_folder_itself_that_may_not_be_read_is_refused(root, forbid):
    forbid(root)
    with pytest.raises(MagicError, match=r"^dataset.root=.*photos: cannot be read \(Permission denied\); mend its permissions"):
        PhotoFolder(name="photos", root=str(root)).load()


def test_hidden_images_are_left_out_and_told_but_for_those_of_macos(root):
    for name in ("._cat.jpg", "__MACOSX/._cat.jpg", ".cat.jpg", ".thumbs/cat.jpg"):
        photo(root / name)
    for name in (".DS_Store", "notes.txt"):
        (root / name).touch()
    dataset = PhotoFolder(name="photos", root=str(root))
    assert [record.id for record in dataset.load()] == ["a/cat.jpg"]
    assert dataset.notes() == [
        f"{root}: 1 file of another kind is left out (1 .txt)",
        f"{root}: hidden images and folders are left out: .cat.jpg and 1 more",
    ]


def test_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "00000.tar").touch()
    with pytest.raises(
        MagicError, match=r"no images found; .*: 1 file of another kind is left out \(1 .tar\); for the images in .tar"
    ):
        PhotoFolder(name="photos", root=str(tmp_path)).load()


@pytest.mark.parametrize(("name", "dataset"), [("a b.tar", "shards"), ("A.PARQUET", "parquet")])
def test_file_that_holds_images_says_which_data_set_reads_it(name, dataset, tmp_path):
    file = tmp_path / name
    file.touch()
    remedy = re.escape(f"type --dataset {dataset} {shlex.quote(f'dataset.files={file}')}") + "$"
    for images in (PhotoFolder(name="photos", root=str(file)), PhotoFiles(name="files", paths=[str(file)])):
        with pytest.raises(MagicError, match=remedy):
            images.load()


def test_file_for_a_folder_and_folder_for_a_file_say_what_to_type(root):
    with pytest.raises(MagicError, match=r"cat.jpg: is a file, not a folder; for one photo, type --image .*a/cat.jpg$"):
        PhotoFolder(name="photos", root=str(root / "a" / "cat.jpg")).load()
    with pytest.raises(MagicError, match=r"photos is a folder; for all photos in it, type --images .*photos$"):
        PhotoFiles(name="files", paths=[str(root / "a" / "cat.jpg"), str(root)]).load()
