"""The commands in the order of ``magic --help``. Each has a small module in ``commands`` with ``run(settings) -> exit status``."""

from __future__ import annotations

from magic_cli.cli.table.looking import LIVE, REPORT, RETRIEVE_IMAGES
from magic_cli.cli.table.machine import BENCH, DOCTOR
from magic_cli.cli.table.merging import MERGE_RUNS
from magic_cli.cli.table.scoring import EVALUATE, HUMAN_EVAL, TABLE
from magic_cli.cli.table.training import FINETUNE_LM, TRAIN_VOKENS
from magic_cli.cli.table.writing import CAPTION, INTERLEAVE, STORY

COMMANDS = {
    command.name: command
    for command in (
        CAPTION,
        STORY,
        LIVE,
        INTERLEAVE,
        EVALUATE,
        TABLE,
        MERGE_RUNS,
        REPORT,
        HUMAN_EVAL,
        RETRIEVE_IMAGES,
        BENCH,
        FINETUNE_LM,
        TRAIN_VOKENS,
        DOCTOR,
    )
}
