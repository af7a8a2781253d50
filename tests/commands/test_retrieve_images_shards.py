"""``magic retrieve-images`` on webdataset shards: read, found, extracted, and refused where they are damaged."""

import io
import re
import tarfile

import pytest

from magic_cli.cli.main import main
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def shard(path, photos, extra=()):
    """A webdataset shard: an image and its caption for every photo."""
    with tarfile.open(path, "w") as archive:
        for number, photo in enumerate(sorted(photos.iterdir())):
            for name, data in ((f"{number:05d}.jpg", photo.read_bytes()), (f"{number:05d}.txt", b"a caption"), *extra):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def test_images_of_shards_are_found_and_extracted(photos, model, tmp_path, capsys):
    shard(tmp_path / "a-000000.tar", photos)
    shard(tmp_path / "a-000001.tar", photos)
    with tarfile.open(tmp_path / "a-000001.tar", "a") as archive:
        info = tarfile.TarInfo("broken.png")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"12345"))
    assert main(["retrieve-images", "build", "a-*.tar", *model, "run.batch_size=4", "run.workers=1"]) == 3
    assert [f["id"] for f in lines(tmp_path / "bank" / "failures.jsonl")] == ["a-000001/broken.png"]
    failure = lines(tmp_path / "bank" / "failures.jsonl")[0]["reason"]
    assert failure == "UnidentifiedImageError: cannot identify image file broken.png"
    assert main(["retrieve-images", "query", "--query", "x", *model, "--output", "found", "--top-k", "12"]) == 0
    [result] = lines(tmp_path / "found" / "retrieved.jsonl")
    ids = [image["id"] for image in result["images"]]
    assert ids[0::2] == [i.replace("000001", "000000") for i in ids[1::2]], "equal images tie: the lower number comes first"
    for image in result["images"]:
        number = int(re.search(r"/(\d+)\.jpg", image["id"])[1])
        assert (tmp_path / "found" / image["image"]).read_bytes() == sorted(photos.iterdir())[number].read_bytes()


def test_features_of_a_shard_equal_those_of_its_files(photos, model, tmp_path, capsys):
    shard(tmp_path / "a.tar", photos)
    assert main(["retrieve-images", "build", "photos", *model]) == 0
    assert main(["retrieve-images", "build", "a.tar", *model[:-1], "bank2"]) == 0
    assert (tmp_path / "bank2" / "features-00000.bin").read_bytes() == (tmp_path / "bank" / "features-00000.bin").read_bytes()


def third_header(data):
    """Where the third member of a tar file begins."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()[2].offset


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:700],
        lambda data: b"no tar file" * 100,
        lambda data: data[: third_header(data)],  # between two members
        lambda data: data[: third_header(data) + 300],
        lambda data: data[: third_header(data)] + b"x" * 512 + data[third_header(data) + 512 :],
    ],
)
def test_damaged_shard_is_one_line(change, photos, model, tmp_path, capsys):
    file = shard(tmp_path / "a.tar", photos)
    file.write_bytes(change(file.read_bytes()))
    assert main(["retrieve-images", "build", "a.tar", *model]) == 2
    assert "a.tar: is not a complete tar file" in capsys.readouterr().err


def test_links_of_a_packed_folder_are_read_or_listed(photos, model, tmp_path, capsys):
    (photos / "hard.jpg").hardlink_to(photos / "sky.jpg")
    (photos / "soft.jpg").symlink_to("sky.jpg")
    (photos / "gone.jpg").symlink_to("none.jpg")
    with tarfile.open("p.TAR", "w") as archive:
        archive.add("photos")
    assert main(["retrieve-images", "build", "p.TAR", *model]) == 3
    err = capsys.readouterr().err
    reason = "a link to none.jpg, which is not in the shard; pack it with tar --dereference --hard-dereference"
    assert (
        f"magic: not in the index: p/photos/gone.jpg: {reason}\nmagic: 8 images in the index, 1 image could not be read; 9 looked at in "
        in err
    )
    digests = {item["id"].removeprefix("p/photos/"): item["sha256"] for item in lines(tmp_path / "bank" / "items.jsonl")}
    assert digests["hard.jpg"] == digests["soft.jpg"] == digests["sky.jpg"] and len(digests) == 8
    assert lines(tmp_path / "bank" / "failures.jsonl") == [
        {"id": "p/photos/gone.jpg", "image": str(tmp_path / "p.TAR"), "reason": reason}
    ]
