"""The latent diffusion model: images to latents and back, and noise to images."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.folders import read_diffusers
from magic_cli.interleaved.settings import Sampler

if TYPE_CHECKING:
    from PIL.Image import Image


class Drawing(nn.Module):
    """A latent diffusion model in the form of Stable Diffusion. It is never trained here.

    Args:
        vae: An ``AutoencoderKL``.
        unet: A ``UNet2DConditionModel`` that predicts the noise.
        scheduler: The noise schedule, as in scheduler_config.json.
    """

    def __init__(self, vae: Any, unet: Any, scheduler: dict[str, Any]) -> None:
        super().__init__()
        self.vae, self.unet, self.schedule = vae, unet, scheduler
        self.noising = _scheduler(Sampler.ddpm, scheduler)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> Drawing:
        """Read a model from a Stable Diffusion folder of diffusers.

        Raises:
            MagicError: A file is missing or does not fit, or the UNet does not predict noise.
        """
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

        if not (folder / "scheduler" / "scheduler_config.json").is_file():
            raise MagicError("has no scheduler/scheduler_config.json; name a Stable Diffusion folder of diffusers")
        schedule = dict(DDPMScheduler.load_config(folder / "scheduler"))
        if (kind := schedule.get("prediction_type", "epsilon")) != "epsilon":
            raise MagicError(
                f"its scheduler says prediction_type {kind!r}, and only epsilon is trained and drawn; name a model that predicts noise"
            )
        vae, unet = (
            read_diffusers(kind, folder / name, dtype) for kind, name in ((AutoencoderKL, "vae"), (UNet2DConditionModel, "unet"))
        )
        return cls(vae, unet, schedule)

    @property
    def width(self) -> int:
        """C, the width of a condition vector."""
        return self.unet.config.cross_attention_dim

    @property
    def reduction(self) -> int:
        """Pixels per latent cell, along a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def side(self) -> int:
        """Pixels per side of an image."""
        return self.unet.config.sample_size * self.reduction

    def prepare(self, image: Image) -> np.ndarray:
        """(3, S, S) float32 pixels in [-1, 1] of an RGB image: padded with white to a square, then scaled."""
        return prepare_square(image, self.side)

    def encode(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents (B, c, s, s), sampled from the encoder's distribution for pixels (B, 3, S, S) in [-1, 1]."""
        spread = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist
        return spread.sample(generator) * self.vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) in [0, 1] of latents (B, c, s, s)."""
        pixels = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def noise(self, latents: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
        """The noise (B, c, s, s) that the UNet predicts in latents at times (B,) under conditions (B, T, C)."""
        dtype = self.unet.dtype
        return self.unet(latents.to(dtype), times, encoder_hidden_states=conditions.to(dtype), return_dict=False)[0]

    def check(self, steps: int, sampler: Sampler) -> None:
        """Refuse more steps than the noise schedule allows.

        Raises:
            SettingsError: There are more.
        """
        scheduler = _scheduler(sampler, self.schedule)
        times = scheduler.config.num_train_timesteps
        if steps <= times:
            scheduler.set_timesteps(steps)
        if steps > times or float(scheduler.timesteps.max()) >= times:
            raise SettingsError(
                f"steps={steps}: scheduler={sampler.value} draws in fewer than {min(steps, times)} steps with this model; lower it"
            )

    @torch.no_grad()
    def draw(
        self,
        conditions: Tensor,
        unconditional: Tensor,
        generators: Sequence[torch.Generator],
        *,
        guidance: float = 7.5,
        steps: int = 50,
        sampler: Sampler = Sampler.pndm,
    ) -> Tensor:
        """Images (B, 3, S, S) in [0, 1], sampled together; the noise of each comes from its own generator.

        Classifier-free guidance: the noise is ``u + guidance (c - u)`` of the conditional c and the unconditional u. With
        guidance 1 that is c, and u is not computed.

        Args:
            conditions: (B, T, C).
            unconditional: (1, T, C).
            generators: One for each image, on the CPU.
            guidance: At least 1.
            steps: Number of steps.
            sampler: The sampler.
        """
        scheduler = _scheduler(sampler, self.schedule)
        scheduler.set_timesteps(steps, device=conditions.device)
        latents = self._noise_of(generators, conditions.device) * scheduler.init_noise_sigma
        is_guided = guidance != 1
        context = torch.cat([unconditional.expand_as(conditions), conditions]) if is_guided else conditions
        options = _step_options(scheduler, generators)
        for time in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, time)
            noise = self.noise(torch.cat([scaled, scaled]) if is_guided else scaled, time, context).float()
            if is_guided:
                without, towards = noise.chunk(2)
                noise = without + guidance * (towards - without)
            latents = scheduler.step(noise, time, latents, **options, return_dict=False)[0]
        return self.decode(latents)

    def _noise_of(self, generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
        """(B, c, s, s) standard normal noise, the same on every device."""
        size = self.unet.config.sample_size
        shape = (self.unet.config.in_channels, size, size)
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)


def _step_options(scheduler: Any, generators: Sequence[torch.Generator]) -> dict[str, Any]:
    """Further arguments of a step that draws noise: the generator of each image."""
    takes = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": list(generators)} if takes else {}


def _scheduler(sampler: Sampler, schedule: dict[str, Any]) -> Any:
    """A scheduler of diffusers on a model's noise schedule.

    Latents are never clipped. Some schedulers clip at 1 by default, which suits pixels but ruins latents. PNDM skips its first
    steps, which are of another kind, as in Stable Diffusion.
    """
    import diffusers

    kinds = {
        Sampler.pndm: "PNDMScheduler", Sampler.ddim: "DDIMScheduler", Sampler.ddpm: "DDPMScheduler",
        Sampler.euler: "EulerDiscreteScheduler", Sampler.dpm_solver: "DPMSolverMultistepScheduler",
    }  # fmt: skip
    kind = getattr(diffusers, kinds[sampler])
    known = set(inspect.signature(kind.__init__).parameters)
    given = schedule | {"clip_sample": False, "skip_prk_steps": True}
    return kind.from_config({name: value for name, value in given.items() if name in known})


def prepare_square(image: Image, side: int) -> np.ndarray:
    """See ``Drawing.prepare``."""
    from PIL import Image as images

    longest = max(image.size)
    if image.size != (longest, longest):
        square = images.new("RGB", (longest, longest), "white")
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    if longest != side:
        image = image.resize((side, side), images.Resampling.BILINEAR)
    return (np.asarray(image, dtype=np.float32) / 127.5 - 1).transpose(2, 0, 1).copy()


def to_images(pixels: Tensor) -> list[Image]:
    """8-bit RGB images from pixels (B, 3, S, S) in [0, 1]."""
    from PIL import Image as images

    levels = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [images.fromarray(one) for one in levels]
