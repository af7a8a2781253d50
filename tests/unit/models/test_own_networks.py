"""The shipped models' own networks beside those of transformers, on the same files; and what a caption no longer imports."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection, DynamicCache, GPT2LMHeadModel

from magic_cli.models.embedded.clip_text import ClipText
from magic_cli.models.embedded.gpt2 import GPT2
from magic_cli.models.sources import EMBEDDED_FOLDER
from magic_cli.models.weights import read_pretrained

LANGUAGE_MODEL, TOWER = EMBEDDED_FOLDER / "language_model", EMBEDDED_FOLDER / "matcher" / "text_tower"
SOURCES = {GPT2: LANGUAGE_MODEL, ClipText: TOWER}
ROUNDING = 2e-5
"""Relative to the largest number: 4 layers of sums in another order."""

IDS = torch.randint(1, 8000, (3, 9), generator=torch.Generator().manual_seed(0))


def read(network, folder=None, dtype=torch.float32):
    """A network from the shipped files, or a changed copy of them."""
    return read_pretrained(network, {"pretrained_model_name_or_path": folder or SOURCES[network]}, dtype=dtype)


@pytest.fixture(scope="module")
def both():
    return read(GPT2)[0], GPT2LMHeadModel.from_pretrained(LANGUAGE_MODEL, dtype=torch.float32).eval()


def assert_near(own, theirs):
    assert float((own - theirs).abs().max()) <= ROUNDING * float(theirs.abs().max())


@torch.inference_mode()
def test_gpt2_gives_the_logits_of_transformers(both):
    own, theirs = both
    assert_near(own(IDS).logits, theirs(IDS).logits)


@torch.inference_mode()
def test_gpt2_leaves_padding_out_as_transformers_does(both):
    own, theirs = both
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    places = mask.cumsum(1).sub(1).clamp(min=0)
    options = {"attention_mask": mask, "position_ids": places}
    assert_near(own(IDS, **options).logits[mask.bool()], theirs(IDS, **options).logits[mask.bool()])


@torch.inference_mode()
def test_gpt2_goes_on_from_a_cache_as_transformers_does(both):
    own, theirs = both
    logits = []
    for model in both:
        cache = DynamicCache()
        model(IDS[:, :5], past_key_values=cache)
        logits.append(model(IDS[:, 5:], past_key_values=cache).logits)
        assert cache.get_seq_length() == IDS.shape[1]
    assert_near(*logits)
    assert_near(logits[0], own(IDS).logits[:, 5:])


@torch.inference_mode()
def test_gpt2_in_bfloat16_is_as_near_to_float32_as_transformers_is(both):
    """Two orders of sums differ in 8 bits; so each is compared with float32, from a cache and with padding."""
    exact = both[1](IDS).logits
    errors = []
    for model in (
        read(GPT2, dtype=torch.bfloat16)[0],
        GPT2LMHeadModel.from_pretrained(LANGUAGE_MODEL, dtype=torch.bfloat16).eval(),
    ):
        cache, mask = DynamicCache(), torch.ones(3, 11, dtype=torch.long)
        mask[:, :2] = 0
        padded = torch.nn.functional.pad(IDS, (2, 0))
        places = mask.cumsum(1).sub(1).clamp(min=0)
        parts = [
            model(
                padded[:, some], attention_mask=mask[:, : some.stop], position_ids=places[:, some], past_key_values=cache
            ).logits
            for some in (slice(0, 7), slice(7, 11))
        ]
        logits = torch.cat(parts, dim=1)[:, 2:]
        assert logits.dtype == torch.bfloat16
        errors.append((logits.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    own, theirs = map(float, errors)
    assert 0 < own < 1.2 * theirs < 0.05, "relative root mean square errors"


@torch.inference_mode()
def test_gpt2_reads_vectors_as_it_reads_tokens(both):
    own, _ = both
    vectors = own.get_input_embeddings()(IDS)
    assert torch.equal(own.base_model(inputs_embeds=vectors).last_hidden_state, own.base_model(IDS).last_hidden_state)


def test_gpt2_without_cache_gives_none(both):
    assert both[0].base_model(IDS, use_cache=False).past_key_values is None
    assert both[0].base_model(IDS).past_key_values.get_seq_length() == IDS.shape[1]


@torch.inference_mode()
def test_text_tower_gives_the_features_of_transformers():
    theirs = CLIPTextModelWithProjection.from_pretrained(TOWER, dtype=torch.float32).eval()
    ids = IDS.clone()
    ids[0, 5:], ids[1:, -1] = 0, 0  # the end token, behind which nothing counts
    assert_near(read(ClipText)[0](input_ids=ids).text_embeds, theirs(input_ids=ids).text_embeds)


def damaged(folder: Path, source: Path, change) -> Path:
    """A copy of a model's folder with changed weights."""
    weights = load_file(source / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    for name in ("config.json", "generation_config.json"):
        if (source / name).is_file():
            (folder / name).write_text((source / name).read_text())
    return folder


@pytest.mark.parametrize("network", SOURCES, ids=lambda network: network.__name__)
def test_what_does_not_fit_is_a_fault(network, tmp_path):
    source = SOURCES[network]
    *_, first, second = sorted(load_file(source / "model.safetensors"))

    def change(weights):
        del weights[first]
        weights[second] = torch.zeros(3, 5)
        weights["stranger"] = torch.zeros(1)

    _, fit, faults = read(network, damaged(tmp_path, source, change))
    text = " ".join(fault.text for fault in faults)
    assert first in text and f"{second} is (3, 5)" in text
    assert fit.left_over == ("stranger",)


def test_numbers_that_are_none_are_a_fault(tmp_path):
    def change(weights):
        weights["transformer.ln_f.bias"] = torch.full_like(weights["transformer.ln_f.bias"], torch.nan)

    [fault] = read(GPT2, damaged(tmp_path, LANGUAGE_MODEL, change))[2]
    assert "NaN or infinity in transformer.ln_f.bias" in fault.text


HEAVY = ("transformers.modeling_utils", "torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "sympy", "torchvision")

_CAPTION = """
import sys
from magic_cli.cli.main import main
status = main(sys.argv[2:])
print("imported:", *[name for name in sys.argv[1].split(",") if name in sys.modules])
sys.exit(status)
"""


def test_a_caption_of_the_shipped_models_imports_nothing_heavy(tmp_path):
    photo = Path(__file__).parents[3] / "data" / "photos" / "000000014269.jpg"
    words = ["caption", "--image", str(photo), f"run.dir={tmp_path / 'run'}", "run.cache_images=false", "run.workers=0"]
    command = [sys.executable, "-c", _CAPTION, ",".join(HEAVY), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(photo.name)
    assert done.stdout.splitlines()[-1].split() == ["imported:"]


def test_tower_whose_weights_have_a_known_prefix_is_read(tmp_path):
    for file in TOWER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(TOWER / "model.safetensors")
    save_file(
        {f"module.{name}": tensor for name, tensor in weights.items()}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    own, fit, faults = read(ClipText, tmp_path)
    assert not faults and "module." in str(fit.notes())
    assert torch.equal(own(IDS).text_embeds, read(ClipText)[0](IDS).text_embeds)
