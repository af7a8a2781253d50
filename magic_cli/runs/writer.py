"""The loop of a run that writes texts: models loaded if an item needs them, images read ahead, batches, traces, failures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import SkippedImage, UnreadableImage
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.image_features.cache import cache_folder
from magic_cli.image_features.reading import ImageReader, ImageStream, ReadImage, choose_workers
from magic_cli.terminal.progress import progress
from magic_cli.terminal.streams import print_line
from magic_cli.models.work_counts import Work
from magic_cli.runs.folder import RunFolder
from magic_cli.runs.kinds import Item, Unwritable, WritingTask

if TYPE_CHECKING:
    from magic_cli.image_features.encoding import ImageEncoder
    from magic_cli.models.image_text.image_text_model import ImageTextModel
    from magic_cli.retrieval.caption_retriever import CaptionRetriever

_BATCHES_AHEAD = 2  # whose images are read while the models work on another

Outcome = ReadImage | UnreadableImage | Unwritable | None
"""What came of an item's image, or why there can be no text; None: it is written without an image."""
_FAULTS = (UnreadableImage, Unwritable)


def item_seed(seed: int, item: str, repeat: int) -> int:
    """Seed of one item's generator, in [0, 2**63): depends on nothing but its arguments.

    >>> item_seed(0, "cat.jpg", 1) == item_seed(0, "cat.jpg", 1) != item_seed(0, "cat.jpg", 2)
    True
    """
    digest = hashlib.sha256(f"{seed}\0{item}\0{repeat}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Writer:
    """The models of one run, loaded if an item needs them, and the loop over batches."""

    def __init__(self, settings: Any, task: WritingTask, run: RunFolder) -> None:
        self.settings, self.task, self.run = settings, task, run
        self.work = Work()
        dataset = settings.dataset
        self.reader = ImageReader(dataset.apply_exif_orientation, dataset.skip_greyscale)
        self.scorer: ImageTextModel | None = None
        self.encoder: ImageEncoder | None = None
        self.retriever: CaptionRetriever | None = None

    def _load(self, first: Item) -> None:
        """Load the models; ``first`` is the first item that a text is to be written for."""
        if not self.settings.decoding.needs_language_model:
            from magic_cli.retrieval.caption_retriever import CaptionRetriever

            self.retriever = CaptionRetriever(self.settings.decoding)  # before torch and the models: its captions may be missing

        import torch

        from magic_cli.image_features.encoding import connect
        from magic_cli.models.loading import load_image_text_model, load_language_model, resolve_device

        settings = self.settings
        if settings.run.threads is not None:
            torch.set_num_threads(settings.run.threads)
        where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value)}
        models: dict[str, Any] = {}
        if settings.decoding.needs_language_model:
            self.language_model, models["language_model"] = load_language_model(
                settings.language_model, **where, work=self.work, check=lambda tokens: self._check(tokens, first)
            )
        if settings.decoding.needs_image:
            self.scorer, models["image_text_model"] = load_image_text_model(settings.image_text_model, **where, work=self.work)
            cache = cache_folder(settings.run.image_cache) if settings.run.cache_images else None
            self.reader, self.encoder = connect(self.reader, self.scorer, models["image_text_model"], cache=cache, **where)
        if self.retriever is not None:
            with self.work.phase("index"):
                facts = models["image_text_model"]
                models["captions"] = self.retriever.open(self.scorer, facts, where=where, threads=settings.run.threads)
        self.run.use_models(models)
        self.run.record(device=str(where["device"]), threads=torch.get_num_threads())
        if self.retriever is None:
            self._prepare(where["device"])

    def _check(self, tokens: Any, item: Item) -> None:
        """Refuse what the language model cannot do before its weights are read; ``tokens`` are its ``models.tokens.Tokens``."""
        try:
            prompts = [self.task.prompt(tokens, item)]
        except Unwritable:  # other items may do
            prompts = []
        self.settings.decoding.check(tokens, prompts)

    def _prepare(self, device: Any) -> None:
        """Make the models ready to decode."""
        from magic_cli.models.fast.compiling import require_compiler

        settings = self.settings
        if settings.run.compile:
            require_compiler(device)
            self.language_model.compile()
            if self.scorer is not None:
                self.scorer.compile_text()
        # a trace leaves nothing out unless that is asked for
        self.lazy = device.type == "cpu" and not settings.run.trace if settings.run.lazy is None else settings.run.lazy
        self.rules, stop = settings.rules.build(self.language_model)
        self.format = self.task.text_format(self.language_model, stop)
        # in 16 bits, a step that is found again in another batch would often have another winner
        self.exact = settings.run.dtype.value == "float32"
        # a trace is the same to the last digit, whatever interrupts its run; what is remembered depends on that. On a GPU the batch
        # would wait while each row follows its remembered steps
        remembers = self.exact and settings.run.step_memory and not settings.run.trace and device.type == "cpu"
        self.memory = StepMemory(settings.run.step_memory << 20) if remembers else None
        way = self.language_model.prepare(
            decoding_len=settings.decoding.decoding_len,
            num_candidates=settings.decoding.num_candidates,
            look_ahead=settings.language_model.look_ahead.value,
        )
        self.run.record(look_ahead=way)
        if self.scorer is not None:
            self.run.record(incremental_text=self.scorer.text_tower is not None)

    def write(self, items: Sequence[Item]) -> None:
        """Write what is not done yet, batch by batch.

        Batches are cut from all items, done or not, so that a run that goes on decodes the same batches as one that
        was never interrupted. What it remembers of earlier texts may differ, the tokens do not.
        """
        size, task = self.settings.run.batch_size, self.task
        batches = [items[i : i + size] for i in range(0, len(items), size)]
        with progress(len(items), task.texts, task.unit) as bar, self._recording():
            to_read = self._begin(batches)
            paths = [path for number in sorted(to_read) for item in batches[number] for path in task.images(item)]
            workers = choose_workers(self.settings.run.workers) if len(to_read) > 1 else 0
            with ImageStream(self.reader, paths, workers=workers, ahead=_BATCHES_AHEAD * size) as images:
                for number, batch in enumerate(batches):
                    if number in to_read:
                        self._write_batch(batch, self._take(images, batch))
                    for item in batch:
                        if item.id in self.run.predictions:
                            with bar.paused():
                                print_line(*task.line(item, self.run.predictions[item.id]))
                    bar.update(len(batch))

    def _begin(self, batches: Sequence[Sequence[Item]]) -> set[int]:
        """Numbers of the batches that are to be read; if there are any, the models are loaded.

        Where no image that a text is to be written for can be read, the reasons are recorded, and nothing is left to do.
        """
        pending = [item for batch in batches for item in batch if item.id not in self.run.predictions]
        reasons = []
        for item in pending:
            outcome = self._judge(item, [self.reader.read(path) for path in self.task.images(item)])
            if not isinstance(outcome, _FAULTS):
                self._load(item)
                open_ids = {item.id for item in pending}
                return {i for i, batch in enumerate(batches) if any(item.id in open_ids for item in batch)}
            reasons.append(outcome)
        self._fail(pending, reasons)
        return set()

    def _take(self, images: ImageStream, batch: Sequence[Item]) -> list[Outcome]:
        """The next images of the stream, for those items of the batch that have some."""
        with self.work.phase("waiting_for_images"):
            return [self._judge(item, images.take(len(self.task.images(item)))) for item in batch]

    def _judge(self, item: Item, images: Sequence[ReadImage | UnreadableImage]) -> Outcome:
        """What comes of an item whose images are read."""
        if images:
            return images[0]
        return UnreadableImage("there is no image for it") if self.settings.decoding.needs_image else None

    def _write_batch(self, batch: Sequence[Item], images: Sequence[Outcome]) -> None:
        images = [self._refused(item) or image for item, image in zip(batch, images, strict=True)]
        self._fail(batch, images)
        readable = [(item, image) for item, image in zip(batch, images, strict=True) if not isinstance(image, _FAULTS)]
        if all(item.id in self.run.predictions for item, _ in readable):
            return
        features = None
        if self.encoder is not None:
            outcomes = self.encoder.encode([image for _, image in readable])
            self._fail([item for item, _ in readable], outcomes)
            readable = [pair for pair, outcome in zip(readable, outcomes, strict=True) if not isinstance(outcome, UnreadableImage)]
            features = [outcome for outcome in outcomes if not isinstance(outcome, UnreadableImage)]
            if not features:
                return
        if self.retriever is None:
            self._decode(readable, features)
        else:
            self._retrieve(readable, features)

    def _refused(self, item: Item) -> Unwritable | None:
        if self.retriever is not None:
            return None
        try:
            self.task.prompt(self.language_model, item)
        except Unwritable as reason:
            return Unwritable(str(reason))
        return None

    def _decode(self, readable: Sequence[tuple[Item, ReadImage | None]], features: Sequence[Any] | None) -> None:
        """Write one text for each item; ``features`` are those of its image, of methods that look at it."""
        import torch

        from magic_cli.decoding.generate import generate
        from magic_cli.decoding.request import Options

        open_ids = {item.id for item, _ in readable if item.id not in self.run.predictions}
        steps: list[dict[str, Any]] = []

        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            item = readable[index][0].id
            if item in open_ids:
                texts = self.language_model.token_texts(details.get("token_ids", [details["choice"]]))
                steps.append({"id": item, "step": step, **details, "tokens": texts})

        options = self.settings.run
        prompts = [self.task.prompt(self.language_model, item) for item, _ in readable]
        method = self.settings.decoding
        written = generate(
            self.language_model,
            method,
            prompts,
            [] if features is None else [method.image_guide(self.scorer, torch.stack(features))],
            Options(
                is_settled=self.format.is_settled,
                seeds=[item_seed(options.seed, item.id, options.repeat) for item, _ in readable],
                rules=self.rules,
                on_step=trace if options.trace else None,
                lazy=self.lazy,
                memory=self.memory,
                settle_ties=self.exact,
            ),
        )
        if self.memory is not None and self.memory.met:
            self.work.add("steps_remembered", self.memory.met - self.work.counts["steps_remembered"])
        self.run.add_trace(steps)
        self.run.add_predictions([
            self.task.prediction(item, digest=image and image.digest, text=self.format.text(prompt, one.ids), token_ids=one.ids)
            for (item, image), prompt, one in zip(readable, prompts, written, strict=True)
            if item.id in open_ids
        ])

    def _retrieve(self, readable: Sequence[tuple[Item, ReadImage]], features: Sequence[Any]) -> None:
        """Texts of a method that finds them instead of writing them."""
        import torch

        with self.work.phase("retrieval"):
            retrieved = self.retriever.retrieve(torch.stack(features))
        self.run.add_predictions([
            self.task.prediction(item, digest=image.digest, text=best[0]["caption"], retrieved=best)
            for (item, image), best in zip(readable, retrieved, strict=True)
            if item.id not in self.run.predictions
        ])

    def _fail(self, items: Sequence[Item], outcomes: Sequence[Any]) -> None:
        """Record the items that turned out to have no readable image, or to be unwritable."""
        self.run.add_failures([
            {**self.task.describe(item), "reason": str(reason), **({"skipped": True} if isinstance(reason, SkippedImage) else {})}
            for item, reason in zip(items, outcomes, strict=True)
            if isinstance(reason, _FAULTS) and item.id not in self.run.predictions
        ])

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Note the work done in the manifest, also when the run is stopped."""
        try:
            yield
        finally:
            phases = {name: round(seconds, 3) for name, seconds in self.work.seconds.items()}
            self.run.record(work=dict(self.work.counts), phase_seconds=phases)
