"""The command that puts parts of a run together."""

from __future__ import annotations

from magic_cli.cli.command import Command, Flag, Words

MERGE_RUNS = Command(
    name="merge-runs",
    summary="make one run folder of the parts of a data set that were written with run.shard=i/n",
    settings_class="magic_cli.runs.merge_settings.MergeSettings",
    words=Words("runs", "RUN...", "run folders of all parts, in any order, also as patterns"),
    flags={"--output": Flag("output", "the run folder that is made of them", "FOLDER", True)},
    examples=(
        "magic merge-runs big/shard-* --output big/whole",
        "magic merge-runs 'runs/caption/coco-magic-1a2b3c4d-shard-*' --output runs/caption/coco-magic-1a2b3c4d",
    ),
)
