"""The commands: one small module each, with ``run(settings) -> exit status``. This list is all that ``--help`` needs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Flag:
    """A command-line flag that stands for a setting."""

    setting: str
    """What it sets, as in ``setting=value``."""
    help: str
    metavar: str = "NAME"
    is_path: bool = False
    also: str | None = None
    """An override that comes with it."""
    is_list: bool = False
    """May be repeated; the values are collected."""
    value: str | None = None
    """What it sets; None: the word that follows the flag."""


@dataclass(frozen=True)
class Words:
    """What a command makes of the words that are neither flags nor settings."""

    setting: str
    """The list that they are."""
    metavar: str
    help: str


@dataclass(frozen=True)
class Command:
    """What the command line knows of a command before it is imported."""

    name: str
    summary: str
    examples: tuple[str, ...]
    words: Words | None = None
    flags: dict[str, Flag] = field(default_factory=dict)
    settings_class: str | None = None
    """Its full name; None: the command takes no settings, and its flags are arguments of ``run``."""
    shown_configs: tuple[str, ...] = ()
    """Config files that ``--help`` shows, without ``.yaml``; the first also lists the groups that can be chosen."""

    renamed: dict[str, str] = field(default_factory=dict)
    """Settings groups as the user types them, where Hydra has another name."""

    resumes: bool = False
    """Whether a command that was stopped goes on where it stopped when it is started again."""

    @property
    def when_repeated(self) -> str:
        """What happens when a stopped command is started again, for messages."""
        return "the same command goes on where it stopped" if self.resumes else "the same command starts from the beginning"

    @property
    def module(self) -> str:
        return f"magic_cli.commands.{self.name.replace('-', '_')}"


COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="caption",
            summary="write captions for images",
            resumes=True,
            settings_class="magic_cli.settings.CaptionSettings",
            shown_configs=("caption", "run/default", "decoding/magic", "language_model/magic_mscoco", "image_text_model/clip_vit_b32", "dataset/coco"),
            flags={
                "--image": Flag("dataset.paths", "caption this image (repeat for more)", "FILE", True, "dataset=files", True),
                "--images": Flag("dataset.root", "caption all images below this folder", "FOLDER", True, "dataset=photos"),
                "--dataset": Flag("dataset", "coco, flickr30k, coco_captions, photos or files"),
                "--decoding": Flag("decoding", "magic, contrastive, greedy, beam, top_k, nucleus or typical"),
                "--language-model": Flag("language_model", "embedded, magic_mscoco, magic_flickr30k or gpt2"),
                "--image-text-model": Flag("image_text_model", "embedded, clip_vit_b32, openai_clip, open_clip or siglip"),
                "--experiment": Flag("experiment", "one row of a table, e.g. coco_magic"),
                "--prompt": Flag("prompt", "words that open every caption", "TEXT"),
                "--run-dir": Flag("run.dir", "where the run is written", "FOLDER", True),
            },
            examples=(
                "magic caption --image my.jpg",
                "magic caption --images holiday/ decoding.beta=1 run.trace=true",
                "magic caption --dataset coco",
                "magic caption --dataset coco --decoding nucleus run.repeat=2",
                "magic caption -m --dataset coco decoding.alpha=0.1,0.3 decoding.beta=1,2 decoding.k=25,45",
                "magic caption --image my.jpg language_model.path=DIR image_text_model=siglip",
            ),
        ),
        Command(
            name="evaluate",
            summary="score captions of any tool: BLEU, METEOR, ROUGE-L, CIDEr, SPICE, CLIPScore",
            settings_class="magic_cli.evaluation.settings.EvaluateSettings",
            shown_configs=("evaluate", "metrics/default", "machine/default"),
            words=Words("systems", "RUN...", "run folders or prediction files, also as patterns ('runs/caption/*')"),
            flags={
                "--references": Flag("references", "reference captions, where the predictions bring none", "FILE", True),
                "--split": Flag("split", "only images of this split of the references"),
                "--metrics": Flag("metrics.names", "only these, e.g. --metrics bleu,cider", "NAMES", is_list=True),
                "--compare": Flag("compare", "test two systems against each other", value="true"),
                "--common": Flag("only_common", "only the images that all systems captioned", value="true"),
                "--format": Flag("format", "terminal, markdown, latex, csv or json"),
                "--output": Flag("output", "where metrics.json and per_item.jsonl are written", "FOLDER", True),
                "--images": Flag("images", "folder of the images, for CLIPScore", "FOLDER", True),
                "--image-text-model": Flag("image_text_model", "embedded, clip_vit_b32, openai_clip, open_clip or siglip"),
                "--spice-lib": Flag("metrics.spice.lib", "folder with the CoreNLP 3.6.0 jars", "FOLDER", True),
            },
            examples=(
                "magic evaluate runs/caption/coco-magic-1a2b3c4d",
                "magic evaluate preds.json --references captions_val2014.json",
                "magic evaluate preds.jsonl --references refs.jsonl --metrics bleu,cider --format markdown",
                "magic evaluate A.json B.json --references refs.json --compare",
                "magic evaluate 'released/coco/*.json.gz' --format csv",
                "magic evaluate RUN --metrics clip_score,ref_clip_score --images data/coco",
            ),
        ),
        Command(
            name="table",
            summary="the paper's tables: measured numbers beside the printed ones",
            settings_class="magic_cli.evaluation.settings.TableSettings",
            shown_configs=("table", "metrics/default", "machine/default"),
            words=Words("words", "NUMBER [RUN...]", "1, 2, 3 or all; then run folders, prediction files, or folders of them"),
            flags={
                "--row": Flag("rows", "measured file of a row, e.g. --row coco/magic=FILE (repeat for more)", "ROW=FILE", is_list=True),
                "--format": Flag("format", "terminal, markdown, latex, csv or json"),
                "--metrics": Flag("metrics.names", "only these, e.g. --metrics bleu,cider", "NAMES", is_list=True),
                "--spice-lib": Flag("metrics.spice.lib", "folder with the CoreNLP 3.6.0 jars", "FOLDER", True),
            },
            examples=(
                "magic table 1",
                "magic table 1 runs/caption",
                "magic table all released/ --format markdown",
                "magic table 1 --row coco/magic=preds.json --format latex",
            ),
        ),
        Command(
            name="bench",
            summary="how fast decoding is here: against the released algorithm, and against the processor",
            settings_class="magic_cli.benchmark.settings.BenchSettings",
            shown_configs=("bench", "machine/default"),
            flags={
                "--full": Flag("full", "everything, with stories, growth, variants and memory (about 45 minutes)", value="true"),
                "--parts": Flag("parts", "only these: captions, stories, embedded, variants, growth, memory", "NAMES", is_list=True),
                "--output": Flag("output", "where bench.json, report.md and growth.png are written", "FOLDER", True),
                "--photos": Flag("photos", "photos for the embedded models", "FOLDER", True),
            },
            examples=(
                "OMP_WAIT_POLICY=passive magic bench run.threads=2",
                "magic bench --full --output runs/bench/mine",
                "magic bench --parts embedded --photos holiday/",
                "magic bench --parts captions language_models=[natural,random] batch_sizes=[1,8,32] texts=32",
                "magic bench --parts stories repeats=5 stories.k=5 stories.decoding_len=100",
            ),
        ),
        Command(
            name="finetune-lm",
            summary="adapt a language model to texts: maximum likelihood and SimCTG's contrastive loss",
            resumes=True,
            settings_class="magic_cli.training.settings.FinetuneSettings",
            shown_configs=("finetune_lm", "texts/text"),
            renamed={"dataset": "texts@dataset"},
            flags={
                "--dataset": Flag("texts@dataset", "coco, flickr30k, rocstories, text, bundled_coco or coco_captions"),
                "--texts": Flag("dataset.path", "a file of own texts, a line each, or .jsonl", "FILE", True, "texts@dataset=text"),
                "--language-model": Flag("language_model", "what is adapted: gpt2, embedded, smollm2, ..."),
                "--experiment": Flag("experiment", "the paper's settings, e.g. finetune_coco"),
                "--output": Flag("run.dir", "the run's folder, in the end the model's", "FOLDER", True),
            },
            examples=(
                "magic finetune-lm experiment=finetune_coco",
                "magic finetune-lm --texts my.txt --language-model embedded --output my_model",
                "magic finetune-lm dataset=bundled_coco fresh.layers=4 optimizer.lr=1e-3 objective.margin=0",
                "accelerate launch -m magic_cli finetune-lm experiment=finetune_flickr30k run.dtype=bfloat16",
            ),
        ),
        Command(
            name="doctor",
            summary="show what is installed and cached, each problem with its remedy",
            resumes=True,  # what --fetch has downloaded is kept
            flags={
                "--fetch": Flag("fetch", "bring what cannot be installed with pip: spice"),
                "--from": Flag("source", "a folder or jar to take it from", "PLACE", True),
            },
            examples=("magic doctor", "magic doctor --fetch spice"),
        ),
    )
}
