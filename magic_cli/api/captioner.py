"""Captions and stories from Python: ``magic_cli.load`` returns a ``Captioner``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from magic_cli.api.images import Image, Images, file_of, is_one, pictures
from magic_cli.api.items import caption_item, story_items
from magic_cli.api.models import LoadedModels
from magic_cli.api.results import Caption, Step, Story, StreamedStep, step_of
from magic_cli.api.settings import loading_overrides, settings_for, writing_overrides
from magic_cli.api.streaming import streamed
from magic_cli.api.writing import MemoryWriter
from magic_cli.configuration.overrides import override
from magic_cli.errors import SettingsError
from magic_cli.runs.captions import CaptionTask
from magic_cli.runs.choices import method_name
from magic_cli.runs.stories import StoryTask

if TYPE_CHECKING:
    import torch

    from magic_cli.data.records import ImageRecord
    from magic_cli.data.stories import StoryRecord

OnError: TypeAlias = Literal["raise", "skip"]
_ONE_IMAGE = ["dataset=files", "dataset.paths=[image]"]
_ONE_TITLE = ["dataset=title", "dataset.title=[title]"]
"""Stand for the images and titles of a call while its settings are checked."""


def load(
    language_model: str | os.PathLike[str] = "embedded",
    image_text_model: str | os.PathLike[str] = "embedded",
    *,
    device: str | torch.device | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Captioner:
    """Load the two models: one writes, the other compares texts with the image.

    Args:
        language_model: A name (``embedded``, ``gpt2``, ``magic_mscoco``; see ``configs/language_model/``), a folder, a GGUF file, or a
            hub id.
        image_text_model: A name (``embedded``, ``clip_vit_b32``, ``siglip``; see ``configs/image_text_model/``), a folder, a weights
            file of OpenAI, or a hub id.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, or a device of torch; None: ``auto``.
        settings: Other settings by full name, such as ``{"run.dtype": "bfloat16"}``; calls may override them.

    Raises:
        MagicError: A model cannot be loaded, or a setting is wrong.
    """
    overrides = loading_overrides(language_model, image_text_model, settings or {})
    return Captioner([*overrides, *([] if device is None else [override("run.device", str(device))])])


class Captioner:
    """Two models, and everything that they can write.

    All methods take ``method``, an option of ``configs/decoding/`` (``magic``, ``contrastive``, ``greedy``, ``beam``,
    ``top_k``, ``nucleus``, ``typical``, ``rerank``, ``zerocap``, ``clipre``, ``magic_memory``, ``magic_beam``; None: ``magic``).
    Its settings are keywords (``k``, ``alpha``, ``beta``, ``guides``). Further keywords are ``prompt`` and
    ``settings={"rules.min_length": 5}``, with other settings by full name. A setting that is not given has the default of the
    command line.

    Attributes:
        models: The description of each model that was used, as in manifest.json: name, commit, digests of files.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        """Called by ``load``; ``overrides`` choose the models."""
        self._overrides, self._models = list(overrides), LoadedModels()
        self._models.load(settings_for("caption", [*self._overrides, *_ONE_IMAGE]))

    @property
    def models(self) -> dict[str, Any]:
        return self._models.facts

    @property
    def device(self) -> str:
        """The device of the models."""
        return self._models.circumstances["device"]

    def __repr__(self) -> str:
        language_model, image_text_model = (
            self.models[name].get("name") or self.models[name].get("path") for name in ("language_model", "image_text_model")
        )
        return f"Captioner({str(language_model)!r}, {str(image_text_model)!r}, device={self.device!r})"

    @overload
    def caption(
        self,
        images: Image,
        method: str | None = ...,
        *,
        seed: int | None = ...,
        trace: bool = ...,
        on_error: OnError = ...,
        **settings: Any,
    ) -> Caption: ...
    @overload
    def caption(
        self,
        images: Images,
        method: str | None = ...,
        *,
        seed: int | None = ...,
        trace: bool = ...,
        on_error: OnError = ...,
        **settings: Any,
    ) -> list[Caption]: ...
    def caption(
        self,
        images: Images,
        method: str | None = None,
        *,
        seed: int | None = None,
        trace: bool = False,
        on_error: OnError = "raise",
        **settings: Any,
    ) -> Caption | list[Caption]:
        """Caption one or several images. The captions are those of ``magic caption``.

        Args:
            images: A file, a Pillow image or an array; several in a list, or in a mapping from names; or a folder.
            method: The decoding method.
            seed: Seed for sampled methods; the tokens of an image depend on the seed and on its name.
            trace: Whether to return ``Caption.steps``.
            on_error: For an image that cannot be read: ``raise`` before anything is written, or ``skip``, which returns a caption
                without text, with the reason in ``error``.
            **settings: See the class.

        Returns:
            The caption, or a list of captions in the order of the images.

        Raises:
            MagicError: An image cannot be read, a setting is wrong, or the models cannot do what the settings ask.
        """
        found = self._settings("caption", _ONE_IMAGE, writing_overrides(method, seed, trace, settings))
        given = pictures(images)
        records = {one.id: caption_item(one) for one in given}
        writer = self._writer(found, {one.id: one.source for one in given}, on_error)
        writer.write(list(records.values()))
        steps = _steps(writer)
        captions = [Caption(image=one.file, **_told(writer, one.id, steps)) for one in given]
        return captions[0] if is_one(images) else captions

    @overload
    def story(
        self,
        titles: str,
        images: Images | None = ...,
        method: str | None = ...,
        *,
        seed: int | None = ...,
        trace: bool = ...,
        on_error: OnError = ...,
        **settings: Any,
    ) -> Story: ...
    @overload
    def story(
        self,
        titles: Iterable[str],
        images: Images | None = ...,
        method: str | None = ...,
        *,
        seed: int | None = ...,
        trace: bool = ...,
        on_error: OnError = ...,
        **settings: Any,
    ) -> list[Story]: ...
    def story(
        self,
        titles: str | Iterable[str],
        images: Images | None = None,
        method: str | None = None,
        *,
        seed: int | None = None,
        trace: bool = False,
        on_error: OnError = "raise",
        **settings: Any,
    ) -> Story | list[Story]:
        """Write a story for one or several titles. The stories are those of ``magic story``.

        Args:
            titles: One or several titles.
            images: Images for the stories: one for each title, or one for all; None for methods that look at none.
            method: The decoding method.
            seed, trace, on_error, **settings: As in ``caption``.

        Returns:
            The story, or a list of stories in the order of the titles.

        Raises:
            MagicError: As in ``caption``; or the number of images differs from the number of titles.
        """
        found = self._settings("story", _ONE_TITLE, writing_overrides(method, seed, trace, settings))
        if not isinstance(titles, Iterable):
            raise SettingsError(f"titles: give a title, or a list of them, got {type(titles).__name__}")
        several = [titles] if isinstance(titles, str) else list(titles)
        items, sources = story_items(several, images, found)
        writer = self._writer(found, sources, on_error)
        writer.write(items)
        steps = _steps(writer)
        stories = [
            Story(title=item.title, image=file_of(sources.get(item.id)), **_told(writer, item.id, steps)) for item in items
        ]
        return stories[0] if isinstance(titles, str) else stories

    def stream(
        self,
        image: Image | None = None,
        method: str | None = None,
        *,
        title: str | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> Iterator[StreamedStep]:
        """Write one text token by token: the text of ``caption``, or with a ``title`` that of ``story``.

        Args:
            image: A file, a Pillow image or an array; None for a story by a method that looks at no image.
            method: The decoding method. Methods that choose a whole text at the end (beam, magic_beam, rerank, zerocap, clipre)
                cannot be streamed.
            title: The title of a story.
            seed, **settings: As in ``caption``.

        Yields:
            Each choice with its candidates and their scores. Joined, the ``new_text`` of all steps is the text.

        Raises:
            MagicError: As in ``caption``, before the first step.
        """
        command, stands_for = ("caption", _ONE_IMAGE) if title is None else ("story", _ONE_TITLE)
        found = self._settings(command, stands_for, writing_overrides(method, seed, False, settings))
        if not found.decoding.writes_in_order:
            raise SettingsError(
                f"decoding={method_name(found.decoding)}: chooses a whole text at its end and cannot be streamed; use {command}(...), with trace=True for its steps"
            )
        found = replace(found, run=replace(found.run, trace=True))
        item: ImageRecord | StoryRecord
        if title is not None:
            [item], sources = story_items([title], image, found)
        else:
            if image is None or not is_one(image):
                raise SettingsError("stream: give one image, or a title")
            [one] = pictures(image)
            item, sources = caption_item(one), {one.id: one.source}
        writer = self._writer(found, sources, "raise")
        return streamed(writer, item, writer.stream(item))

    def _settings(self, command: str, stands_for: Sequence[str], overrides: Sequence[str]) -> Any:
        found = settings_for(command, [*self._overrides, *stands_for, *overrides])
        for note in found.notes():
            warnings.warn(note, stacklevel=3)
        return found

    def _writer(self, settings: Any, sources: Mapping[str, Any], on_error: str) -> MemoryWriter:
        if on_error not in ("raise", "skip"):
            raise SettingsError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        task = CaptionTask(settings) if settings.task == "caption" else StoryTask(settings)
        return MemoryWriter(settings, task, sources, self._models, raises=on_error == "raise")


def _steps(writer: MemoryWriter) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for line in writer.run.trace:
        found.setdefault(line["id"], []).append(step_of({name: value for name, value in line.items() if name != "id"}))
    return found


def _told(writer: MemoryWriter, item: str, steps: Mapping[str, Sequence[Step]]) -> dict[str, Any]:
    """The result for an item, as arguments of ``Text``."""
    if item not in writer.run.predictions:
        return {"id": item, "text": None, "error": writer.run.failures[item]}
    prediction = writer.run.predictions[item]
    ids = tuple(prediction.get("token_ids", ()))
    return {
        "id": item,
        "text": prediction[writer.task.text],
        "token_ids": ids,
        "tokens": writer.token_texts(ids),
        "steps": tuple(steps.get(item, ())),
        "details": writer.details(item),
    }
