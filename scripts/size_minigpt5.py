"""What the full-size model needs: weights, memory and work of a training step and of a drawn image, computed on shapes alone (no weights).

    python scripts/size_minigpt5.py --batch 2 --tokens 512

Memory of activations is that of the tensors that autograd keeps, counted while the real modules run on torch's meta device; work is
counted by torch's own counter there. Time is work over the processor's peak times --utilisation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from magic_cli.interleaved import architecture
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.settings import MapperSettings
from magic_cli.interleaved.vision import QFormerReader

GIB = 2**30
BF16, FP32 = 2, 4
HIDDEN, WIDTH, NUM_VOKENS = 4096, 1024, 8
LORA = 32 * 2 * 2 * HIDDEN * 8  # layers, query and value, two factors, rank
ROWS = 2 * (NUM_VOKENS + 1) * HIDDEN
PEAKS = {"A100 80 GB": 312e12, "A6000 48 GB": 155e12}  # bfloat16, dense, by the makers


def kept_bytes(run: Callable[[], Any], own: nn.Module) -> int:
    """Bytes that autograd keeps for the way back, weights left out."""
    weights = {weight.untyped_storage()._cdata for weight in [*own.parameters(), *own.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive.append(run())
    return sum(kept.values())


def flops(run: Callable[[], Any]) -> int:
    """Multiplications and additions of a run forward."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--images", type=int, default=4, help="read, an item")
    parser.add_argument("--utilisation", type=float, default=0.35)
    words = parser.parse_args()
    batch, tokens = words.batch, words.tokens
    with torch.device("meta"):
        writer = architecture.language_model().to(torch.bfloat16).requires_grad_(False)
        reader = QFormerReader(architecture.vision(), HIDDEN).requires_grad_(False)
        unet, vae = (part.bfloat16().requires_grad_(False) for part in (architecture.unet(), architecture.vae()))
        texts = architecture.text_encoder()
        mapper = VokenMapper(HIDDEN, WIDTH, NUM_VOKENS, MapperSettings())
        embedded = torch.empty(batch, tokens, HIDDEN, dtype=torch.bfloat16, requires_grad=True)
        pixels = torch.empty(batch * words.images, 3, 224, 224)
        latents, times = torch.empty(batch, 4, 64, 64, dtype=torch.bfloat16), torch.empty(batch, dtype=torch.long)
        conditions = torch.empty(batch, 77, WIDTH, dtype=torch.bfloat16, requires_grad=True)
        features = torch.empty(batch, NUM_VOKENS, HIDDEN, requires_grad=True)
        reader.vision_model.to(torch.bfloat16)

        def write() -> Any:
            mask = torch.zeros(batch, 1, tokens, tokens, dtype=torch.bfloat16)  # given, since making it would look at values
            return writer.model(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state

        def look() -> Any:
            seen = reader.vision_model(pixel_values=pixels.bfloat16()).last_hidden_state
            queries = reader.query_tokens.expand(len(pixels), -1, -1)
            return reader.language_projection(
                reader.qformer(query_embeds=queries, encoder_hidden_states=seen.float()).last_hidden_state
            )

        def draw() -> Any:
            return unet(latents, times, encoder_hidden_states=conditions).sample

        kept = {
            "language model": kept_bytes(write, writer),
            "UNet": kept_bytes(draw, unet),
            "mapper": kept_bytes(lambda: mapper(features), mapper),
        }
        work = {
            "language model": flops(write),
            "UNet": flops(draw),
            "mapper": flops(lambda: mapper(features)),
            "reader": flops(look),
        }
        work["VAE encoder"] = flops(lambda: vae.encode(torch.empty(batch, 3, 512, 512, dtype=torch.bfloat16)).latent_dist.mean)
        work["VAE decoder"] = flops(lambda: vae.decode(latents).sample)
    parameters = {
        "language model": architecture.num_parameters(writer), "vision encoder": architecture.num_parameters(reader.vision_model),
        "Q-Former, queries, projection": architecture.num_parameters(reader) - architecture.num_parameters(reader.vision_model),
        "UNet": architecture.num_parameters(unet), "VAE": architecture.num_parameters(vae), "text encoder": architecture.num_parameters(texts),
        "fc": architecture.num_parameters(mapper.fc), "queries": mapper.queries.numel(), "mapper": architecture.num_parameters(mapper.transformer),
        "new rows": ROWS, "LoRA": LORA,
    }  # fmt: skip
    frozen = BF16 * sum(parameters[name] for name in ("language model", "vision encoder", "UNet", "VAE", "text encoder"))
    frozen += FP32 * parameters["Q-Former, queries, projection"]
    trained = {
        "uas": sum(parameters[name] for name in ("fc", "queries", "mapper", "new rows")),
        "mls": parameters["mapper"] + LORA + ROWS,
    }
    idle = FP32 * (parameters["fc"] + parameters["queries"])
    logits = (
        3 * FP32 * batch * tokens * (32000 + NUM_VOKENS + 1)
    )  # at most: scores, their logarithms and gradients of every token
    memory = {
        stage: (frozen + 16 * count + (idle if stage == "mls" else 0) + sum(kept.values()) + logits) / GIB
        for stage, count in trained.items()
    }  # weight, gradient and two means of AdamW in float32
    # back through what is frozen costs as much as forward, through what is trained twice as much; reader and VAE run forward only
    step = 2 * (work["language model"] + work["UNet"]) + 3 * work["mapper"] + work["reader"] + work["VAE encoder"]
    image = 50 * 2 * work["UNet"] / batch + work["VAE decoder"] / batch
    found = {
        "parameters": parameters, "trained": trained, "frozen weights, GiB": round(frozen / GIB, 2),
        "activations kept, GiB": {name: round(size / GIB, 2) for name, size in kept.items()},
        "training memory of one device, GiB": {stage: round(size, 1) for stage, size in memory.items()},
        "work forward, TFLOP": {name: round(amount / 1e12, 2) for name, amount in work.items()},
        "seconds of an update of 48 items": {
            f"{count} x {name}": round(step * 48 / batch / (count * peak * words.utilisation), 1) for (name, peak), count in zip(PEAKS.items(), (1, 4), strict=True)
        },
        "seconds of an image, 50 steps with guidance": {name: round(image / (peak * words.utilisation), 2) for name, peak in PEAKS.items()},
        "generation memory, GiB": round((frozen + FP32 * sum(parameters[name] for name in ("fc", "queries", "mapper"))) / GIB, 1),
    }  # fmt: skip
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
