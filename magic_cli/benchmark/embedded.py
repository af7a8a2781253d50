"""The embedded models on real photos."""

from __future__ import annotations

import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.measure import measure_in_turn
from magic_cli.benchmark.models import embedded_language_model, moved
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.benchmark.workloads import Workload, prepared
from magic_cli.data.image_folders import find_images
from magic_cli.data.images import UnreadableImage, open_image
from magic_cli.data.paths import expanded
from magic_cli.decoding.text import CaptionFormat
from magic_cli.errors import SettingsError
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.loading import resolve_device
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from PIL.Image import Image

_SAMPLE_PHOTOS = Path(__file__).resolve().parents[2] / "data" / "photos"


def steps_of_embedded(settings: BenchSettings) -> int:
    """How often ``measure_embedded`` calls ``step``."""
    return 2 + settings.num_repeats * len(settings.batch_sizes)


def measure_embedded(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Captions per second at every batch size; a section of bench.json.

    Raises:
        SettingsError: There are no photos, or one cannot be read.
    """
    files = photo_files(settings.photos)
    work, device = WorkCounter(), resolve_device(settings.run.device)
    network, tokenizer = embedded_language_model()
    model = HuggingFaceLanguageModel(moved(network, device), tokenizer, work=work)
    scorer = EmbeddedImageTextModel.load(device=device, work=work)
    photos = [_opened(file) for file in files[: settings.texts]]
    start = time.perf_counter()
    features = scorer.encode_images(photos)
    image_seconds = (time.perf_counter() - start) / len(photos)
    step()
    images = features[list(islice(cycle(range(len(photos))), settings.texts))]
    prompts = [model.encode_prompt(None)] * settings.texts
    workload = prepared(Workload(model, scorer, images, prompts, settings.captions.method(), CaptionFormat(model), work))
    written = workload.decode(settings.batch_sizes[-1])  # warm-up
    step()
    sides = {size: workload.side(size) for size in settings.batch_sizes}
    measure_in_turn(list(sides.values()), settings.num_repeats, step)
    return {
        "photos": len(photos),
        "texts": settings.texts,
        "seconds_per_image": image_seconds,
        "core": [{"batch_size": size, "lazy": workload.is_lazy(size), **side.summary()} for size, side in sides.items()],
        "examples": workload.texts(written)[:3],
    }


def photo_files(folder: str | None) -> list[Path]:
    """The photos of a folder, or the sample photos, sorted.

    Raises:
        SettingsError: There are none.
    """
    root = expanded(folder) if folder else _SAMPLE_PHOTOS
    remedy = "set photos to a folder of photos, or parts without embedded"
    try:
        files = find_images(root).paths
    except OSError as error:
        raise SettingsError(
            f"photos={folder}: cannot be read ({error.strerror}; looked at {root.absolute()}); {remedy}"
        ) from error
    if not files:
        raise SettingsError(f"photos={folder}: no photos in {root.absolute()}; {remedy}")
    return files


def _opened(file: Path) -> Image:
    try:
        return open_image(file)
    except UnreadableImage as reason:
        raise SettingsError(f"photos: {file}: {reason}; remove it, or set photos to another folder") from reason
