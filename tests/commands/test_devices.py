"""On every device users get the same texts, whatever the batch: the same tests on the CPU, and on CUDA where there is one."""

from pathlib import Path

import pytest

import magic_cli

PHOTOS = Path(__file__).parents[2] / "data" / "photos"
LENGTH = 10

METHODS = {
    "greedy": {},
    "beam": {"num_beams": 3},
    "top_k": {},
    "nucleus": {},
    "typical": {},
    "rerank": {"num": 3},
    "contrastive": {},
    "magic": {},
    "magic_beam": {"num_beams": 3},
    "zerocap": {"num_iterations": 1, "num_texts": 8, "num_beams": 2},
}
"""Every method that needs no index of its own, with settings that make it quick."""


@pytest.fixture(scope="module")
def photos():
    return sorted(PHOTOS.glob("*.jpg"))[:3]


@pytest.fixture(scope="module")
def captioner(device):
    """The embedded models there."""
    return magic_cli.load(device=device, settings={"run.cache_images": False})


@pytest.fixture(scope="module")
def beside():
    """The embedded models on the CPU."""
    return magic_cli.load(device="cpu", settings={"run.cache_images": False})


def captions(captioner, photos, method, **settings):
    written = captioner.caption(photos, method, seed=1, decoding_len=LENGTH, **METHODS[method], **settings)
    return [caption.token_ids for caption in written]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_there_what_it_writes_on_the_cpu_image_by_image(captioner, beside, photos, method):
    together = captions(captioner, photos, method)
    assert len(set(map(tuple, together))) > (method not in ("greedy", "beam", "contrastive"))  # these look at no photo
    assert together == captions(beside, photos, method, settings={"run.batch_size": 1})


def test_lazy_and_traced_runs_write_the_same_there(captioner, photos):
    plain = captions(captioner, photos, "magic")
    for lazy in ("true", "false"):
        assert captions(captioner, photos, "magic", settings={"run.lazy": lazy}) == plain
    traced = captioner.caption(photos, "magic", seed=1, trace=True, decoding_len=LENGTH)
    assert [caption.token_ids for caption in traced] == plain


def test_stories_are_the_same_in_one_batch_and_one_by_one(captioner, photos):
    titles = ["A walk", "The old boat", "Dinner"]
    together = captioner.story(titles, photos, decoding_len=20)
    one_by_one = [captioner.story(title, photo, decoding_len=20).token_ids for title, photo in zip(titles, photos, strict=True)]
    assert one_by_one == [story.token_ids for story in together]
