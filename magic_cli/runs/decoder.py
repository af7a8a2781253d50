"""What decodes the texts of a run: method, guides, models and rules, loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from magic_cli.data.images import UnreadableImage
from magic_cli.decoding.guides import Guide
from magic_cli.decoding.request import is_lazy
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.guides.base import Images
from magic_cli.image_features.cache import cache_folder
from magic_cli.image_features.reading import BATCHES_AHEAD, ImageReader, ReadImage
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batch_size import AUTO
from magic_cli.runs.kinds import Item, Unwritable, WritingTask
from magic_cli.terminal.progress import LOADING, progress

if TYPE_CHECKING:
    from magic_cli.decoding.request import OnStep, Options
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel
    from magic_cli.models.language.lookahead import LookAhead

Features = Sequence[Any]
"""Features of one image: (E,) for each image-text model."""


class Facts(Protocol):
    """Receives facts about a run that must be remembered."""

    def use_models(self, models: dict[str, Any]) -> None:
        """Record the models, as ``{setting: description by its loader}``.

        Raises:
            MagicError: The run was begun with other models.
        """

    def record(self, **facts: Any) -> None:
        """Record facts such as the device."""


def item_seed(seed: int, item: str, repeat: int) -> int:
    """The seed of one item's generator, in [0, 2**63). It depends on nothing but the arguments.

    >>> item_seed(0, "cat.jpg", 1) == item_seed(0, "cat.jpg", 1) != item_seed(0, "cat.jpg", 2)
    True
    """
    digest = hashlib.sha256(f"{seed}\0{item}\0{repeat}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_tokens(tokens: Any, method: Any, task: WritingTask, item: Item) -> None:
    """Refuse what a language model (``tokens``: its ``models.tokens.Tokens``) cannot do, before its weights are read."""
    try:
        prompts = [task.prompt(tokens, item)]
    except Unwritable:  # the other items may still be possible
        prompts = []
    method.check(tokens, prompts)


class Decoder:
    """The models of a run and everything that is set for decoding.

    Args:
        settings: Settings of the command.
        task: The kind of text.
        reader: Reads image files.
        work: Counts the work done.
        shelf: Keeps loaded models; None: a new shelf.
    """

    def __init__(
        self, settings: Any, task: WritingTask, reader: ImageReader, work: WorkCounter, shelf: Shelf | None = None
    ) -> None:
        self.settings, self.task, self.work, self.shelf = settings, task, work, shelf or Shelf()
        self._reader = reader
        # before torch and the models are loaded: the caption files may be missing
        self.method = settings.decoding.load()
        self.guides = [guide.load() for guide in settings.chosen_guides.values()]
        self.language_model: HuggingFaceLanguageModel | None = None
        self._memory: StepMemory | None = None
        self._met = 0  # remembered steps that have been counted
        self._way: LookAhead | None = None

    def load(self, run: Facts, first: Item) -> None:
        """Load the models and prepare them; ``first`` is the first item that needs a text.

        Raises:
            MagicError: The models cannot be loaded, or cannot do what the settings ask.
        """
        import torch

        from magic_cli.image_features.viewers import Circumstances, Viewers
        from magic_cli.models.loading import resolve_device
        from magic_cli.models.threads import use_threads

        settings = self.settings
        threads = use_threads(settings.run.threads)
        where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value)}
        cache = cache_folder(settings.run.image_cache) if settings.run.cache_images else None
        self.viewers = Viewers(
            self._reader, Circumstances(**where, threads=settings.run.threads, cache=cache, work=self.work, shelf=self.shelf)
        )
        models: dict[str, Any] = {}
        count = self.method.needs_language_model + self.method.needs_image + len(self.guides)
        with progress(count, LOADING, "model", leave=False) as bar:
            if self.method.needs_language_model:
                self.language_model, models["language_model"] = self.shelf.language_model(
                    settings.language_model,
                    **where,
                    work=self.work,
                    check=lambda tokens: check_tokens(tokens, self.method, self.task, first),
                )
                bar.update()
            if self.method.needs_image:
                models["image_text_model"] = self.viewers.add(settings.image_text_model).facts
                bar.update()
            models |= self.method.open(self.viewers)
            for guide in self.guides:
                models[guide.setting] = guide.open(self.viewers)
                bar.update()
        run.use_models(models)
        run.record(device=str(where["device"]), threads=threads)
        if self.language_model is not None:
            self._prepare(run, where["device"], self.language_model)

    def _prepare(self, run: Facts, device: Any, language_model: HuggingFaceLanguageModel) -> None:
        """Prepare the language model, the guides and the rules for decoding."""
        from magic_cli.models.fast.compiling import require_compiler

        settings = self.settings
        if settings.run.compile:
            require_compiler(device)
            language_model.compile()
            for viewer in self.viewers.list:
                viewer.model.compile_text()
        self.rules, stop = settings.rules.build(language_model)
        self.format = self.task.text_format(language_model, stop)
        # In 16 bits, a remembered step would often choose another winner than the same step in another batch.
        # On a GPU, the whole batch would wait while each row follows its remembered steps.
        self.exact = settings.run.dtype.value == "float32"
        if self.exact and settings.run.step_memory and device.type == "cpu":
            self._memory = StepMemory(settings.run.step_memory << 20)
        way = language_model.prepare(
            decoding_len=self.method.decoding_len,
            num_candidates=self.method.num_candidates,
            look_ahead=settings.language_model.look_ahead.value,
        )
        self._way = language_model.way
        run.record(look_ahead=way)
        if self.viewers.list:
            run.record(incremental_text=self.viewers.list[0].model.text_tower is not None)

    def go_on(self, settings: Any, task: WritingTask) -> None:
        """Continue with the loaded models for items of ``task``. ``settings`` may differ in seed, repeat and trace only."""
        self.settings, self.task = settings, task
        if self.language_model is not None:
            self.language_model.way = self._way  # another decoder may have used the model in between

    @property
    def memory(self) -> StepMemory | None:
        """The memory of earlier steps. None with a trace, which must be the same to the last digit after an interruption."""
        return None if self.settings.run.trace else self._memory

    @property
    def lazy(self) -> bool:
        """Whether candidates that can no longer win are skipped. With a trace, only if the settings say so."""
        run = self.settings.run
        if run.lazy is not None:
            return run.lazy
        return not run.trace and (run.batch_size == AUTO or is_lazy(self.viewers.where.device.type, run.batch_size))

    def prompt(self, item: Item) -> list[int]:
        """Token ids before the item's text; none for methods that write no tokens.

        Raises:
            Unwritable: No text can be written for this item.
        """
        return [] if self.language_model is None else self.task.prompt(self.language_model, item)

    def encode(self, images: Sequence[ReadImage | None]) -> Sequence[Features | UnreadableImage]:
        """The features of each image by every model that looks at it, or the reason why there are none."""
        return self.viewers.encode(images)

    def write(self, items: Sequence[Item], features: Sequence[Features], on_step: OnStep | None) -> list[dict[str, Any]]:
        """Write one text for each item; returns the details that ``task.prediction`` takes, with the text as ``text``.

        Args:
            items: The items.
            features: The features of each item's image.
            on_step: Called after each choice of a token, for a trace.
        """
        from magic_cli.decoding.generate import generate

        prompts = [self.prompt(item) for item in items]
        written = generate(
            self.language_model, self.method, prompts, self._guides(items, features), self._options(items, on_step)
        )
        if self.memory is not None and self.memory.met:
            self.work.add("steps_remembered", self.memory.met - self._met)
            self._met = self.memory.met
        return [
            {"text": self.format.text(prompt, one.ids), "token_ids": one.ids}
            if one.text is None
            else {"text": one.text, **one.details}
            for prompt, one in zip(prompts, written, strict=True)
        ]

    def try_texts(self, item: Item, number: int) -> None:
        """Write texts of full length side by side, as unlike one another as can be, for memory to be measured.

        In each step all candidates are looked at and asked about: how many a run can leave out depends on the texts, and one step of a
        run may leave out none.

        Args:
            item: What they would be written about, but for its image.
            number: How many texts.
        """
        import torch
        from PIL import Image

        from magic_cli.decoding.generate import generate

        generator = torch.Generator().manual_seed(number)
        image, seen = Image.new("RGB", (256, 256)), []
        for viewer in self.viewers.list:
            prepared = [viewer.model.prepare_image(image) for _ in range((1 + BATCHES_AHEAD) * number)]
            features = viewer.model.encode_prepared(prepared[:number])
            seen.append(torch.randn(features.shape, generator=generator).to(features))
        prompts: list[list[int]] = [[] for _ in range(number)]
        if self.language_model is not None:
            try:
                prompt = self.prompt(item)
            except Unwritable:  # one that fills all the room is as good
                prompt = []
            first = torch.randint(self.language_model.vocab_size, (number,), generator=generator).tolist()
            has_room = len(prompt) + 1 < self.method.decoding_len
            prompts = [[*prompt, token] if has_room else prompt for token in first]
        options = replace(self._options([item] * number, None), text_format=None, memory=None, lazy=False, seeds=range(number))
        generate(self.language_model, self.method, prompts, self._guides([item] * number, list(zip(*seen, strict=True))), options)

    def stream(self, item: Item, features: Features, on_step: OnStep) -> Iterator[None]:
        """Write one text step by step. Other decoders may use the models between two steps.

        Args:
            item: The item.
            features: The features of its image.
            on_step: Called after each choice of a token.
        """
        from magic_cli.decoding.generate import stream

        # read now, not at the first step: another call may have changed the settings by then
        prompt, guides, options = self.prompt(item), self._guides([item], [features]), self._options([item], on_step)
        model = self.language_model
        assert model is not None  # other methods take no steps

        def steps() -> Iterator[None]:
            for _ in stream(model, self.method, prompt, guides, options):
                yield
                model.way = self._way

        return steps()

    def _guides(self, items: Sequence[Item], features: Sequence[Features]) -> list[Guide]:
        """The guides that steer the texts of a batch."""
        import torch

        if not self.viewers.list:
            return []
        seen = tuple(torch.stack(column) for column in zip(*features, strict=True))
        images = Images(seen, [self.task.image_names(item) for item in items])
        guides: list[Guide] = [self.method.image_guide(self.viewers.list[0].model, seen[0])]
        for guide in self.guides:
            guides = guide.steer(guides, images)
        return guides

    def _options(self, items: Sequence[Item], on_step: OnStep | None) -> Options:
        from magic_cli.decoding.request import Options

        if self.language_model is None:
            return Options()
        run = self.settings.run
        return Options(
            text_format=self.format,
            seeds=[item_seed(run.seed, item.id, run.repeat) for item in items],
            rules=self.rules,
            on_step=on_step,
            lazy=self.lazy,
            memory=self.memory,
            settle_ties=self.exact,
            counts=self.work.counts,
        )
