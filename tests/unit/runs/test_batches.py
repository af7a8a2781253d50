"""What is read for a batch, and what an earlier start has read already."""

from pathlib import Path
from types import SimpleNamespace

from magic_cli.image_features.seen import SeenImage
from magic_cli.runs.batch_list import BatchList
from magic_cli.runs.batches import BatchWriter

IMAGES = {"one": ["1.jpg"], "two": ["2.jpg", "3.jpg"], "none": [], "open": ["4.jpg"]}


def test_digest_in_a_prediction_is_that_of_an_items_only_image():
    settings = SimpleNamespace(dataset=SimpleNamespace(apply_exif_orientation=True, skip_greyscale=False))
    task = SimpleNamespace(images=lambda item: [Path(name) for name in IMAGES[item.id]])
    items = [SimpleNamespace(id=name) for name in IMAGES]
    done = {name: {"id": name, "image_sha256": f"digest of {name}"} for name in ("one", "two", "none")}
    [batch] = BatchList(items, len(items), done)
    assert BatchWriter(settings, task, Path()).images(batch) == [
        SeenImage(Path("1.jpg"), "digest of one"), Path("2.jpg"), Path("3.jpg"), Path("4.jpg"),
    ]  # fmt: skip
