"""The commands that train models."""

from __future__ import annotations

from magic_cli.cli.command import Command, Flag
from magic_cli.cli.table.shared_flags import INTERLEAVED_MODEL, LANGUAGE_MODEL, experiment, meaning

FINETUNE_LM = Command(
    name="finetune-lm",
    summary="adapt a language model to texts: maximum likelihood and SimCTG's contrastive loss",
    resumes=True,
    settings_class="magic_cli.training.settings.FinetuneSettings",
    renamed={"dataset": "training_texts@dataset"},
    flags={
        "--dataset": Flag("training_texts@dataset", "a data set of texts", instead={"file": "--texts {}"}),
        "--texts": Flag(
            "dataset.path",
            "your own texts: one per line, .jsonl, .csv or .tsv; or a run folder",
            "FILE",
            True,
            "training_texts@dataset=text",
        ),
        "--language-model": meaning(LANGUAGE_MODEL, "the model to adapt"),
        "--experiment": experiment("the paper's settings, e.g. finetune_coco"),
        "--output": Flag("run.dir", "the run's folder, at the end that of the model", "FOLDER", True),
    },
    examples=(
        "magic finetune-lm experiment=finetune_coco",
        "magic finetune-lm --texts my.txt --language-model embedded --output my_model",
        "magic finetune-lm dataset=bundled_coco fresh.layers=4 optimizer.lr=1e-3 objective.margin=0",
        "accelerate launch -m magic_cli finetune-lm experiment=finetune_flickr30k run.dtype=bfloat16",
    ),
)
TRAIN_VOKENS = Command(
    name="train-vokens",
    summary="teach a language model to draw: vokens and mapper (stage=uas), then texts and images in turn (stage=mls)",
    resumes=True,
    settings_class="magic_cli.interleaved.training.settings.TrainVokensSettings",
    renamed={"prompt_form": "prompt_form@prompt"},
    flags={
        "--items": Flag("dataset.path", "training items: JSON lines of texts and images", "FILE", True),
        "--validation": Flag("dataset.validation", "items that choose the best checkpoint", "FILE", True),
        "--vokens": Flag("interleaved_model.vokens", "the folder of stage one, to continue from", "FOLDER", True),
        "--interleaved-model": INTERLEAVED_MODEL,
        "--adapter": Flag("adapter.kind", "lora or prefix", condition="stage=mls"),
        "--output": Flag("run.dir", "the run's folder, at the end that of the trained vokens", "FOLDER", True),
    },
    examples=(
        "magic train-vokens stage=uas --items captions.jsonl --output aligned",
        "magic train-vokens stage=mls --vokens aligned --items stories.jsonl --output story_model",
        "magic train-vokens stage=mls --vokens aligned --items stories.jsonl --adapter prefix optimizer.steps=800",
        "accelerate launch -m magic_cli train-vokens stage=uas --items cc3m.jsonl --interleaved-model minigpt5_7b interleaved_model.vision.projection=FILE",
    ),
)
