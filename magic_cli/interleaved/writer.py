"""The loop of ``magic interleave``: all items of a batch take each step together, and its images are sampled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import StoredImage, UnreadableImage
from magic_cli.data.interleaved import InterleavedItem, Part
from magic_cli.errors import MagicError, SettingsError
from magic_cli.image_features.reading import Look, ReadImage
from magic_cli.interleaved.pictures import picture_name, remove_others, save_picture
from magic_cli.interleaved.prompts import Piece, step_prompt
from magic_cli.interleaved.run_settings import DrawFrom, ForceImage, History
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.choices import method_name
from magic_cli.runs.decoder import Facts, item_seed
from magic_cli.runs.kinds import Unwritable
from magic_cli.runs.writer import Writer
from magic_cli.terminal.progress import LOADING, progress
from magic_cli.terminal.wording import counted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from magic_cli.decoding.guides import Guide
    from magic_cli.decoding.prompts import Prompt
    from magic_cli.decoding.request import OnStep
    from magic_cli.interleaved.drawers import Answer
    from magic_cli.interleaved.drawing import Drawing
    from magic_cli.interleaved.task import InterleavedTask
    from magic_cli.interleaved.viewing import Seen
    from magic_cli.models.image_text.image_text_model import ImageTextModel


@dataclass
class Story:
    """One item while it is written."""

    item: InterleavedItem
    digests: dict[Path | StoredImage, str]
    """SHA-256 of the images that were read for it."""
    seen: dict[Path | StoredImage, Seen]
    """The representations of each image in its prompts."""
    answers: list[Answer] = field(default_factory=list)
    pictures: list[tuple[str, str] | None] = field(default_factory=list)
    """Name and SHA-256 of each answer's image."""
    trace: list[dict[str, Any]] = field(default_factory=list)
    fault: Unwritable | None = None


class InterleavedBatchWriter(BatchWriter[InterleavedItem]):
    """Writes texts and images; ``BatchWriter`` reads images and notes failures."""

    task: InterleavedTask

    def load(self, facts: Facts, first: InterleavedItem) -> None:
        from magic_cli.interleaved.loading import load_interleaved_model
        from magic_cli.models.loading import load_image_text_model

        settings, where, scorer = self.settings, self._begin_on_device(facts), None
        with progress(1 + settings.decoding.needs_image, LOADING, "model", leave=False) as bar:
            self.model, models = load_interleaved_model(settings.interleaved_model, **where)
            bar.update()
            if settings.decoding.needs_image:
                scorer, models["image_text_model"] = load_image_text_model(settings.image_text_model, **where)
                bar.update()
        facts.use_models(models)
        facts.record(look_ahead=self._prepare(scorer, where["device"]))

    def _prepare(self, scorer: ImageTextModel | None, device: torch.device) -> str:
        """Prepare the models; returns the way in which the language model computes candidates."""
        from magic_cli.decoding.request import Options
        from magic_cli.interleaved.answers import Answering
        from magic_cli.interleaved.drawers import VokenDrawer
        from magic_cli.interleaved.loading import text_drawer
        from magic_cli.interleaved.viewing import Viewer
        from magic_cli.models.fast.compiling import require_compiler

        settings = self.settings
        language_model = self.model.language_model
        if settings.run.compile:
            require_compiler(device)
            language_model.compile()
        settings.decoding.check(language_model, [])
        self._check_sampling(self.model.drawing)
        number = len(self.model.voken_ids)
        if settings.force_image is not ForceImage.none and settings.max_new_tokens <= number:
            raise SettingsError(
                f"max_new_tokens={settings.max_new_tokens}: an image takes {number} tokens, and force_image={settings.force_image.value} wants one; raise it"
            )
        way = language_model.prepare(
            decoding_len=settings.decoding.decoding_len,
            num_candidates=settings.decoding.num_candidates,
            look_ahead=settings.interleaved_model.language_model.look_ahead.value,
        )
        rules, stop = settings.rules.build(language_model)
        lazy = device.type == "cpu" and not settings.run.trace if settings.run.lazy is None else settings.run.lazy
        options = Options(rules=rules, lazy=lazy, settle_ties=settings.run.dtype.value == "float32", counts=self.work.counts)
        from_vokens = settings.draw_from is DrawFrom.vokens
        self.answering = Answering(self.model, settings.decoding, options, stop, settings.force_image if from_vokens else None)
        source = settings.interleaved_model.diffusion
        self.drawer = VokenDrawer(self.model) if from_vokens else text_drawer(source, self.model.drawing)
        self.viewer = Viewer(self.model, scorer, self.work)
        self.reader = replace(self.reader, looks=(Look(self.viewer.prepare),))
        return way

    def _begin_on_device(self, facts: Facts) -> dict[str, Any]:
        """Set the device, the number type and the counter of work."""
        import torch

        from magic_cli.models.loading import resolve_device
        from magic_cli.models.threads import use_threads

        options = self.settings.run
        threads = use_threads(options.threads)
        device = resolve_device(options.device)
        facts.record(device=str(device), threads=threads)
        return {"device": device, "dtype": getattr(torch, options.dtype.value), "work": self.work}

    def _check_sampling(self, drawing: Drawing) -> None:
        """Refuse settings that the diffusion model cannot obey, before anything is drawn."""
        from magic_cli.interleaved.drawers import How

        settings = self.settings
        drawing.check(settings.steps, settings.scheduler)
        self.how = How(settings.guidance, settings.steps, settings.scheduler)

    def judge(self, item: InterleavedItem, images: Sequence[ReadImage | UnreadableImage]) -> Any:
        """All images of an item, as a list, or the first error among them."""
        try:
            self.task.refuse_unknown_past(item)
        except Unwritable as reason:
            return Unwritable(str(reason))
        read = []
        for path, image in zip(self.task.images(item), images, strict=True):
            if isinstance(image, UnreadableImage):
                return type(image)(f"{path}: {image}")
            read.append(image)
        return read

    def _write(self, batch: Batch[InterleavedItem], images: Sequence[Any], result: BatchResult) -> None:
        result.failures += self.failures(batch.items, images, batch.done)
        writable = [(item, outcome) for item, outcome in zip(batch.items, images, strict=True) if isinstance(outcome, list)]
        if all(item.id in batch.done for item, _ in writable):
            return
        stories = [self._begin_story(item, outcome) for item, outcome in writable]
        for number in range(max(len(story.item.steps) for story in stories)):
            going = [story for story in stories if story.fault is None and number < len(story.item.steps)]
            self._take_step(going, number)
        result.failures += self.failures([story.item for story in stories], [story.fault for story in stories], batch.done)
        new = [story for story in stories if story.fault is None and story.item.id not in batch.done]
        result.steps += [step for story in new for step in story.trace]  # item by item, so that a kill never splits one
        result.predictions += [self.task.record(story.item, story.answers, story.pictures, story.digests) for story in new]

    def _begin_story(self, item: InterleavedItem, images: Sequence[ReadImage]) -> Story:
        paths = self.task.images(item)
        seen = self.viewer.see([image.views[0].prepared for image in images])
        return Story(
            item, {path: image.digest for path, image in zip(paths, images, strict=True)}, dict(zip(paths, seen, strict=True))
        )

    def _take_step(self, stories: Sequence[Story], number: int) -> None:
        """Write and draw the answers to one step of each story."""
        from magic_cli.interleaved.drawers import draw_images

        writing, answers = self._answers(stories, number)
        with self.work.phase("drawing"):
            draw_images(self.drawer, answers, [self._seed(story, number, "image") for story in writing], self.how)
        for story, answer in zip(writing, answers, strict=True):
            story.answers.append(answer)
            story.pictures.append(self._keep(story, number, answer))

    def _answers(self, stories: Sequence[Story], number: int) -> tuple[Sequence[Story], Sequence[Answer]]:
        """The stories that can take the step, and their answers without images; the other stories get a fault."""
        ready: list[tuple[Story, Prompt, Tensor | None]] = []
        for story in stories:
            try:
                ready.append((story, *self._prompt(story, number)))
            except Unwritable as reason:
                story.fault = Unwritable(f"step {number + 1}: {reason}")
        if not ready:
            return [], []
        writing, prompts, features = zip(*ready, strict=True)
        answers = self.answering.write(
            prompts,
            [self._seed(story, number, "text") for story in writing],
            self._guides(features),
            new_tokens=self.settings.max_new_tokens,
            on_step=self._tracer(writing, number) if self.settings.run.trace else None,
        )
        self.work.add("tokens_written", sum(len(answer.ids) for answer in answers))
        return writing, answers

    def _keep(self, story: Story, number: int, answer: Answer) -> tuple[str, str] | None:
        """Save an answer's image and, if later steps see it, read it; returns its name and SHA-256."""
        if answer.image is None:
            return None
        self.work.add("images_drawn", 1)
        name = picture_name(story.item.id, number + 1)
        digest = save_picture(self.folder, name, answer.image)
        is_looked_at = self.task.looks_at_images and self.settings.history is History.self and number + 1 < len(story.item.steps)
        if is_looked_at and self.settings.context.keeps(Part(image=Path(name))):
            [story.seen[Path(name)]] = self.viewer.see([self.viewer.prepare(answer.image)])
        return name, digest

    def _seed(self, story: Story, number: int, what: str) -> int:
        """A seed that depends on the item and the step alone."""
        options = self.settings.run
        return item_seed(options.seed, f"{story.item.id}\0{number}\0{what}", options.repeat)

    def _guides(self, features: Sequence[Tensor | None]) -> list[Guide]:
        """The guides of a method that looks at an image."""
        import torch

        if self.viewer.scorer is None:
            return []
        seen = [feature for feature in features if feature is not None]
        assert len(seen) == len(features), "each prompt has an image to look at: _prompt refuses others"
        return [self.settings.decoding.image_guide(self.viewer.scorer, torch.stack(seen))]

    def _prompt(self, story: Story, number: int) -> tuple[Prompt, Tensor | None]:
        """The prompt of the step, and for methods that look at an image the feature of the last image in it.

        Raises:
            Unwritable: It is too long, contains a token that stands for an image, or has no image to look at.
        """
        answers = [self._answer_of(story, place) for place in range(number)]
        pieces = step_prompt(story.item, number, answers, self.settings.context, self.settings.prompt)
        self._refuse_reserved(pieces)
        text = "".join(piece if isinstance(piece, str) else self.model.slot_text for piece in pieces)
        images = [story.seen[piece] for piece in pieces if not isinstance(piece, str)]
        if self.settings.decoding.needs_image and not images:
            raise Unwritable(
                f"decoding={method_name(self.settings.decoding)} looks at the last image before the answer, and there is none"
            )
        try:
            prompt = self.model.prompt(text, [image.vectors for image in images])
        except MagicError as error:
            raise Unwritable(str(error)) from error
        room, length = self.settings.decoding.decoding_len, len(prompt.ids)
        least = len(self.model.voken_ids) + 1
        if length + least > room:
            raise Unwritable(
                f"its prompt has {counted(length, 'token')}, which leaves no room for an answer in decoding.decoding_len={room}; shorten it, or see less: context=text, context=none"
            )
        return prompt, images[-1].feature if images else None

    def _answer_of(self, story: Story, number: int) -> tuple[Part, ...]:
        """The answer to an earlier step, as this story sees it."""
        if self.settings.history is History.gt:
            return story.item.steps[number].target or ()
        answer, picture = story.answers[number], story.pictures[number]
        parts = [answer.before, None if picture is None else Path(picture[0]), answer.after]
        return tuple(Part(image=part) if isinstance(part, Path) else Part(part) for part in parts if part)

    def _refuse_reserved(self, pieces: Sequence[Piece]) -> None:
        tokens = self.model.language_model.token_texts([*self.model.voken_ids, self.model.slot_id])
        for token in tokens:
            if any(token in piece for piece in pieces if isinstance(piece, str)):
                raise Unwritable(f"a text holds {token!r}, which stands for an image; take it out")

    def _tracer(self, stories: Sequence[Story], number: int) -> OnStep:
        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            texts = self.model.language_model.token_texts(details.get("token_ids", [details["choice"]]))
            stories[index].trace.append(
                {"id": stories[index].item.id, "answer": number + 1, "step": step, **details, "tokens": texts}
            )

        return trace


class InterleavedWriter(Writer[InterleavedItem]):
    """Also removes, at the end, images that belong to no text."""

    batch_writer = InterleavedBatchWriter

    def write(self, items: Sequence[InterleavedItem]) -> None:
        if self.settings.run.part is None or self.settings.run.part.number == 1:
            self.run.add_failures([{"id": item, "reason": reason} for item, reason in self.settings.dataset.left_out()])
        super().write(items)
        records = [*self.run.predictions.values(), *self.run.dropped().values()]
        remove_others(self.run.path, [step["image"] for record in records for step in record["steps"] if step["image"]])
