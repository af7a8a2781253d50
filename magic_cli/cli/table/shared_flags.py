"""Flags that several commands have, and what to type instead of a path where a flag takes an option."""

from __future__ import annotations

from dataclasses import replace

from magic_cli.cli.command import Flag

_OWN_LANGUAGE_MODEL = {
    "folder": "language_model.path={}", "file": "language_model.path={}", "hub": "--language-model gpt2 language_model.name={}",
}  # fmt: skip
_OWN_IMAGE_TEXT_MODEL = {
    "folder": "--image-text-model clip_vit_b32 image_text_model.path={} (or siglip, open_clip, if it is of that kind)",
    "file": "--image-text-model openai_clip image_text_model.path={} (or open_clip, if it is of that kind)",
    "hub": "--image-text-model clip_vit_b32 image_text_model.name={} (or siglip, if it is of that kind)",
}
_OWN_EXPERIMENT = {"file": "--config-dir FOLDER experiment=NAME, with the file in FOLDER/experiment/NAME.yaml"}

DECODING = Flag("decoding", "how words are chosen")
BASE = Flag(
    "decoding@decoding.base", "the method that writes the candidates: top_k, nucleus or typical", condition="decoding=rerank"
)
LANGUAGE_MODEL = Flag("language_model", "the model that writes", instead=_OWN_LANGUAGE_MODEL)
IMAGE_TEXT_MODEL = Flag("image_text_model", "the model that looks at images", instead=_OWN_IMAGE_TEXT_MODEL)
INTERLEAVED_MODEL = Flag("interleaved_model", "the models that write, look and draw")
RUN_DIR = Flag("run.dir", "where the run is written", "FOLDER", True)

REFERENCES = Flag("references", "reference captions, if the predictions hold none", "FILE", True)
IMAGES = Flag("images", "folder of the images, for CLIPScore", "FOLDER", True)
RETRIEVED = Flag("retrieved", "images for stories written without one, for CLIPScore", "FILE", True)
METRICS = Flag("metrics.names", "only these, e.g. --metrics bleu,cider", "NAMES", is_list=True)
SPICE_LIB = Flag("metrics.spice.lib", "folder with the CoreNLP 3.6.0 jars", "FOLDER", True)
COMMON = Flag("only_common", "only the images that all systems captioned", value="true")
FORMAT = Flag("format", "terminal, markdown, latex, csv or json")


def meaning(flag: Flag, text: str) -> Flag:
    """The same flag with another help text."""
    return replace(flag, help=text)


def experiment(text: str) -> Flag:
    """``--experiment`` with this help text."""
    return Flag("experiment", text, instead=_OWN_EXPERIMENT)
