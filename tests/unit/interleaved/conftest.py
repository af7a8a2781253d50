import random

import pytest
import torch

from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.interleaved.loading import load_interleaved_model, read_parts
from magic_cli.interleaved.prompts import PromptSettings
from magic_cli.interleaved.settings import AdapterKind, AdapterSettings
from magic_cli.interleaved.trained import TrainedVokens
from magic_cli.interleaved.training.run import make_task
from magic_cli.interleaved.training.settings import (
    Stage,
    TrainVokensSettings,
    VokenObjectiveSettings,
    VokenOptimizerSettings,
    VokenRunSettings,
)
from magic_cli.models.work_counter import WorkCounter
from magic_cli.training.session import make_accelerator
from magic_cli.training.weight_updates import Updater
from tests.interleaved_models import interleaved_settings
from tests.tiny_models import build_photos


@pytest.fixture(scope="session")
def interleaved_model(interleaved_folder):
    """Read-only for tests."""
    model, _ = load_interleaved_model(
        interleaved_settings(interleaved_folder), device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter()
    )
    model.language_model.prepare(decoding_len=128, num_candidates=4)
    return model


@pytest.fixture
def parts(interleaved_folder):
    return read_parts(interleaved_settings(interleaved_folder), dtype=torch.float32)


@pytest.fixture(scope="session")
def items(tmp_path_factory):
    """Four items: drawing a caption, a picture and its words, words alone, and a story of two steps."""
    photos = build_photos(tmp_path_factory.mktemp("photos") / "photos")
    gradient, disc, sky = (Part(image=photos / f"{name}.jpg", caption=f"a {name} .") for name in ("gradient", "disc", "sky"))
    return [
        InterleavedItem("draw", (Step((Part(text="a disc ."),), (disc,)),)),
        InterleavedItem(
            "both",
            (Step((Part(text="Two dogs"), sky, Part(text="What next?", once=True)), (Part(text="A cat sits."), gradient)),),
        ),
        InterleavedItem("words", (Step((gradient, Part(text="What is it?")), (Part(text="A train."),)),)),
        InterleavedItem(
            "story", (Step((Part(text="A man"),), (Part(text="A man runs."), sky)), Step((Part(text="then"),), (disc,)))
        ),
    ]


@pytest.fixture
def make_trainer(interleaved_folder, items, tmp_path):
    """``make_trainer(stage, **objective) -> (task, updater)`` of a stage on the random model; stage two goes on from fresh vokens."""

    def make(stage, *, kind=AdapterKind.lora, lr=1e-2, only=None, run=None, **objective):
        model = interleaved_settings(interleaved_folder)
        is_second = stage is Stage.mls
        if is_second:
            fresh, _ = make(Stage.uas)
            start = tmp_path / "start"
            export(fresh, AdapterSettings(kind=AdapterKind.none)).save(start)
            model = interleaved_settings(interleaved_folder, vokens=str(start))
        settings = TrainVokensSettings(
            stage, model, PromptSettings(), adapter=AdapterSettings(kind=kind if is_second else AdapterKind.none, prefix_width=8),
            objective=VokenObjectiveSettings(**objective), optimizer=VokenOptimizerSettings(lr=lr, warmup_steps=0),
            run=VokenRunSettings(**{"batch_size": 3, "accumulation": 1, "device": "cpu"} | (run or {})),
        )  # fmt: skip
        random.seed(0)
        torch.manual_seed(0)
        task = make_task(
            settings, read_parts(model, dtype=torch.float32), (items if only is None else [items[i] for i in only], [])
        )
        return task, Updater(task, settings, make_accelerator(settings), total=10)

    return make


def export(task, adapter):
    from magic_cli.interleaved.training.run import _export

    return _export(task.settings, task) if adapter is None else TrainedVokens(
        task.module.mapper.num_vokens, task.module.mapper.settings, adapter, "uas", trained(task)
    )  # fmt: skip


def trained(task):
    from magic_cli.interleaved.trained import trained_weights

    return trained_weights(task.module.rows, task.module.mapper, task.module.adapter)
