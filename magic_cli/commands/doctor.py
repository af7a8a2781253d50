"""magic doctor: what is installed and cached, or what is wrong with a model, with the remedy for each problem."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

from magic_cli import __version__
from magic_cli.commands.doctor_interleaved import diffusion_findings, inception_findings, interleaved_findings
from magic_cli.commands.findings import Finding, fetched, hub_model
from magic_cli.configuration.files import find_config_dir
from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError, SettingsError
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.java.runtime import find_java
from magic_cli.metrics.java.spice.install import fetch_spice
from magic_cli.metrics.spice import spice_status
from magic_cli.models.control_groups import usable_cores
from magic_cli.models.faults import ModelFault, some
from magic_cli.models.kinds import DIFFUSION_MODEL, INCEPTION, LANGUAGE_MODEL, kind_of
from magic_cli.models.language.gguf_files import INSTALL_SMOLLM2, SMOLLM2, smollm2_file
from magic_cli.models.settings import Family, ImageTextModelSettings, LanguageModelSettings
from magic_cli.models.sources import EMBEDDED, EMBEDDED_FOLDER, EMBEDDED_PACKAGES, EMBEDDED_TERMS
from magic_cli.models.threads import threads_to_start
from magic_cli.models.work_counter import WorkCounter
from magic_cli.provenance import installed_version
from magic_cli.terminal.streams import print_line
from magic_cli.terminal.wording import counted

OK, PROBLEMS = 0, 3

_REQUIRED = ("torch", "torchvision", "transformers", "open_clip_torch", "clip-anytorch", "pycocotools", "pycocoevalcap", "hydra-core",
             "tqdm", "pillow", "safetensors", "accelerate")  # fmt: skip
_LOW_DISK_BYTES = 5e9
_PROBED = 16  # tokens of the text that tests how a model can look ahead


def run(fetch: str | None = None, source: str | None = None, model: str | None = None) -> int:
    """Print the findings on stdout, after fetching what the user asked for; returns 0, or 3 if something is broken.

    Args:
        fetch: ``spice``: the CoreNLP jars that SPICE needs.
        source: A folder or jar to take them from; None: download them.
        model: A model's folder or file, to load and check as other commands do; None: check the machine.

    Raises:
        SettingsError: ``fetch`` is unknown, or a folder or file does not exist.
        MagicError: The download failed.
    """
    if fetch is not None and fetch != "spice":
        raise SettingsError(f"--fetch {fetch}: unknown; allowed: spice")
    if source is not None and fetch is None:
        raise SettingsError("--from belongs to --fetch, as in `magic doctor --fetch spice --from FOLDER`")
    if fetch:
        print(f"magic: SPICE's jars are in {fetch_spice(source)}", file=sys.stderr)
    findings = [*(_machine() if model is None else _model(model))]
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
        print_line(f"{finding.state:<8} {finding.topic:<{width}}  {finding.text}{remedy}")
    return PROBLEMS if any(finding.state == "broken" for finding in findings) else OK


def _machine() -> Iterator[Finding]:
    """Findings about installed and cached software."""
    for findings in (_python, _packages, _devices, _models, interleaved_findings, _java, _spice, _disk):
        yield from findings()


def _model(place: str) -> Iterator[Finding]:
    """Findings from loading a model."""
    path = expanded(place)
    if not path.exists():
        looked = f"looked at {path.absolute()}"
        raise SettingsError(
            f"--model {place}: no such file or folder ({looked}); name a model's folder, or its .gguf, .pt or .safetensors file"
        )
    try:
        kind = kind_of(path)
        if kind == DIFFUSION_MODEL:
            yield from diffusion_findings(place)
        elif kind == INCEPTION:
            yield from inception_findings(path)
        else:
            yield from _language_model(place) if kind == LANGUAGE_MODEL else _image_text_model(place, kind)
    except ModelFault as error:
        for fault in error.faults:
            yield Finding(fault.topic, "broken", fault.text, fault.remedy)
    except MagicError as error:
        yield Finding("files", "broken", str(error))


def _language_model(place: str) -> Iterator[Finding]:
    import torch

    from magic_cli.models.loading import load_language_model

    yield Finding("kind", "ok", "read as a language model", f"language_model.path={place}")
    settings = LanguageModelSettings(path=place)
    model, facts = load_language_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    yield from _weights(model.network.model, facts)
    beyond = facts.get("tokens_beyond_embeddings", [])
    text = f"{len(model.tokenizer)} tokens, {model.network.num_embeddings} embeddings"
    if beyond:
        yield Finding("tokenizer", "note", f"{text}; beyond these: {some(beyond)}", "texts with them are refused")
    else:
        yield Finding("tokenizer", "ok", text)
    way = model.prepare(decoding_len=_PROBED, num_candidates=5)
    body = type(model.network.body).__name__
    yield Finding("network", "ok", f"causal; hidden states by {body}, candidates looked at by look_ahead={way}")


def _image_text_model(place: str, family: str) -> Iterator[Finding]:
    import torch

    from magic_cli.models.loading import load_image_text_model

    yield Finding("kind", "ok", "read as an image-text model", f"image_text_model.path={place} image_text_model.family={family}")
    settings = ImageTextModelSettings(path=place, family=Family(family))
    model, facts = load_image_text_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    yield from _weights(getattr(model, "model", None), facts)
    way = "texts are read incrementally" if model.text_tower is not None else "every text is read whole"
    yield Finding("text tower", "ok", f"{way}; logit scale {model.logit_scale:.4g}")


def _weights(network: Any, facts: dict[str, Any]) -> Iterator[Finding]:
    """Findings about the weights of a loaded model."""
    if "stripped_prefix" in facts:
        yield Finding(
            "weights", "note", f"{facts['stripped_prefix']!r} is taken off their names", "save it with names without that"
        )
    if left_over := facts.get("left_over_weights"):
        yield Finding("weights", "note", f"without a place in the model: {some(left_over)}", "they are not used")
    of = (
        ""
        if network is None
        else f" {sum(weight.numel() for weight in network.parameters()):,} numbers of {type(network).__name__}"
    )
    yield Finding("weights", "ok", f"all{of} are there, and finite")


def _python() -> Iterator[Finding]:
    yield Finding("magic", "ok", f"{__version__} in {Path(__file__).resolve().parents[1]}")
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    if sys.flags.optimize > 1:
        yield Finding(
            "docstrings",
            "broken",
            "left out by PYTHONOPTIMIZE=2 or -OO; models cannot be loaded",
            "set PYTHONOPTIMIZE=1, or unset it",
        )


def _packages() -> Iterator[Finding]:
    for name in _REQUIRED:
        version = installed_version(name)
        if version is None:
            yield Finding(name, "broken", "not installed", f"pip install {name}")
        else:
            yield Finding(name, "ok", version)
    missing = [name for name in EMBEDDED_PACKAGES if installed_version(name) is None]
    if missing:
        yield Finding("embedded models", "missing", f"without {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("embedded models", "ok", f"all packages installed; weights {EMBEDDED_TERMS}")


def _devices() -> Iterator[Finding]:
    if util.find_spec("torch") is None:
        return
    import torch

    threads = threads_to_start(None, torch.get_num_threads())
    yield Finding("cpu", "ok", f"{counted(threads, 'thread')} of {counted(usable_cores(), 'core')} (run.threads)")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("gpu", "ok", names)
    else:
        yield Finding("gpu", "missing", "torch sees none; everything runs on the CPU")


def _models() -> Iterator[Finding]:
    """Findings about each configured model: whether it can be used without a network."""
    import yaml

    for group, weights in (
        ("language_model", "language_model/model.safetensors"),
        ("image_text_model", "matcher/text_tower/model.safetensors"),
    ):
        for file in sorted((find_config_dir() / group).glob("*.yaml")):
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
            topic, name = f"{group}={file.stem}", config["name"]
            if name == EMBEDDED:
                found = (EMBEDDED_FOLDER / weights).is_file()
                remedy = "" if found else "reinstall magic"
                yield Finding(
                    topic, "ok" if found else "broken", "shipped with magic (a demo model)" if found else "not shipped", remedy
                )
            elif name == SMOLLM2:
                yield _smollm2(topic)
            elif config.get("family") == "openai_clip":
                file = Path(os.path.expanduser("~/.cache/clip")) / f"{name.replace('/', '-')}.pt"
                yield fetched(
                    topic, file.is_file(), f"{name}: {'cached' if file.is_file() else 'not cached'}", f"{group}.path=FILE"
                )
            elif config.get("family") == "open_clip":
                yield fetched(
                    topic, False, f"{name}/{config['pretrained']}: fetched and kept by the open_clip package", f"{group}.path=DIR"
                )
            else:
                yield hub_model(topic, group, name, config.get("revision", "main"))


def _smollm2(topic: str) -> Finding:
    """This optional model is a package, and needs another package to be read."""
    if smollm2_file() is None:
        return Finding(topic, "missing", f"package {SMOLLM2} is not installed", INSTALL_SMOLLM2)
    if util.find_spec("gguf") is None:
        return Finding(topic, "missing", "gguf, which reads its file, is not installed", "pip install gguf")
    return Finding(topic, "ok", f"{SMOLLM2} {installed_version(SMOLLM2)}, gguf {installed_version('gguf')}")


def _java() -> Iterator[Finding]:
    try:
        java = find_java()
    except MetricUnavailable as reason:
        yield Finding("java", "missing", str(reason))
    else:
        yield Finding("java", "ok", f"{java.description}; {java.found_in}: {java.path}")


def _spice() -> Iterator[Finding]:
    state, _, text = spice_status().partition(": ")
    yield Finding("spice", "ok" if state == "ok" else "missing", text)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / 1e9:.1f} GB free in {Path.cwd()}"
    if free < _LOW_DISK_BYTES:
        yield Finding("disk", "missing", text, "free some, or set run.dir and HF_HOME to another disk")
    else:
        yield Finding("disk", "ok", text)
