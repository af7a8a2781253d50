"""The commands that score texts and print tables, and the study with people."""

from __future__ import annotations

from magic_cli.cli.command import Action, Command, Flag, Words
from magic_cli.cli.table.shared_flags import (
    COMMON,
    FORMAT,
    IMAGE_TEXT_MODEL,
    IMAGES,
    METRICS,
    REFERENCES,
    RETRIEVED,
    SPICE_LIB,
    meaning,
)

EVALUATE = Command(
    name="evaluate",
    summary="score captions and stories of any tool: BLEU to SPICE, CLIPScore, MAUVE",
    settings_class="magic_cli.evaluation.settings.EvaluateSettings",
    words=Words("systems", "RUN...", "run folders or prediction files, also as patterns ('runs/caption/*')"),
    flags={
        "--references": REFERENCES,
        "--split": Flag("split", "only images of this split of the references"),
        "--metrics": METRICS,
        "--compare": Flag("compare", "test the other systems against the first", value="true"),
        "--plot": Flag("plot", "draw the numbers with their intervals, too, as PNG and SVG", "FILE", True),
        "--common": COMMON,
        "--format": FORMAT,
        "--output": Flag("output", "where metrics.json and per_item.jsonl are written", "FOLDER", True),
        "--images": IMAGES,
        "--retrieved": RETRIEVED,
        "--human": Flag("human", "score the stories that people wrote, too", value="true"),
        "--image-text-model": meaning(IMAGE_TEXT_MODEL, "model for CLIPScore (a run's own, else clip_vit_b32)"),
        "--spice-lib": SPICE_LIB,
    },
    examples=(
        "magic evaluate runs/caption/coco-magic-1a2b3c4d",
        "magic evaluate preds.json --references captions_val2014.json",
        "magic evaluate preds.jsonl --references refs.jsonl --metrics bleu,cider --format markdown",
        "magic evaluate A.json B.json --references refs.json --compare --plot differences.png",
        "magic evaluate 'released/coco/*.json.gz' --format csv",
        "magic evaluate RUN --metrics clip_score,ref_clip_score --images data/coco",
        "magic evaluate runs/story/rocstories-magic-1a2b3c4d metrics=stories --human",
        "magic evaluate 'runs/story/*' metrics=stories --retrieved retrieved.jsonl",
    ),
)
TABLE = Command(
    name="table",
    summary="the paper's tables: measured numbers beside the printed ones; and the points of a sweep",
    settings_class="magic_cli.evaluation.settings.TableSettings",
    words=Words(
        "words",
        "NUMBER [RUN...]",
        "1, 2, 3, all, vist, mmdialog, cc3m or sweep; then run folders, prediction files, or folders of them",
    ),
    flags={
        "--metric": Flag("metric", "for a sweep: cider, or another measure that the runs were evaluated by"),
        "--plot": Flag(
            "plot", "draw it, too, as PNG and SVG: numbers with intervals; for a sweep, heat map and lines", "FILE", True
        ),
        "--output": Flag("output", "where files are written", "FOLDER", True),
        "--row": Flag("rows", "measured file of a row, e.g. --row coco/magic=FILE (repeat for more)", "ROW=FILE", is_list=True),
        "--human-scores": Flag(
            "human_scores", "the file of `magic human-eval score`, for table 3 (stories) or vist (pairs)", "FILE", True
        ),
        "--retrieved": RETRIEVED,
        "--images": IMAGES,
        "--format": FORMAT,
        "--metrics": METRICS,
        "--references": REFERENCES,
        "--spice-lib": SPICE_LIB,
    },
    examples=(
        "magic table 1",
        "magic table 1 runs/caption",
        "magic table all released/ --format markdown",
        "magic table 1 --row coco/magic=preds.json --format latex",
        "magic table 3 runs/story --retrieved retrieved.jsonl --human-scores scored.json",
        "magic table vist --row vist_both/minigpt5_lora=RUN metrics.fid.weights=FILE",
        "magic table sweep 'runs/caption/coco-magic-*' --metric bleu_4 --plot plots/bleu",
    ),
)
HUMAN_EVAL = Command(
    name="human-eval",
    summary="people judge stories, or two systems side by side: blinded forms that work offline, and the scores of their answers",
    settings_class="magic_cli.human_eval.settings.HumanEvalSettings",
    action=Action("action", ("make", "score"), "write the forms and their key, or score the returned answers"),
    words=Words("files", "FILE...", "make: run folders, story files; score: answer files; also as patterns"),
    flags={
        "--system": Flag("systems", "make: a file with a name for the scores (repeat for more)", "NAME=FILE", is_list=True),
        "--human": Flag("human", "make: also the stories that people wrote, if the files hold them", value="true"),
        "--images": Flag("images", "make: folder of the photos", "FOLDER", True),
        "--key": Flag("key", "score: the key.json that make wrote", "FILE", True),
        "--format": meaning(FORMAT, f"score: {FORMAT.help}"),
        "--output": Flag("output", "where forms and key.json, or scores.json, are written", "FOLDER", True),
    },
    examples=(
        "magic human-eval make --system magic=runs/story/A --system contrastive=runs/story/B --human --output forms",
        "magic human-eval make magic.jsonl nucleus.jsonl items=20 annotators=3",
        "magic human-eval make kind=pairs --system minigpt5=runs/interleave/A --system two_stage=runs/interleave/B --output forms",
        "magic human-eval score answers-*.json --key forms/key.json",
    ),
)
