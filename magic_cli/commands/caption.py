"""magic caption: write captions for images into a run folder that survives anything."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from magic_cli.data.images import SkippedImage, UnreadableImage, quiet_pillow
from magic_cli.data.records import ImageRecord
from magic_cli.image_features.cache import cache_folder
from magic_cli.image_features.reading import ImageReader, ImageStream, ReadImage, choose_workers
from magic_cli.models.sources import describe_source, local_files, sha256
from magic_cli.reports.exports import coco_results, released_format
from magic_cli.run_folders import run_folder
from magic_cli.runs import RunFolder
from magic_cli.settings import CaptionSettings, as_plain, settings_that_matter
from magic_cli.work import Work

if TYPE_CHECKING:
    from magic_cli.image_features.encoding import ImageEncoder
    from magic_cli.models.image_text_model import ImageTextModel
    from magic_cli.models.language_model import HuggingFaceLanguageModel

DONE, SOME_FAILED = 0, 3
_BATCHES_AHEAD = 2  # whose images are read while the models work on another
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), 127)}


def run(settings: CaptionSettings) -> int:
    """Caption every image of the dataset; returns 0, or 3 if some could not be read.

    Captions go to stdout as ``id<TAB>caption``, in the dataset's order, those of an earlier start included.
    """
    quiet_pillow()
    records = settings.dataset.load()
    with RunFolder(
        run_folder(settings), settings=as_plain(settings), identity=settings_that_matter(settings), planned=len(records)
    ) as run:
        _check_unchanged(settings, run, records)
        for note in settings.dataset.notes():
            _tell(note)
        _Captioner(settings, run).caption(records)
        done = [record for record in records if record.id in run.predictions]
        captions = {record.id: run.predictions[record.id]["caption"] for record in done}
        run.finish({"coco_results.json": coco_results(done, captions), "released_format.json": released_format(done, captions)})
    return _report(run)


def _check_unchanged(settings: CaptionSettings, run: RunFolder, records: Sequence[ImageRecord]) -> None:
    """Before a run goes on: its models must be the same, and captions of images that have changed are taken back.

    Raises:
        MagicError: A local model's files have changed.
    """
    groups = {"language_model": settings.language_model, "image_text_model": settings.image_text_model}
    sources = {name: local_files(group) for name, group in groups.items() if name in run.manifest.get("models", {})}
    run.check_model_files({name: describe_source(groups[name], path)["files"] for name, path in sources.items() if path is not None})
    done = [record for record in records if record.id in run.predictions and record.path.is_file()]
    changed = [record.id for record in done if sha256(record.path) != run.predictions[record.id]["image_sha256"]]
    if changed:
        _tell(f"{len(changed)} images have changed since they were captioned and are captioned again, e.g. {changed[0]}")
        run.forget(changed)
    if settings.run.trace and (untraced := len(run.predictions.keys() - run.traced)):
        _tell(f"{untraced} images were captioned without trace earlier; for theirs, set another run.dir")


def item_seed(seed: int, item: str, repeat: int) -> int:
    """Seed of one item's generator, in [0, 2**63): depends on nothing but its arguments.

    >>> item_seed(0, "cat.jpg", 1) == item_seed(0, "cat.jpg", 1) != item_seed(0, "cat.jpg", 2)
    True
    """
    digest = hashlib.sha256(f"{seed}\0{item}\0{repeat}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class _Captioner:
    """The models of one run, loaded if an image needs them, and the loop over batches."""

    def __init__(self, settings: CaptionSettings, run: RunFolder) -> None:
        self.settings, self.run = settings, run
        self.work = Work()
        dataset = settings.dataset
        self.reader = ImageReader(dataset.apply_exif_orientation, dataset.skip_greyscale)
        self.scorer: ImageTextModel | None = None
        self.encoder: ImageEncoder | None = None

    def _load(self) -> None:
        import torch

        from magic_cli.decoding.text import CaptionFormat
        from magic_cli.image_features.encoding import connect
        from magic_cli.models.compiling import require_compiler
        from magic_cli.models.loading import load_image_text_model, load_language_model, resolve_device

        settings = self.settings
        if settings.run.threads is not None:
            torch.set_num_threads(settings.run.threads)
        where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value)}
        self.language_model, language_model_facts = load_language_model(settings.language_model, **where, work=self.work)
        models = {"language_model": language_model_facts}
        if settings.decoding.needs_image:
            self.scorer, models["image_text_model"] = load_image_text_model(settings.image_text_model, **where, work=self.work)
            cache = cache_folder(settings.run.image_cache) if settings.run.cache_images else None
            self.reader, self.encoder = connect(self.reader, self.scorer, models["image_text_model"], cache=cache, **where)
        if settings.run.compile:
            require_compiler(where["device"])
            self.language_model.compile()
            if self.scorer is not None:
                self.scorer.compile_text()
        self.lazy = where["device"].type == "cpu" if settings.run.lazy is None else settings.run.lazy
        self.run.use_models(models)
        self.prompt = self.language_model.encode_prompt(settings.prompt)
        self.format = CaptionFormat(self.language_model)
        way = self.language_model.prepare(
            decoding_len=settings.decoding.decoding_len,
            num_candidates=settings.decoding.num_candidates,
            look_ahead=settings.language_model.look_ahead.value,
        )
        self.run.record(device=str(where["device"]), threads=torch.get_num_threads(), look_ahead=way)
        if self.scorer is not None:
            self.run.record(incremental_text=self.scorer.text_tower is not None)

    def caption(self, records: Sequence[ImageRecord]) -> None:
        """Caption what is not done yet, batch by batch.

        Batches are cut from all records, done or not, so that a run that goes on decodes the same batches as one that
        was never interrupted, to the last bit.
        """
        size = self.settings.run.batch_size
        batches = [records[i : i + size] for i in range(0, len(records), size)]
        with tqdm(total=len(records), desc="captions", unit="image", file=sys.stderr, disable=None) as bar, self._recording():
            to_read = self._begin(batches)
            paths = [record.path for number in sorted(to_read) for record in batches[number]]
            workers = choose_workers(self.settings.run.workers) if len(to_read) > 1 else 0
            with ImageStream(self.reader, paths, workers=workers, ahead=_BATCHES_AHEAD * size) as images:
                for number, batch in enumerate(batches):
                    if number in to_read:
                        with self.work.phase("waiting_for_images"):
                            read = images.take(len(batch))
                        self._caption_batch(batch, read)
                    for record in batch:
                        if record.id in self.run.predictions:
                            with bar.external_write_mode(file=sys.stdout):
                                _say(record.id, self.run.predictions[record.id]["caption"])
                    bar.update(len(batch))

    def _begin(self, batches: Sequence[Sequence[ImageRecord]]) -> set[int]:
        """Numbers of the batches that are to be read; if there are any, the models are loaded.

        Where no image that is to be captioned can be read, the reasons are recorded, and nothing is left to do.
        """
        pending = [record for batch in batches for record in batch if record.id not in self.run.predictions]
        reasons = []
        for record in pending:
            outcome = self.reader.read(record.path)
            if not isinstance(outcome, UnreadableImage):
                self._load()
                open_ids = {record.id for record in pending}
                return {i for i, batch in enumerate(batches) if any(record.id in open_ids for record in batch)}
            reasons.append(outcome)
        self._fail(pending, reasons)
        return set()

    def _caption_batch(self, batch: Sequence[ImageRecord], images: list[ReadImage | UnreadableImage]) -> None:
        import torch

        from magic_cli.decoding.generate import generate
        from magic_cli.decoding.method import Guidance

        self._fail(batch, images)
        readable = [(r, image) for r, image in zip(batch, images, strict=True) if not isinstance(image, UnreadableImage)]
        if all(record.id in self.run.predictions for record, _ in readable):
            return
        guidance = None
        if self.encoder is not None:
            features = self.encoder.encode([image for _, image in readable])
            self._fail([record for record, _ in readable], features)
            readable = [pair for pair, feature in zip(readable, features, strict=True) if not isinstance(feature, UnreadableImage)]
            features = [feature for feature in features if not isinstance(feature, UnreadableImage)]
            if not features:
                return
            guidance = Guidance(self.scorer, torch.stack(features))
        open_ids = {record.id for record, _ in readable if record.id not in self.run.predictions}
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
            lazy=self.lazy,
        )
        self.run.add_trace(steps)
        self.run.add_predictions([
            self._prediction(record, image.digest, ids)
            for (record, image), ids in zip(readable, generated, strict=True)
            if record.id in open_ids
        ])

    def _fail(self, records: Sequence[ImageRecord], outcomes: Sequence[Any]) -> None:
        """Record the images that turned out unreadable."""
        self.run.add_failures([
            _failure(record, reason)
            for record, reason in zip(records, outcomes, strict=True)
            if isinstance(reason, UnreadableImage) and record.id not in self.run.predictions
        ])

    def _prediction(self, record: ImageRecord, digest: str, generated: list[int]) -> dict[str, Any]:
        known = {"split": record.split, "references": list(record.references)} if record.references else {}
        caption = self.format.text(self.prompt, generated)
        return {
            "id": record.id,
            "image": str(record.path),
            "image_sha256": digest,
            "caption": caption,
            "token_ids": generated,
            **known,
        }

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
    """One line on stdout; what would break the line or the column in a file name is escaped."""
    print("\t".join(text.translate(_ESCAPES) for text in (item, caption)), flush=True)


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr)


def _report(run: RunFolder) -> int:
    """Tell what came out, on stderr; returns the exit status."""
    failed = [failure for failure in run.failures if not failure.get("skipped")]
    for failure in failed:
        _tell(f"no caption for {failure['image']}: {failure['reason']}")
    skipped = len(run.failures) - len(failed)
    parts = [f"{len(run.predictions)} captions"]
    parts += [f"{len(failed)} images could not be read"] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    _tell(f"{', '.join(parts)}; run folder: {run.path}")
    return SOME_FAILED if failed else DONE
