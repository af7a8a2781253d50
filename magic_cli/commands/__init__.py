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


@dataclass(frozen=True)
class Command:
    """What the command line knows of a command before it is imported."""

    name: str
    summary: str
    examples: tuple[str, ...]
    flags: dict[str, Flag] = field(default_factory=dict)
    settings_class: str | None = None
    """Name in ``magic_cli.settings``; None: the command takes no settings."""

    @property
    def module(self) -> str:
        return f"magic_cli.commands.{self.name.replace('-', '_')}"


COMMANDS = {
    command.name: command
    for command in (
        Command(
            name="caption",
            summary="write captions for images",
            settings_class="CaptionSettings",
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
            name="doctor",
            summary="show what is installed and cached, each problem with its remedy",
            examples=("magic doctor",),
        ),
    )
}
