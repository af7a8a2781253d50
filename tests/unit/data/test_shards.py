"""Images of tar files, with links and members of every kind that tar can write."""

import gzip
import io
import os
import tarfile

import pytest

from magic_cli.data.shards import read_shard
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ImageReader
from magic_cli.retrieval.bank import BankReader, list_images

pytestmark = pytest.mark.usefixtures("own_cache")
CAT, DOG = b"the cat's bytes", b"the dog's"
NOT_THERE = "is not in the shard; pack it with tar --dereference --hard-dereference"


def shard(path, *members, **options):
    """A tar file of members ``(name, content)`` or ``(name, type, target)``."""
    with tarfile.open(path, "w", **options) as archive:
        for name, what, *target in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes) and not target:
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what, target[0]
                archive.addfile(info)
    return path


def found(path):
    """``{name: content or fault}``"""
    data = path.read_bytes()
    return {image.name: image.fault or data[image.offset : image.offset + image.size] for image in read_shard(str(path)).images}


HARD, LINK, FOLDER = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "options", [{"format": tarfile.USTAR_FORMAT}, {"format": tarfile.GNU_FORMAT}, {"format": tarfile.PAX_FORMAT}]
)
def test_links_within_the_shard_are_read(options, tmp_path):
    members = [
        ("./early.jpg", HARD, "./b/dog.jpg"),
        ("./a/cat.jpg", CAT),
        ("./a/hard.jpg", HARD, "./a/cat.jpg"),
        ("./a/soft.jpg", LINK, "cat.jpg"),
        ("./b/up.jpg", LINK, "../a/./soft.jpg"),
        ("./b/blob", CAT),
        ("./b/dog.jpg", DOG),
        ("./of-blob.jpg", LINK, "b/blob"),
        ("./c", LINK, "b"),
        ("./through.jpg", LINK, "c/dog.jpg"),
        ("./hard-of-soft.jpg", HARD, "./through.jpg"),
        ("./root.jpg", LINK, "/a/cat.jpg"),
        ("./a/cat.jpg", HARD, "./a/cat.jpg"),  # as tar writes of a file that it was given twice
        (f"{'long/' * 15}{'name' * 10}.jpg", LINK, "../" * 15 + "a/cat.jpg"),
    ]
    contents = found(shard(tmp_path / "s.tar", *members, **options))
    dogs = {"./early.jpg", "./b/dog.jpg", "./through.jpg", "./hard-of-soft.jpg"}
    assert contents == {name: DOG if name in dogs else CAT for name, *_ in members if name.endswith(".jpg")}


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (("x.jpg", LINK, "gone.jpg"), f"a link to gone.jpg, which {NOT_THERE}"),
        (("x.jpg", HARD, "gone.jpg"), f"a hard link to gone.jpg, which {NOT_THERE}"),
        (("x.jpg", LINK, "../cat.jpg"), f"a link to ../cat.jpg, which {NOT_THERE}"),
        (("x.jpg", LINK, "/etc/cat.jpg"), f"a link to /etc/cat.jpg, which {NOT_THERE}"),
        (("x.jpg", LINK, "cat.jpg/more.jpg"), f"a link to cat.jpg/more.jpg, which {NOT_THERE}"),
        (("x.jpg", LINK, "y.jpg"), "a link to y.jpg, which leads back to itself"),
        (("x.jpg", LINK, "folder"), "a link to folder, which is a folder"),
        (("x.jpg", LINK, "pipe"), "a link to pipe, which is a named pipe"),
        (("x.jpg", tarfile.FIFOTYPE, ""), "a named pipe"),
        (("x.jpg", tarfile.CHRTYPE, ""), "a device"),
        (("x.jpg", b"Z", ""), "of a type that is not known (b'Z')"),
        (("coco", LINK, "/mnt/coco"), f"a link to /mnt/coco, which {NOT_THERE}"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(member, fault, tmp_path):
    others = [
        ("cat.jpg", CAT),
        ("y.jpg", LINK, "x.jpg"),
        ("folder/notes.txt", b"-"),
        ("pipe", tarfile.FIFOTYPE, ""),
        ("to", LINK, "folder"),
        ("f.jpg", FOLDER, ""),
    ]
    contents = found(shard(tmp_path / "s.tar", *others, member))
    assert contents[member[0]] == fault
    assert contents.keys() == {"cat.jpg", "y.jpg", member[0]}, "nothing but images, and what may hide some"


def test_chain_of_many_links_ends_in_a_word(tmp_path):
    links = [(f"{i}.jpg", LINK, f"{i + 1}.jpg") for i in range(3000)]
    contents = found(shard(tmp_path / "s.tar", *links, ("3000.jpg", CAT)))
    assert contents["2990.jpg"] == CAT and contents["0.jpg"] == "a link to 1.jpg, which leads back to itself"


def test_links_are_counted_and_listed_in_the_bank(tmp_path):
    path = shard(
        tmp_path / "s.tar",
        ("cat.jpg", CAT),
        ("hard.jpg", HARD, "cat.jpg"),
        ("gone.jpg", LINK, "none"),
        ("._cat.jpg", CAT),
        (".cat.jpg", CAT),
    )
    bank = list_images([str(path)], limit=None)
    assert [image.id for image in bank.images] == ["s/cat.jpg", "s/hard.jpg", "s/gone.jpg"]
    assert bank.images[1].file.read_bytes() == CAT
    assert str(BankReader(ImageReader()).read(bank.images[2])) == f"a link to none, which {NOT_THERE}"
    assert bank.images[2].location() == {"id": "s/gone.jpg", "image": str(path)}
    assert bank.notes == [f"{path}: hidden images are left out: .cat.jpg"]


def test_file_with_holes_is_named(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("holes.jpg")
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
        archive.addfile(info)
    assert found(tmp_path / "s.tar") == {"holes.jpg": "stored with holes; pack the shard without --sparse"}


def joined(tmp_path, *members):
    """A shard of several archives, one behind the other, as ``cat`` joins them."""
    data = b"".join(shard(tmp_path / "part.tar", member).read_bytes() for member in members)
    (tmp_path / "part.tar").unlink()
    (tmp_path / "s.tar").write_bytes(data)
    return tmp_path / "s.tar"


def test_archives_one_behind_the_other_are_all_read(tmp_path):
    path = joined(tmp_path, ("cat.jpg", CAT), ("sub/dog.jpg", DOG), ("link.jpg", LINK, "cat.jpg"))
    assert found(path) == {"cat.jpg": CAT, "sub/dog.jpg": DOG, "link.jpg": CAT}
    path.write_bytes(path.read_bytes() + bytes(512) + b"more that is no archive" * 50)
    with pytest.raises(MagicError, match="s.tar: is not a complete tar file"):
        read_shard(str(path))
    with pytest.raises(MagicError, match="two of the archives in it hold ./cat.jpg; unpack each archive by itself"):
        read_shard(str(joined(tmp_path, ("cat.jpg", CAT), ("./cat.jpg", DOG))))


def test_member_that_was_added_anew_is_the_last_one(tmp_path):
    path = shard(tmp_path / "s.tar", ("cat.jpg", CAT), ("dog.jpg", DOG), ("link.jpg", LINK, "cat.jpg"))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("./cat.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"new"))
    images = read_shard(str(path)).images
    assert [image.name for image in images] == ["dog.jpg", "link.jpg", "./cat.jpg"]
    assert found(path) == {"dog.jpg": DOG, "link.jpg": b"new", "./cat.jpg": b"new"}


def pack(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pack, r"s.tar: is packed with gzip.*unpack it to a plain .tar"),
        (lambda path: path.rename(path.with_name("s.tar.gz")), r"s.tar.gz: images in a packed archive.*plain .tar"),
        (lambda path: path.write_bytes(path.read_bytes()[:1200]), "is not a complete tar file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "s.tar: is a named pipe, not a tar file"),
    ],
)
def test_shard_that_cannot_be_looked_through_is_refused(spoil, message, tmp_path):
    spoil(shard(tmp_path / "s.tar", ("cat.jpg", CAT)))
    [path] = tmp_path.iterdir()
    with pytest.raises(MagicError, match=message) as caught:
        list_images([str(path)], limit=None)
    assert "\n" not in str(caught.value)
