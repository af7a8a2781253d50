"""One training run: from texts to the folder of the adapted model."""

from __future__ import annotations

import hashlib
import shutil
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.training_files import TextForm
from magic_cli.training.checkpoints import naming_full_disk, replace_files
from magic_cli.training.curves import plot_curve
from magic_cli.training.folder import CURVE, TrainingFolder
from magic_cli.training.language_task import LanguageTask
from magic_cli.training.loop import tell_spent, total_steps, train
from magic_cli.training.samples import Samples, encode
from magic_cli.training.session import in_session
from magic_cli.training.settings import FinetuneSettings, as_plain, identity
from magic_cli.training.starting_model import TOKENIZER_FILE, begin, start_id

if TYPE_CHECKING:
    from accelerate import Accelerator

_FEW_UPDATES, _SOME_UPDATES = 100, 500


def finetune(settings: FinetuneSettings, training: list[str], measured: list[str]) -> dict[str, Any] | None:
    """Do a run, or finish it.

    Args:
        settings: Settings of the command.
        training: Training texts.
        measured: Texts that choose the best checkpoint.

    Returns:
        The report; None in processes other than the first, and if the run was already complete.

    Raises:
        MagicError: The user has to mend something.
    """
    folder = TrainingFolder(settings.run_folder, settings=as_plain(settings), identity=identity(settings))
    return in_session(settings, folder, lambda accelerator: _carry_out(settings, accelerator, folder, (training, measured)))


def _carry_out(
    settings: FinetuneSettings, accelerator: Accelerator, folder: TrainingFolder, texts: tuple[list[str], list[str]]
) -> dict[str, Any] | None:
    training, is_first = texts[0], accelerator.is_main_process
    kept = folder.path / "tokenizer"
    if is_first:
        model, tokenizer, source = begin(settings, training, kept)
        folder.use_source({"language_model": source, "texts_sha256": _digest(*texts)})
        _keep_tokenizer(tokenizer, kept)
    accelerator.wait_for_everyone()
    if not is_first:
        model, tokenizer, _ = begin(settings, training, kept)
    samples, measured = (_encode(settings, tokenizer, part) for part in texts)
    if is_first:
        for note in plan_notes(settings, samples, measured, total_steps(settings, len(samples.rows))):
            print(f"magic: {note}", file=sys.stderr)
    trained = train(LanguageTask(model, settings, samples, measured), settings, accelerator, folder, name="magic-finetune-lm")
    if trained is None:
        return None
    progress, best = trained
    _export(model, kept, folder)
    report = _report(settings, progress, samples, measured) | {"after": best, "parameters": model.num_parameters()}
    plot_curve(folder.read_metrics(), folder.path / CURVE)
    folder.finish(report, progress["seconds"])
    tell_spent(report, progress["seconds"])
    return report


def plan_notes(settings: FinetuneSettings, samples: Samples, measured: Samples, total: int) -> list[str]:
    """What the run will do, and a warning if there are few texts.

    Args:
        settings: Settings of the command.
        samples: Training samples.
        measured: Samples that choose the checkpoint.
        total: Updates of the whole run.
    """
    texts, per_update = len(samples.rows), settings.run.batch_size * settings.run.accumulation
    cut = f" ({samples.num_cut} of them cut at run.max_length={settings.run.max_length} tokens)" if samples.num_cut else ""
    each = f"{total * per_update / texts:.3g} times"
    updates, to_measure = _counted(total, "update"), _counted(len(measured.rows), "text")
    notes = [
        f"{_counted(texts, 'training text')}{cut}, {to_measure} to measure on: {updates} of {per_update} texts, so each is seen {each}"
    ]
    if total < _FEW_UPDATES and settings.optimizer.steps is None:
        notes.append(
            f"warning: {updates} will hardly change the model; optimizer.steps={_SOME_UPDATES} makes more of the same texts, a smaller "
            f"run.batch_size or run.accumulation makes more of one pass"
        )
    return notes


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _digest(*texts: list[str]) -> str:
    """SHA-256 of all texts: a run continues only with the same texts."""
    digest = hashlib.sha256()
    for text in chain.from_iterable([*part, ""] for part in texts):
        digest.update(f"{text}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def _keep_tokenizer(tokenizer: Any, kept: Path) -> None:
    """Store the tokenizer at the first start, so that a resumed run uses the same one and ends with the same files."""
    if (kept / TOKENIZER_FILE).is_file():
        return
    temporary = kept.with_name(f".{kept.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(kept, ignore_errors=True)
    with naming_full_disk():
        tokenizer.save_pretrained(temporary)
    temporary.replace(kept)


def _encode(settings: FinetuneSettings, tokenizer: Any, texts: list[str]) -> Samples:
    is_caption = settings.dataset.form is TextForm.caption
    return encode(
        texts,
        tokenizer,
        form=settings.dataset.form,
        start_id=start_id(tokenizer, settings.language_model.start_token) if is_caption else None,
        max_length=settings.run.max_length,
    )


def _export(model: Any, kept: Path, folder: TrainingFolder) -> None:
    """Write model and tokenizer into the run folder, file by file."""
    temporary = folder.path / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    with naming_full_disk():
        model.save_pretrained(temporary)
    for file in kept.iterdir():
        shutil.copyfile(file, temporary / file.name)
    replace_files(temporary, folder.path)


def _report(settings: FinetuneSettings, progress: dict[str, Any], samples: Samples, measured: Samples) -> dict[str, Any]:
    """A summary of the run and its results; without times, so that a resumed run writes the same bytes."""
    return {
        "dataset": settings.dataset.name,
        "selected_on": settings.validate.select_on.value,
        "steps": progress["step"],
        "passes": progress["step"] * settings.run.batch_size * settings.run.accumulation / len(samples.rows),
        "tokens": progress["all_tokens"],
        "padding": 1 - progress["all_tokens"] / progress["all_cells"],
        "training_texts": _counts(samples),
        "validation_texts": _counts(measured),
        "before": progress["before"],
    }


def _counts(samples: Samples) -> dict[str, int]:
    return {
        "samples": len(samples.rows),
        "tokens": samples.num_targets,
        "words": samples.num_words,
        "dropped": samples.num_dropped,
        "cut": samples.num_cut,
    }
