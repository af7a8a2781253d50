"""The texts to write in a measurement, with the models that write them, by the core and by the released algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from magic_cli.benchmark import models
from magic_cli.benchmark.measure import Side
from magic_cli.benchmark.released import ReleasedSearch, clip_text_encoder
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.decoding.generate import generate
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.request import Options, is_lazy
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.decoding.text import CaptionFormat, StoryFormat, TextFormat, story_prompt
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.models.fast.lean_modules import make_lean, packed
from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip
from magic_cli.models.image_text.image_text_model import ImageTextModel
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.loading import resolve_device
from magic_cli.models.work_counter import WorkCounter

_TITLE_WORDS = 4
_NETWORKS = {"natural": models.widened_language_model, "random": models.random_language_model}


@dataclass
class Workload:
    """N texts to write.

    Attributes:
        model: The language model, prepared.
        scorer: The image-text model.
        images: (N, E) features.
        prompts: N prompts.
        method: The decoding method.
        text_format: When a text ends, and which part of it is returned.
        work: Counts the work of the core.
        released_work: Counts the work of the released algorithm.
    """

    model: HuggingFaceLanguageModel
    scorer: ImageTextModel
    images: Tensor
    prompts: list[list[int]]
    method: MagicSearch | ZeroCap
    text_format: TextFormat
    work: WorkCounter
    released_work: WorkCounter = field(default_factory=WorkCounter)

    @property
    def clip(self) -> HuggingFaceClip:
        """The image-text model, which must be CLIP for the released algorithm."""
        assert isinstance(self.scorer, HuggingFaceClip)
        return self.scorer

    @cached_property
    def packed_text_model(self) -> torch.nn.Module:
        """CLIP's text tower with packed weights, the fastest form that the library offers, for the released algorithm."""
        return packed(self.clip.model.text_model)

    @property
    def networks(self) -> list[torch.nn.Module]:
        """The modules that hold the weights."""
        return [self.model.network.model, self.clip.model, self.packed_text_model]

    def decode(
        self, batch_size: int, *, until_settled: bool = True, number: int | None = None, step_memory: int = 0
    ) -> list[list[int]]:
        """Generated token ids of the first ``number`` texts (default: all), in batches of ``batch_size``, as a run writes them.

        ``step_memory``: MiB for steps of earlier texts; 0: none.
        """
        memory, is_exact = StepMemory(step_memory << 20) if step_memory else None, self.model.network.model.dtype == torch.float32
        options = Options(
            memory=memory,
            settle_ties=is_exact,
            text_format=self.text_format if until_settled else None,
            lazy=self.is_lazy(batch_size),
            counts=self.work.counts,
        )
        ids: list[list[int]] = []
        end = len(self.prompts) if number is None else number
        for start in range(0, end, batch_size):
            some = slice(start, min(start + batch_size, end))
            guide = self.method.image_guide(self.scorer, self.images[some])
            ids += [written.ids for written in generate(self.model, self.method, self.prompts[some], [guide], options)]
        if memory is not None:
            self.work.add("steps_remembered", memory.met)
        return ids

    def is_lazy(self, batch_size: int) -> bool:
        """Whether candidates that cannot win are skipped in such batches, as a run does unless ``run.lazy`` says otherwise."""
        return is_lazy(self.images.device.type, batch_size)

    def side(self, batch_size: int, *, step_memory: int = 0) -> Side:
        """All texts in batches, as a side to time."""
        return Side(lambda _: self.decode(batch_size, step_memory=step_memory), len(self.prompts), self.work)

    def decode_released(self, index: int, *, lean: bool = True) -> list[int]:
        """All token ids that the released algorithm generates for one text.

        ``lean``: pack CLIP's weights, which takes memory that the algorithm itself does not need.
        """
        network, clip, work = self.model.network.model, self.clip.model, self.released_work
        text_model = self.packed_text_model if lean else clip.text_model
        encode = clip_text_encoder(text_model, clip.text_projection, self.clip.tokenizer, work)
        search = ReleasedSearch(network, self.model.tokenizer, encode, logit_scale=self.scorer.logit_scale, work=work)
        return search.generate(self.prompts[index], self.images[index], self.method)

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts as the user would get them."""
        return [self.text_format.text(prompt, generated) for prompt, generated in zip(self.prompts, ids, strict=False)]

    def prepare(self, *, decoding_len: int | None = None, num_candidates: int | None = None) -> str:
        """Let the model choose its way of looking ahead, for its own method or a longer one; returns the name of the way."""
        return self.model.prepare(
            decoding_len=decoding_len or self.method.decoding_len, num_candidates=num_candidates or self.method.num_candidates
        )


def build_captions(settings: BenchSettings, language_model: str, *, dtype: str | None = None) -> Workload:
    """Captions by a language model of the paper's shape (``natural`` or ``random``) and random CLIP."""
    model, scorer, work = _models(settings, _NETWORKS[language_model], dtype)
    images = models.random_images(settings.texts, seed=settings.seed).to(scorer.model.device)
    prompts = [model.encode_prompt(None)] * settings.texts
    return prepared(Workload(model, scorer, images, prompts, settings.captions.method(), CaptionFormat(model), work))


def build_stories(settings: BenchSettings) -> Workload:
    """Stories by the natural language model, without end-of-text: each story ends at its fifth full stop.

    Titles are the first words of COCO captions, because the model can continue these.
    """
    model, scorer, work = _models(settings, models.endless_language_model, None)
    images = models.random_images(settings.texts, seed=settings.seed).to(scorer.model.device)
    [separator] = model.token_texts([model.end_id])
    prompts = [model.encode(story_prompt(title, separator)) for title in titles(settings.texts)]
    return prepared(Workload(model, scorer, images, prompts, settings.stories.method(), StoryFormat(model), work))


def build_endless(settings: BenchSettings, number: int) -> Workload:
    """Natural text of any length: ``number`` captions without end-of-text."""
    model, scorer, work = _models(settings, models.endless_language_model, None)
    images = models.random_images(number, seed=settings.seed).to(scorer.model.device)
    return prepared(
        Workload(
            model, scorer, images, [model.encode_prompt(None)] * number, settings.captions.method(), CaptionFormat(model), work
        )
    )


def prepared(workload: Workload) -> Workload:
    """The workload, with its model prepared for its method."""
    workload.prepare()
    return workload


def titles(number: int) -> list[str]:
    """Titles of stories: the first words of real captions."""
    captions = list(load_bundled_coco_captions().values())[:number]
    return [" ".join(texts[0].rstrip(".").split()[:_TITLE_WORDS]) for texts in captions]


def _models(
    settings: BenchSettings, build: Any, dtype: str | None
) -> tuple[HuggingFaceLanguageModel, HuggingFaceClip, WorkCounter]:
    work, device = WorkCounter(), resolve_device(settings.run.device)
    torch_dtype = getattr(torch, dtype or settings.run.dtype.value)
    network, tokenizer = build(seed=settings.seed, dtype=torch_dtype)
    network = network.to(device)
    make_lean(network)  # as after loading from files; the released algorithm uses the same network
    model = HuggingFaceLanguageModel(network, tokenizer, work=work)
    return model, models.random_clip(seed=settings.seed, dtype=torch_dtype, device=device, work=work), work
