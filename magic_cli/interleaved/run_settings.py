"""Settings of ``magic interleave``. Does not import torch, so that settings load fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from magic_cli.data.cc3m import Cc3mDataset
from magic_cli.data.interleaved_datasets import InterleavedDataset, ItemFile, PartList
from magic_cli.data.mmdialog import MmDialogDataset
from magic_cli.data.vist import VistDataset
from magic_cli.decoding.method import MOST_TOKENS, Method
from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.zerocap.settings import ZeroCapSettings
from magic_cli.errors import MOST_ITEMS, SettingsError, require
from magic_cli.interleaved.dialogue_prompt import DialoguePrompt
from magic_cli.interleaved.prompts import Context, PromptSettings
from magic_cli.interleaved.settings import InterleavedModelSettings, Sampler
from magic_cli.runs.choices import method_name
from magic_cli.runs.settings import RunOfTexts, RunSettings

PROMPT_FORMS = {"parts": PromptSettings, "dialogue": DialoguePrompt}
INTERLEAVED_DATASETS: dict[str, type[InterleavedDataset]] = {
    "parts": PartList, "items": ItemFile, "vist": VistDataset, "mmdialog": MmDialogDataset, "cc3m": Cc3mDataset,
}  # fmt: skip


class History(Enum):
    """Which answers the later steps of a story see."""

    gt = "gt"
    """The true answers, as in the released code."""
    self = "self"
    """The model's own texts and images."""


class ForceImage(Enum):
    """Whether a step must get an image."""

    none = "none"
    """The model decides."""
    first = "first"
    """The answer begins with an image, as the released code forces it."""
    last = "last"
    """An image is added after the text if the model made none."""


class DrawFrom(Enum):
    """What images are drawn from."""

    vokens = "vokens"
    """The vokens that the language model writes."""
    answer = "answer"
    """Two stages: the language model writes a text, and the diffusion model draws it."""
    told = "told"
    """The diffusion model alone draws the prompt of each step; no text is written."""


class PageKind(Enum):
    """How the page of a run contains its images."""

    embedded = "embedded"
    links = "links"
    none = "none"


@dataclass
class PageSettings:
    """The page index.html in the run folder.

    Attributes:
        kind: ``embedded``: one file that can be sent around; ``links`` to the image files; ``none``: no page.
        items: The page shows only the first so many items, at least 1.
    """

    kind: PageKind = PageKind.embedded
    items: int = 200

    def __post_init__(self) -> None:
        require("items", self.items, at_least=1, limit=MOST_ITEMS, prefix="page")


@dataclass
class InterleaveSettings(RunOfTexts):
    """Everything ``magic interleave`` needs.

    Attributes:
        history: Which answers the later steps of a story see.
        context: Which parts of the history they see; they always see their own prompt.
        force_image: Whether a step must get an image.
        draw_from: What images are drawn from.
        guidance: Weight of classifier-free guidance, 1 (none) to 1000.
        steps: Steps of the sampler, 1 to 1000.
        scheduler: The sampler.
        max_new_tokens: The most tokens of one answer, an image included, 1 to 32,768.
    """

    dataset: Any
    interleaved_model: InterleavedModelSettings
    image_text_model: Any
    decoding: Any
    prompt: Any
    run: RunSettings = field(default_factory=RunSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    page: PageSettings = field(default_factory=PageSettings)
    history: History = History.gt
    context: Context = Context.both
    force_image: ForceImage = ForceImage.none
    draw_from: DrawFrom = DrawFrom.vokens
    guidance: float = 7.5
    steps: int = 50
    scheduler: Sampler = Sampler.pndm
    max_new_tokens: int = 256
    task: str = "interleave"

    def __post_init__(self) -> None:
        self.check_task("interleave")
        if not isinstance(self.dataset, InterleavedDataset):
            raise SettingsError(f"dataset={self.dataset.name} does not hold texts and images in turn; give --part or --items")
        self.require_number("images are drawn here, too, of which no trial says what they take")
        if not self.decoding.needs_language_model or isinstance(self.decoding, ZeroCapSettings):
            raise SettingsError(
                f"decoding={method_name(self.decoding)} reads no prompts with images; name another method, such as nucleus"
            )
        if tuple(self.decoding.guides) != Method.guides:
            raise SettingsError(
                f"decoding.guides=[{','.join(self.decoding.guides)}]: only the last image steers here; leave it out"
            )
        if isinstance(self.prompt, DialoguePrompt) and self.context is not Context.both:
            raise SettingsError(
                f"context={self.context.value}: in a dialogue each text opens a turn, so none can be left out; set context=both, or another prompt_form"
            )
        if self.draw_from is not DrawFrom.vokens and self.force_image is not ForceImage.none:
            raise SettingsError(
                f"force_image={self.force_image.value}: with draw_from={self.draw_from.value} each text gets its image, and there are no vokens to force; leave force_image out"
            )
        require("guidance", self.guidance, at_least=1, limit=1000)
        require("steps", self.steps, at_least=1, at_most=1000)
        require("max_new_tokens", self.max_new_tokens, at_least=1, at_most=MOST_TOKENS)
        self.check_rules()

    @property
    def is_sampled(self) -> bool:
        return True  # images are sampled, whatever the method of the texts is

    @property
    def models(self) -> dict[str, Any]:
        parts = self.interleaved_model
        return {
            "language_model": parts.language_model,
            "vision": parts.vision,
            "diffusion": parts.diffusion,
            "image_text_model": self.image_text_model,
        }
