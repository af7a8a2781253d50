"""magic caption: write captions for images into a run folder that survives anything."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import SkippedImage, UnreadableImage, open_image
from magic_cli.data.records import ImageRecord
from magic_cli.reports.exports import coco_results, released_format
from magic_cli.runs import RunFolder
from magic_cli.settings import CaptionSettings, as_plain, method_name, settings_hash, settings_that_matter

if TYPE_CHECKING:
    from PIL.Image import Image

    from magic_cli.decoding.text import CaptionFormat
    from magic_cli.models.image_text_model import ImageTextModel
    from magic_cli.models.language_model import HuggingFaceLanguageModel
    from magic_cli.work import Work

DONE, SOME_FAILED = 0, 3
_READERS = 4  # threads that decode images while the models work


def run(settings: CaptionSettings) -> int:
    """Caption every image of the dataset; returns 0, or 3 if some could not be read.

    Captions go to stdout as ``id<TAB>caption``, in the dataset's order, those of an earlier start included.
    """
    records = settings.dataset.load()
    folder = run_folder(settings)
    with RunFolder(folder, settings=as_plain(settings), identity=settings_that_matter(settings)) as run:
        todo = [record for record in records if record.id not in run.predictions]
        if todo:
            _Captioner(settings, run).caption(records)
        else:
            for record in records:
                _say(record.id, run.predictions[record.id]["caption"])
        done = [record for record in records if record.id in run.predictions]
        captions = {record.id: run.predictions[record.id]["caption"] for record in done}
        run.finish({"coco_results.json": coco_results(done, captions), "released_format.json": released_format(done, captions)})
    return _report(run)


def run_folder(settings: CaptionSettings) -> Path:
    """``run.dir``, or a folder named after what is run, with a hash of all settings that matter."""
    if settings.run.dir:
        return Path(settings.run.dir).expanduser()
    return Path("runs", settings.task, f"{settings.dataset.name}-{method_name(settings.decoding)}-{settings_hash(settings)}")


def item_seed(seed: int, item: str, repeat: int) -> int:
    """Seed of one item's generator, in [0, 2**63): depends on nothing but its arguments.

    >>> item_seed(0, "cat.jpg", 1) == item_seed(0, "cat.jpg", 1) != item_seed(0, "cat.jpg", 2)
    True
    """
    digest = hashlib.sha256(f"{seed}\0{item}\0{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class _Captioner:
    """The models of one run, and the loop over batches."""

    def __init__(self, settings: CaptionSettings, run: RunFolder) -> None:
        import torch

        from magic_cli.decoding.text import CaptionFormat
        from magic_cli.models.loading import load_image_text_model, load_language_model, resolve_device
        from magic_cli.work import Work

        self.settings, self.run = settings, run
        if settings.run.threads is not None:
            torch.set_num_threads(settings.run.threads)
        self.work: Work = Work()
        where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value), "work": self.work}
        self.scorer: ImageTextModel | None = None
        self.language_model: HuggingFaceLanguageModel
        self.language_model, language_model_facts = load_language_model(settings.language_model, **where)
        models = {"language_model": language_model_facts}
        if settings.decoding.needs_image:
            self.scorer, models["image_text_model"] = load_image_text_model(settings.image_text_model, **where)
        run.use_models(models)
        self.prompt = self.language_model.encode_prompt(settings.prompt)
        self.format: CaptionFormat = CaptionFormat(self.language_model)
        way = self.language_model.prepare(
            decoding_len=settings.decoding.decoding_len,
            num_candidates=getattr(settings.decoding, "k", 1),
            look_ahead=settings.language_model.look_ahead.value,
        )
        run.record(device=str(where["device"]), threads=torch.get_num_threads(), look_ahead=way)
        if self.scorer is not None:
            run.record(incremental_text=self.scorer.text_tower is not None)

    def caption(self, records: Sequence[ImageRecord]) -> None:
        """Caption what is not done yet, batch by batch.

        Batches are cut from all records, done or not, so that a run that goes on decodes the same batches as one that
        was never interrupted, to the last bit.
        """
        from tqdm import tqdm

        size = self.settings.run.batch_size
        batches = [records[i : i + size] for i in range(0, len(records), size)]
        with (
            tqdm(total=len(records), desc="captions", unit="image", file=sys.stderr, disable=None) as bar,
            ThreadPoolExecutor(_READERS) as readers,
            self._recording(),
        ):
            for batch, images in self._read_ahead(batches, readers):
                if images is not None:
                    self._caption_batch(batch, images)
                for record in batch:
                    if record.id in self.run.predictions:
                        with bar.external_write_mode(file=sys.stdout):
                            _say(record.id, self.run.predictions[record.id]["caption"])
                bar.update(len(batch))

    def _read_ahead(self, batches: list[Sequence[ImageRecord]], readers: ThreadPoolExecutor) -> Iterator[tuple[Any, Any]]:
        """Each batch with its images (None where all is done), the next batch being read meanwhile."""
        ahead: list[Any] = []
        for batch in [*batches, None]:
            if batch is not None:
                is_open = any(record.id not in self.run.predictions for record in batch)
                ahead.append((batch, [readers.submit(self._read, record) for record in batch] if is_open else None))
            if len(ahead) > 1 or batch is None:
                for ready, futures in [ahead.pop(0)] if batch is not None else ahead:
                    yield ready, None if futures is None else [future.result() for future in futures]

    def _read(self, record: ImageRecord) -> Image | UnreadableImage:
        dataset = self.settings.dataset
        try:
            return open_image(
                record.path, apply_exif_orientation=dataset.apply_exif_orientation, skip_greyscale=dataset.skip_greyscale
            )
        except UnreadableImage as reason:
            return reason

    def _caption_batch(self, batch: Sequence[ImageRecord], images: list[Image | UnreadableImage]) -> None:
        from magic_cli.decoding.generate import generate
        from magic_cli.decoding.method import Guidance

        unreadable = [(r, image) for r, image in zip(batch, images, strict=True) if isinstance(image, UnreadableImage)]
        self.run.add_failures([_failure(record, reason) for record, reason in unreadable])
        readable = [(r, image) for r, image in zip(batch, images, strict=True) if not isinstance(image, UnreadableImage)]
        open_ids = {record.id for record, _ in readable if record.id not in self.run.predictions}
        if not open_ids:
            return
        guidance = None
        if self.scorer is not None:
            guidance = Guidance(self.scorer, self.scorer.encode_images([image for _, image in readable]))
        steps: list[dict[str, Any]] = []

        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            item = readable[index][0].id
            if item in open_ids:
                texts = self.language_model.decode([[token] for token in details.get("token_ids", [details["choice"]])])
                steps.append({"id": item, "step": step, **details, "tokens": texts})

        options = self.settings.run
        generated = generate(
            self.language_model,
            self.settings.decoding,
            [self.prompt] * len(readable),
            guidance=guidance,
            is_settled=self.format.is_settled,
            seeds=[item_seed(options.seed, record.id, options.repeat) for record, _ in readable],
            on_step=trace if options.trace else None,
        )
        self.run.add_trace(steps)
        self.run.add_predictions([
            self._prediction(record, ids) for (record, _), ids in zip(readable, generated, strict=True) if record.id in open_ids
        ])

    def _prediction(self, record: ImageRecord, generated: list[int]) -> dict[str, Any]:
        known = {"split": record.split, "references": list(record.references)} if record.references else {}
        caption = self.format.text(self.prompt, generated)
        return {"id": record.id, "image": str(record.path), "caption": caption, "token_ids": generated, **known}

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Note the work done in the manifest, also when the run is stopped."""
        try:
            yield
        finally:
            phases = {name: round(seconds, 3) for name, seconds in self.work.seconds.items()}
            self.run.record(work=dict(self.work.counts), phase_seconds=phases)


def _failure(record: ImageRecord, reason: UnreadableImage) -> dict[str, Any]:
    skipped = {"skipped": True} if isinstance(reason, SkippedImage) else {}
    return {"id": record.id, "image": str(record.path), "reason": str(reason), **skipped}


def _say(item: str, caption: str) -> None:
    print(f"{item}\t{caption}", flush=True)


def _report(run: RunFolder) -> int:
    """Tell what came out, on stderr; returns the exit status."""
    failed = [failure for failure in run.failures if not failure.get("skipped")]
    for failure in failed:
        print(f"magic: no caption for {failure['image']}: {failure['reason']}", file=sys.stderr)
    skipped = len(run.failures) - len(failed)
    parts = [f"{len(run.predictions)} captions"]
    parts += [f"{len(failed)} images could not be read"] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    print(f"magic: {', '.join(parts)}; run folder: {run.path}", file=sys.stderr)
    return SOME_FAILED if failed else DONE
