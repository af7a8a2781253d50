"""Shards of downloaded images: what a start with other words leaves as it is."""

import tarfile

import pytest

from image_shards import ImageShards


@pytest.fixture
def shards(tmp_path):
    """One finished shard of four rows, of which the first failed for the time being."""
    shards = ImageShards(tmp_path, rows_per_shard=10)
    assert shards.open_shard(0, 4, again=False) == {0, 1, 2, 3}
    shards.fail(0, "http://a.example/0.jpg", "HTTP 503", temporary=True)
    for row in (1, 2, 3):
        shards.add(row, b"image", "caption", {"row": row})
    shards.finish(0, 4)
    return shards


def kept(shards):
    return {file.name: file.read_bytes() for file in shards.folder.iterdir() if file.is_file()}


def start(shards, limit, *, again):
    """What the script does with a shard, where every download succeeds."""
    lacking = shards.open_shard(0, limit, again=again)
    for row in lacking or ():
        shards.add(row, b"image", "caption", {"row": row})
    if lacking is not None:
        shards.finish(0, limit)
    return lacking


@pytest.mark.parametrize("again", [False, True])
def test_lower_limit_takes_no_image_away(again, shards):
    before = kept(shards)
    assert start(shards, 2, again=again) is None
    assert kept(shards) == before


def test_temporary_failure_is_tried_again_only_when_asked(shards):
    assert start(shards, 4, again=False) is None
    assert start(shards, 4, again=True) == {0}
    with tarfile.open(shards.folder / "00000.tar") as archive:
        assert [name for name in archive.getnames() if name.endswith(".jpg")] == [f"{row:09d}.jpg" for row in range(4)]


def test_higher_limit_asks_for_the_new_rows(shards):
    assert start(shards, 6, again=False) == {0, 4, 5}
