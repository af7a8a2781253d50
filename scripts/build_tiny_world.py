"""Build the models of the tiny world from nothing, about twenty minutes on one core: who writes, looks and draws, and two judges.

    python scripts/build_tiny_world.py --output build/tiny_world
    python scripts/build_tiny_world.py --output magic_cli/interleaved/tiny --half     what ships: float16

Parts that are in the output already are left as they are, so a run that was stopped goes on. The world itself is scripts/tiny_world.py.

    judge, second_judge    CLIP models of other seeds and patches, trained apart; the first one's text tower is the diffusion model's
    diffusion              vae, unet, scheduler, text_encoder, tokenizer, as Stable Diffusion has them
    language_model, vision a Llama that reads pictures through a Q-Former, as BLIP-2 has it; it knows no vokens
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tiny_world as world
from magic_cli.interleaved.drawing import prepare_square
from magic_cli.interleaved.model import spread_slots
from magic_cli.interleaved.vision import QFormerReader, prepare_pixels
from magic_cli.models.loading import quiet_libraries
from measure_tiny_world import measure_models
from tiny_world_talk import SLOT, TALK, talks, tokenizer_of

CONDITIONS = 16  # tokens of the text encoder
WIDTH, HIDDEN, VECTORS = 64, 128, 4


def train(name: str, steps: int, rate: float, parameters: Any, loss_of: Callable[[int], Tensor]) -> None:
    """AdamW with a warm-up and a cosine; prints as it goes."""
    parameters = [weight for weight in parameters if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    began, mean = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (1 + np.cos(np.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(f"{name}: step {step + 1} of {steps}, loss {mean:.4f}, {time.monotonic() - began:.0f} s", flush=True)


def save_half(module: nn.Module, half: bool) -> nn.Module:
    return module.half() if half else module


class Builder:
    """Builds part after part.

    Args:
        output: Folder of the parts.
        half: Whether weights are saved in float16.
        scale: Share of the full training steps, for trials.
    """

    def __init__(self, output: Path, *, half: bool, scale: float) -> None:
        self.output, self.half, self.scale = output, half, scale
        self.captions = [form.format(colour=colour, shape=shape) for form in world.CAPTIONS for colour, shape in world.KINDS]

    def steps(self, number: int) -> int:
        return max(1, round(number * self.scale))

    def build(self) -> None:
        parts = {
            "judge": lambda: self.judge("judge", seed=1, patch=8), "second_judge": lambda: self.judge("second_judge", seed=11, patch=4),
            "diffusion/text_encoder": self.text_encoder, "diffusion/vae": self.vae, "diffusion/unet": self.unet, "language_model": self.language_model,
        }  # fmt: skip
        for name, build in parts.items():
            if (self.output / name / "config.json").is_file():
                print(f"{name}: is there already", flush=True)
                continue
            build()

    # judges

    def judge(self, name: str, *, seed: int, patch: int) -> None:
        from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

        torch.manual_seed(seed)
        rng = random.Random(seed)
        tokenizer = tokenizer_of(self.captions, frames=True, length=CONDITIONS)
        tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
        ends = {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
        config = CLIPConfig(
            text_config={**tower, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": CONDITIONS},
            vision_config={**tower, "image_size": world.SIDE, "patch_size": patch}, projection_dim=WIDTH,
        )  # fmt: skip
        model = CLIPModel(config)

        def loss_of(step: int) -> Tensor:
            kinds = rng.sample(world.KINDS, len(world.KINDS))  # one of each, so that no two texts mean the same
            texts = [rng.choice(world.CAPTIONS).format(colour=colour, shape=shape) for colour, shape in kinds]
            pixels = torch.from_numpy(np.stack([prepare_pixels(world.picture(*kind, rng), world.SIDE) for kind in kinds]))
            tokens = tokenizer(texts, return_tensors="pt", padding="max_length")
            return model(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels, return_loss=True
            ).loss

        train(name, self.steps(2500), 1e-3, model.parameters(), loss_of)
        folder = self.output / name
        save_half(model, self.half).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        CLIPImageProcessorPil(
            size={"shortest_edge": world.SIDE}, crop_size={"height": world.SIDE, "width": world.SIDE}
        ).save_pretrained(folder)

    def text_encoder(self) -> None:
        from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

        folder = self.output / "diffusion"
        source = self.output / "judge"
        encoder = CLIPTextModel.from_pretrained(source, config=CLIPTextConfig.from_pretrained(source))
        encoder.config.use_attention_mask = True  # as the UNet is trained: padding is left out
        save_half(encoder, self.half).save_pretrained(folder / "text_encoder")
        AutoTokenizer.from_pretrained(source).save_pretrained(folder / "tokenizer")

    # who draws

    def squares(self, rng: random.Random, number: int) -> tuple[list[tuple[str, str]], Tensor]:
        kinds = [rng.choice(world.KINDS) for _ in range(number)]
        return kinds, torch.from_numpy(np.stack([prepare_square(world.picture(*kind, rng), world.SIDE) for kind in kinds]))

    def vae(self) -> None:
        from diffusers import AutoencoderKL

        torch.manual_seed(2)
        rng = random.Random(2)
        vae = AutoencoderKL(
            block_out_channels=(16, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4, norm_num_groups=8, sample_size=world.SIDE, layers_per_block=1,
        )  # fmt: skip

        def loss_of(step: int) -> Tensor:
            _, pixels = self.squares(rng, 16)
            spread = vae.encode(pixels).latent_dist
            again = vae.decode(spread.sample()).sample
            return (again - pixels).abs().mean() + (again - pixels).square().mean() + 1e-4 * spread.kl().mean() / 256

        train("vae", self.steps(2000), 2e-3, vae.parameters(), loss_of)
        with torch.no_grad():
            latents = vae.encode(self.squares(rng, 256)[1]).latent_dist.mean
        vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        save_half(vae, self.half).save_pretrained(self.output / "diffusion" / "vae")

    def unet(self) -> None:
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from transformers import AutoTokenizer, CLIPTextModel

        torch.manual_seed(3)
        rng = random.Random(3)
        folder = self.output / "diffusion"
        vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval().requires_grad_(False)
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval().requires_grad_(False)
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        texts = ["", *self.captions]
        tokens = tokenizer(texts, return_tensors="pt", padding="max_length", max_length=CONDITIONS)
        with torch.no_grad():
            encoded = encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
            pictures = [self.squares(rng, 128) for _ in range(self.steps(24))]  # encoded once, drawn from at every step
            spreads = [vae.encode(pixels).latent_dist for _, pixels in pictures]
        kinds = [kind for some, _ in pictures for kind in some]
        means, deviations = (
            torch.cat([getattr(spread, name) for spread in spreads]) * vae.config.scaling_factor for name in ("mean", "std")
        )
        schedule = DDPMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
        )
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(64, 64), layers_per_block=1, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16,
        )  # fmt: skip
        smooth = {name: weight.detach().clone() for name, weight in unet.named_parameters()}

        def loss_of(step: int) -> Tensor:
            self._smooth(smooth, unet, step)
            rows = torch.tensor([rng.randrange(len(kinds)) for _ in range(32)])
            latents = means[rows] + deviations[rows] * torch.randn(rows.numel(), *means.shape[1:])
            names = [
                world.KINDS.index(kinds[i]) + 1 + len(world.KINDS) * rng.randrange(len(world.CAPTIONS)) for i in rows.tolist()
            ]
            names = [0 if rng.random() < 0.1 else name for name in names]
            noise, times = torch.randn_like(latents), torch.randint(0, 1000, (rows.numel(),))
            seen = unet(schedule.add_noise(latents, noise, times), times, encoder_hidden_states=encoded[names]).sample
            return (seen - noise).square().mean()

        train("unet", self.steps(3000), 1e-3, unet.parameters(), loss_of)
        with torch.no_grad():
            for name, weight in unet.named_parameters():
                weight.copy_(smooth[name])
        schedule.save_pretrained(folder / "scheduler")
        save_half(unet, self.half).save_pretrained(folder / "unet")

    @torch.no_grad()
    def _smooth(self, smooth: dict[str, Tensor], model: nn.Module, step: int) -> None:
        """A moving mean of the weights draws better than the last ones."""
        share = max(0.005, 1 / (step + 1))
        for name, weight in model.named_parameters():
            smooth[name].lerp_(weight, share)

    # who writes, and looks

    def language_model(self) -> None:
        from transformers import Blip2Config, Blip2QFormerConfig, Blip2VisionConfig, LlamaConfig, LlamaForCausalLM

        torch.manual_seed(4)
        rng = random.Random(4)
        sentences = [text for _, text, _ in (next(talks(rng)) for _ in range(3000))]
        tokenizer = tokenizer_of(
            [TALK, *sentences, *self.captions, " ".join([*world.COLOURS, *world.SHAPES])], frames=False, length=512
        )
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=4 * HIDDEN, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=3, tie_word_embeddings=False,
            )
        )  # fmt: skip
        tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
        vision = Blip2VisionConfig(**tower, image_size=world.SIDE, patch_size=8)
        former = Blip2QFormerConfig(
            **tower,
            vocab_size=8,
            encoder_hidden_size=WIDTH,
            cross_attention_frequency=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        config = Blip2Config(vision_config=vision.to_dict(), qformer_config=former.to_dict(), num_query_tokens=VECTORS)
        reader = QFormerReader(config, HIDDEN)
        nn.init.normal_(reader.query_tokens, std=0.5)
        slot = len(tokenizer)  # stands for an image while the ids are spread

        def loss_of(step: int) -> Tensor:
            said = [next(talks(rng)) for _ in range(24)]
            pictures = [prepare_pixels(image, world.SIDE) for images, _, _ in said for image in images]
            vectors = iter(reader(torch.from_numpy(np.stack(pictures)))) if pictures else iter(())
            rows, places = [], []
            for images, text, answer in said:
                ids = [
                    i
                    for part in re.split(f"({SLOT})", text)
                    for i in ([slot] if part == SLOT else tokenizer(part, add_special_tokens=False).input_ids)
                ]
                spread, found = spread_slots([1, *ids], slot, [next(vectors) for _ in images])
                rows.append((spread, len(tokenizer(answer, add_special_tokens=False).input_ids)))
                places.append(found)
            return self._talk_loss(model, rows, places)

        train("language_model", self.steps(2500), 2e-3, [*model.parameters(), *reader.parameters()], loss_of)
        folder = self.output / "vision"
        config.save_pretrained(folder)
        weights = {name: weight.detach().contiguous() for name, weight in save_half(reader, self.half).state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(self.output / "language_model")
        save_half(model, self.half).save_pretrained(self.output / "language_model")

    @staticmethod
    def _talk_loss(model: Any, rows: list[tuple[list[int], int]], places: list[dict[int, Tensor]]) -> Tensor:
        """Cross-entropy of the answers, and a tenth of it of all other words."""
        width = max(len(ids) for ids, _ in rows)
        ids, weights = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width)
        for row, (tokens, answer) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor([0 if place in places[row] else i for place, i in enumerate(tokens)])
            weights[row, 1 : len(tokens)] = 0.1
            weights[row, list(places[row])] = 0
            weights[row, len(tokens) - answer : len(tokens)] = 1
        embedded = model.get_input_embeddings()(ids)
        spots = [(row, place) for row, found in enumerate(places) for place in found]
        if spots:
            at = tuple(torch.tensor(spots).T)
            embedded = embedded.index_put(at, torch.stack([places[row][place] for row, place in spots]))
        logits = model(inputs_embeds=embedded).logits[:, :-1]
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--half", action="store_true", help="save float16")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for trials")
    words = parser.parse_args()
    quiet_libraries()
    Builder(words.output, half=words.half, scale=words.scale).build()
    found = measure_models(words.output)
    (words.output / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
