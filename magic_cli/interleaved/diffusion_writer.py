"""Images from a diffusion model alone: each step's image is drawn from the prompt of the step, and no text is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magic_cli.data.interleaved import InterleavedItem
from magic_cli.interleaved.prompts import told_text
from magic_cli.interleaved.writer import InterleavedBatchWriter, InterleavedWriter, Story
from magic_cli.runs.decoder import Facts
from magic_cli.runs.kinds import Unwritable
from magic_cli.terminal.progress import LOADING, progress


class DiffusionBatchWriter(InterleavedBatchWriter):
    """Draws images. The language model, the vision encoder and the vokens are not loaded."""

    def load(self, facts: Facts, first: InterleavedItem) -> None:
        from magic_cli.interleaved.loading import load_text_drawer

        where = self._begin_on_device(facts)
        with progress(1, LOADING, "model", leave=False):
            self.drawer, models = load_text_drawer(
                self.settings.interleaved_model.diffusion, device=where["device"], dtype=where["dtype"]
            )
        facts.use_models(models)
        self._check_sampling(self.drawer.drawing)

    def _begin_story(self, item: InterleavedItem, images: Sequence[Any]) -> Story:
        return Story(item, {}, {})

    def _answers(self, stories: Sequence[Story], number: int) -> tuple[list[Story], list[Any]]:
        from magic_cli.interleaved.drawers import Answer

        ready, answers = [], []
        for story in stories:
            text = told_text(
                story.item, number, [self._answer_of(story, place) for place in range(number)], self.settings.context
            )
            if text:
                ready.append(story)
                answers.append(Answer([], "", description=text))
            else:
                story.fault = Unwritable(f"step {number + 1}: its prompt has no text to draw from, which draw_from=told needs")
        return ready, answers


class DiffusionWriter(InterleavedWriter):
    """The loop of a run that only draws images."""

    batch_writer = DiffusionBatchWriter
