"""Findings of ``magic doctor`` about texts and images in turn: the extra, the parts of each model, and the networks of FID."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from magic_cli.commands.findings import WEIGHTS, Finding, hub_model
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import install_extra
from magic_cli.interleaved.settings import TINY
from magic_cli.metrics.image_networks import WeightsFile
from magic_cli.provenance import installed_version

EXTRA = ("diffusers", "peft")
_SHIPPED = Path(__file__).resolve().parents[1] / "interleaved" / "tiny"
_UNET = "unet/diffusion_pytorch_model"
_FILES = {"diffusion": (f"{_UNET}.safetensors", f"{_UNET}.safetensors.index.json")}
_NETWORKS = {
    WeightsFile.inception_2015: ("fid", "pt_inception-2015-12-05-6726825d.pth"),
    WeightsFile.torchvision: ("fid_torchvision_inception_v3", "inception_v3_google-0cc3c7bd.pth"),
}
"""Each metric that needs a file, with the published name of the file. Programs that download it keep it in torch's cache."""


def interleaved_findings() -> Iterator[Finding]:
    """Findings about the machine."""
    versions = {name: installed_version(name) for name in EXTRA}
    if missing := [name for name, version in versions.items() if version is None]:
        yield Finding("interleaved", "missing", f"without {', '.join(missing)}", install_extra("interleaved"))
    else:
        yield Finding("interleaved", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
    yield from _parts()
    yield from _networks()


def _parts() -> Iterator[Finding]:
    """Findings about the parts of each configured model: whether they can be used without a network."""
    import yaml

    for file in sorted((find_config_dir() / "interleaved_model").glob("*.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        for part in ("language_model", "vision", "diffusion"):
            topic, name = f"{file.stem}.{part}", config[part]["name"]
            if name == TINY:
                weights = _SHIPPED / part / _FILES.get(part, ("model.safetensors",))[0]
                is_here = weights.is_file()
                text = "shipped with magic (a demo model)" if is_here else "not shipped"
                yield Finding(topic, "ok" if is_here else "broken", text, "" if is_here else "reinstall magic")
            else:
                setting = f"interleaved_model.{part}"
                yield hub_model(topic, setting, name, config[part].get("revision", "main"), _FILES.get(part, WEIGHTS))


def _networks() -> Iterator[Finding]:
    home = Path(
        os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "torch"
    )
    for kind, (metric, name) in _NETWORKS.items():
        file = home / "hub" / "checkpoints" / name
        setting = f"metrics.{metric}.weights"
        if file.is_file():
            yield Finding(metric, "ok", f"{file}", f"name it: {setting}={file}")
        else:
            yield Finding(metric, "missing", f"no {name} in {file.parent}", f"{setting}=FILE, {kind.value}")


def diffusion_findings(place: str) -> Iterator[Finding]:
    """Findings from loading a Stable Diffusion folder.

    Raises:
        MagicError: It cannot be loaded, or the extra is missing.
    """
    import torch

    from magic_cli.interleaved.loading import load_text_drawer
    from magic_cli.interleaved.settings import DiffusionPart

    yield Finding("kind", "ok", "read as a latent diffusion model", f"interleaved_model.diffusion.path={place}")
    drawer, _ = load_text_drawer(DiffusionPart(path=place), device=torch.device("cpu"), dtype=torch.float32)
    drawing, conditions = drawer.drawing, drawer.conditions
    sizes = {"vae": drawing.vae, "unet": drawing.unet, "text_encoder": conditions.encoder}
    numbers = ", ".join(f"{name} {sum(weight.numel() for weight in part.parameters()):,}" for name, part in sizes.items())
    yield Finding("weights", "ok", f"all are there, and finite: {numbers} numbers")
    width, wanted = conditions.encoder.config.hidden_size, drawing.width
    if width != wanted:
        text = f"its text encoder gives vectors of {width} numbers, its UNet takes {wanted}"
        yield Finding("conditions", "broken", text, "name a folder whose parts belong together")
    else:
        yield Finding(
            "conditions",
            "ok",
            f"{conditions.length} vectors of {width} numbers (interleaved_model.mapper.queries={conditions.length})",
        )
    yield Finding(
        "images", "ok", f"{drawing.side} pixels wide; predicts noise in {drawing.noising.config.num_train_timesteps} times"
    )


def inception_findings(place: Path) -> Iterator[Finding]:
    """Findings from loading a file of Inception weights.

    Raises:
        MagicError: The file belongs to neither network.
    """
    import torch

    from magic_cli.models.inception import InceptionNetwork

    is_of_2015 = "2015" in place.name
    metric, _ = _NETWORKS[WeightsFile.inception_2015 if is_of_2015 else WeightsFile.torchvision]
    InceptionNetwork(place, torch.device("cpu"), of_2015=is_of_2015)
    yield Finding("kind", "ok", f"read as the weights of {metric}", f"metrics.{metric}.weights={place}")
    yield Finding("weights", "ok", "all are there")
