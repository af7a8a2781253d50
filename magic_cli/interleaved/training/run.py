"""One training run: from items to a folder of trained vokens."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from magic_cli.data.interleaved import InterleavedItem
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.adapters import Adapter
from magic_cli.interleaved.folders import naming, part_folder
from magic_cli.interleaved.loading import Parts, read_parts
from magic_cli.interleaved.settings import AdapterKind
from magic_cli.interleaved.text_conditions import TextConditions
from magic_cli.interleaved.trained import TrainedVokens, trained_weights
from magic_cli.interleaved.training.losses import LossOptions, VokenObjective
from magic_cli.interleaved.training.samples import Collator, Encoder
from magic_cli.interleaved.training.settings import Stage, TrainVokensSettings, identity
from magic_cli.interleaved.training.task import VokenTask
from magic_cli.interleaved.vokens import NewRows
from magic_cli.training.curves import plot_curve
from magic_cli.training.folder import CURVE, TrainingFolder
from magic_cli.training.loop import tell_spent, total_steps, train
from magic_cli.training.session import in_session
from magic_cli.training.settings import Selection, as_plain

if TYPE_CHECKING:
    from accelerate import Accelerator

Items = Sequence[InterleavedItem]


def train_vokens(settings: TrainVokensSettings, training: Items, measured: Items) -> dict[str, Any] | None:
    """Do a run, or finish it.

    Args:
        settings: Settings of the command.
        training: Training items.
        measured: Items that choose the best checkpoint.

    Returns:
        The report; None in processes other than the first, and if the run was already complete.

    Raises:
        MagicError: The user has to mend something.
    """
    if not measured and settings.validate.select_on is Selection.validation:
        raise SettingsError(
            "validate.select_on=validation: there are no validation items; set dataset.validation or dataset.held_out, or validate.select_on=last"
        )
    folder = TrainingFolder(settings.run_folder, settings=as_plain(settings), identity=identity(settings))
    return in_session(settings, folder, lambda accelerator: _carry_out(settings, accelerator, folder, (training, measured)))


def _carry_out(
    settings: TrainVokensSettings, accelerator: Accelerator, folder: TrainingFolder, items: tuple[Items, Items]
) -> dict[str, Any] | None:
    is_first = accelerator.is_main_process
    torch.manual_seed(settings.run.seed)  # for a fresh adapter
    parts = read_parts(settings.interleaved_model, dtype=getattr(torch, settings.run.dtype.value), seed=settings.run.seed)
    if is_first:
        folder.use_source({**parts.source, "items_sha256": _digest(*items)})
    task = make_task(settings, parts, items)
    if is_first:
        for note in _plan_notes(settings, task, total_steps(settings, task.num_samples)):
            print(f"magic: {note}", file=sys.stderr)
    task.module.to(accelerator.device)
    trained = train(task, settings, accelerator, folder, name="magic-train-vokens")
    if trained is None:
        return None
    progress, best = trained
    report = _report(settings, progress, task) | {"after": best}
    _export(settings, task).save(folder.path)
    plot_curve(folder.read_metrics(), folder.path / CURVE, loss="loss", beneath=("image_loss", "image loss"))
    folder.finish(report, progress["seconds"])
    tell_spent(report, progress["seconds"])
    return report


def make_task(settings: TrainVokensSettings, parts: Parts, items: tuple[Items, Items]) -> VokenTask:
    """Models, losses and samples of a run.

    Raises:
        MagicError: They do not fit each other, or there is nothing to learn from.
    """
    encoder = Encoder(
        parts.tokenizer, parts.ids, settings.prompt, num_vectors=parts.reader.num_vectors, max_length=settings.run.max_length
    )
    samples, num_long = encoder.samples(items[0], "dataset.path")
    if num_long:
        print(
            f"magic: warning: {num_long} items are longer than run.max_length={settings.run.max_length} tokens and left out",
            file=sys.stderr,
        )
    measured = encoder.samples(items[1][: settings.validate.limit], "the validation items")[0] if items[1] else []
    rows = NewRows(parts.language_model, parts.ids)
    adapter, trained = None, parts.trained
    if trained is not None:
        trained.give_rows(rows)
        trained.give_mapper(parts.mapper)
        adapter = trained.adapt(parts.language_model)
    adapter = _adapter(settings, parts, adapter)
    return VokenTask(
        _objective(settings, parts, rows, adapter), settings, Collator(parts.reader, parts.drawing), samples, measured
    )


def _adapter(settings: TrainVokensSettings, parts: Parts, before: Adapter | None) -> Adapter | None:
    """The adapter to train: that of an earlier stage two, or a fresh one."""
    if before is not None:
        if before.settings != settings.adapter:
            raise SettingsError(
                "adapter: the vokens of the earlier stage have an adapter with other settings; set the same (see their vokens.json)"
            )
        return before
    return None if settings.adapter.kind is AdapterKind.none else Adapter(parts.language_model, settings.adapter)


def _objective(settings: TrainVokensSettings, parts: Parts, rows: NewRows, adapter: Adapter | None) -> VokenObjective:
    wanted, texts = settings.objective, None
    with_captions = settings.stage is Stage.uas and wanted.caption_weight > 0
    if with_captions:
        source = settings.interleaved_model.diffusion
        with naming(source):
            folder, queries = part_folder(source, "diffusion"), parts.mapper.queries.shape[1]
            texts = TextConditions.load(folder, parts.drawing.unet.dtype, otherwise="set objective.caption_weight=0")
            if texts.length != queries:
                raise MagicError(
                    f"its text encoder gives {texts.length} vectors, the mapper {queries}; set interleaved_model.mapper.queries={texts.length}"
                )
    options = LossOptions(wanted.drop, wanted.min_snr, wanted.label_mask, with_captions)
    models = (parts.language_model, parts.reader, parts.drawing)
    return VokenObjective(models, rows, parts.mapper, options, adapter=adapter, texts=texts)


def _export(settings: TrainVokensSettings, task: VokenTask) -> TrainedVokens:
    """All trained parts, of this stage and earlier ones, so that this folder alone is enough to continue from."""
    module = task.module
    adapter = settings.adapter if module.adapter is not None else type(settings.adapter)(kind=AdapterKind.none)
    return TrainedVokens(
        module.mapper.num_vokens,
        module.mapper.settings,
        adapter,
        settings.stage.value,
        trained_weights(module.rows, module.mapper, module.adapter),
    )


def _plan_notes(settings: TrainVokensSettings, task: VokenTask, total: int) -> list[str]:
    samples, per_update = len(task.samples), settings.run.batch_size * settings.run.accumulation
    pictures = sum(sample.drawn is not None for sample in task.samples)
    free = sum(weight.numel() for weight in task.state().values())
    notes = [
        f"stage {settings.stage.value}: {samples} training samples, {pictures} answered by a picture, {len(task.measured)} to measure on: {total} updates of "
        f"{per_update}; {free:,} parameters are trained"
    ]
    warmup = settings.optimizer.warmup_of(total)
    if warmup * 2 > total:
        notes.append(
            f"warning: the learning rate rises over {warmup} steps, and there are {total}; set optimizer.warmup_steps or optimizer.steps"
        )
    return notes


def _report(settings: TrainVokensSettings, done: dict[str, Any], task: VokenTask) -> dict[str, Any]:
    """A summary of the run and its result; without times, so that a resumed run writes the same bytes."""
    return {
        "stage": settings.stage.value,
        "dataset": settings.dataset.name,
        "selected_on": settings.validate.select_on.value,
        "steps": done["step"],
        "passes": done["step"] * settings.run.batch_size * settings.run.accumulation / len(task.samples),
        "tokens": done["all_tokens"],
        "padding": 1 - done["all_tokens"] / done["all_cells"],
        "trained_parameters": {
            name: weight.numel() for name, weight in task.state().items() if not name.startswith(("mapper.", "adapter."))
        }
        | {part: sum(w.numel() for n, w in task.state().items() if n.startswith(f"{part}.")) for part in ("mapper", "adapter")},
        "training_samples": len(task.samples),
        "validation_samples": len(task.measured),
        "before": done["before"],
    }


def _digest(*items: Items) -> str:
    """SHA-256 of all items and the names and sizes of their images: a run continues only with the same items."""
    digest = hashlib.sha256()
    for part in items:
        for item in part:
            steps = [[[one.as_record() for one in parts or ()] for parts in (step.parts, step.target)] for step in item.steps]
            digest.update(json.dumps([item.id, steps], sort_keys=True).encode(errors="surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()
