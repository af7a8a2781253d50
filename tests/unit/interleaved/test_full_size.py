"""The published configuration, scaled down in depth and width, with random weights; and the authors' checkpoints by their names."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file

from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved import architecture
from magic_cli.interleaved.architecture import Scale
from magic_cli.interleaved.loading import load_interleaved_model, read_parts
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.released import convert_checkpoints, convert_projection
from magic_cli.interleaved.settings import MapperSettings
from magic_cli.interleaved.trained import TrainedVokens
from magic_cli.interleaved.training.run import make_task
from magic_cli.interleaved.training.settings import TrainVokensSettings
from magic_cli.interleaved.vision import QFormerReader
from magic_cli.models.work_counter import WorkCounter
from magic_cli.training.session import make_accelerator
from magic_cli.training.weight_updates import Updater
from tests.interleaved_models import interleaved_settings
from tests.tiny_models import build_language_tokenizer, randomise

SMALL = Scale(depth=16, width=32)


def test_published_shapes_have_the_published_sizes():
    with torch.device("meta"):
        mapper = VokenMapper(4096, 1024, 8, MapperSettings())
        assert architecture.num_parameters(mapper.fc) == 5_244_928
        assert mapper.queries.numel() == 78_848
        assert architecture.num_parameters(mapper.transformer) == 117_575_680
        assert architecture.num_parameters(architecture.language_model()) == 6_738_415_616  # Llama 7B
        assert architecture.num_parameters(architecture.unet()) == 865_910_724  # Stable Diffusion 2
        assert architecture.num_parameters(architecture.vae()) == 83_653_863
        reader = QFormerReader(architecture.vision(), 4096)
        assert reader.num_vectors == 32 and architecture.num_parameters(reader.language_projection) == 768 * 4096 + 4096


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """Folders of all parts, scaled down, and MiniGPT-4's projection as a file of its own."""
    folder = tmp_path_factory.mktemp("scaled")
    torch.manual_seed(0)
    (folder / "language_model").mkdir()
    tokenizer = build_language_tokenizer(folder / "language_model")
    model = randomise(architecture.language_model(SMALL, len(tokenizer)), seed=0, spread=0.05)
    model.save_pretrained(folder / "language_model")
    tokenizer.save_pretrained(folder / "language_model")
    config = architecture.vision(SMALL)
    reader = randomise(QFormerReader(config, 128), seed=1, spread=0.05)
    weights = {name: weight for name, weight in reader.state_dict().items() if not name.startswith("language_projection")}
    (folder / "vision").mkdir()
    config.save_pretrained(folder / "vision")
    save_file(weights | {"language_model.shared.weight": torch.zeros(2, 2)}, folder / "vision" / "model.safetensors")
    save_file({"weight": torch.randn(128, 24), "bias": torch.randn(128)}, folder / "projection.safetensors")
    from diffusers import PNDMScheduler

    randomise(architecture.unet(SMALL), seed=2, spread=0.05).save_pretrained(folder / "diffusion" / "unet")
    architecture.vae(SMALL).save_pretrained(folder / "diffusion" / "vae")
    PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "diffusion" / "scheduler")
    from magic_cli.benchmark.vocabulary import clip_tokenizer

    architecture.text_encoder(SMALL).save_pretrained(folder / "diffusion" / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "diffusion" / "tokenizer")
    return folder


def composed(folder, *words) -> TrainVokensSettings:
    composing.register()
    parts = [f"interleaved_model.{part}.path={folder / part}" for part in ("language_model", "vision", "diffusion")]
    projection = f"interleaved_model.vision.projection={folder / 'projection.safetensors'}"
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        config = compose(
            "train_vokens", ["interleaved_model=minigpt5_7b", *parts, projection, "run.device=cpu", "run.batch_size=2", *words]
        )
        return composing.to_settings(config, TrainVokensSettings)


def test_published_configuration_trains_and_draws_when_scaled_down(scaled, items):
    settings = composed(scaled, "stage=uas", "run.accumulation=1", "optimizer.warmup_steps=0")
    assert (
        settings.interleaved_model.num_vokens == 8
        and settings.optimizer.mapper_factor == 10
        and settings.prompt.template == "{parts}"
    )
    task = make_task(settings, read_parts(settings.interleaved_model, dtype=torch.float32), (items[:2], []))
    updater = Updater(task, settings, make_accelerator(settings), total=10)
    sums, rate = updater.update(0, [task.samples])
    assert bool(torch.isfinite(sums).all()) and bool((sums > 0).all()) and rate == pytest.approx(2e-5)
    assert [group["lr"] for group in updater.optimizer.param_groups] == pytest.approx([2e-5, 2e-4])
    model, _ = load_interleaved_model(
        settings.interleaved_model, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter()
    )
    [image] = model.draw(torch.randn(1, 8, 128), [0], guidance=7.5, steps=2)
    assert image.size == (512, 512)


def test_released_values_are_the_defaults(scaled):
    settings = composed(scaled, "stage=mls", "interleaved_model.vokens=null", "one_stage=true")
    assert (settings.adapter.r, settings.adapter.alpha, settings.adapter.dropout, settings.adapter.targets) == (
        8,
        16,
        0.05,
        ["q_proj", "v_proj"],
    )
    assert (settings.optimizer.lr, settings.optimizer.eps, settings.optimizer.weight_decay, settings.optimizer.clip_norm) == (
        2e-5,
        1e-8,
        0.01,
        None,
    )
    assert (settings.optimizer.warmup_steps, settings.optimizer.epochs, settings.run.seed) == (1000, 2.0, 42)
    assert (settings.objective.text_weight, settings.objective.image_weight, settings.objective.caption_weight) == (
        0.01,
        1.0,
        0.1,
    )
    assert (
        settings.objective.min_snr,
        settings.objective.drop,
        settings.run.batch_size * composed(scaled, "stage=uas").run.accumulation,
    ) == (5.0, 0.1, 48)


def test_projection_of_another_language_model_is_refused(scaled, tmp_path):
    with pytest.raises(MagicError, match=r"interleaved_model.vision.path=.*language_projection"):
        read_parts(
            composed(scaled, "stage=uas", "interleaved_model.vision.projection=null").interleaved_model, dtype=torch.float32
        )
    with pytest.raises(SettingsError, match="convert_minigpt5"):
        composed(scaled, "stage=uas", f"interleaved_model.vision.projection={tmp_path / 'none'}")


def released_names(model, mapper, *, lora):
    """Tensors under the names of the authors' checkpoints."""
    torch.manual_seed(1)
    old = model.get_input_embeddings().weight
    table, head = (torch.cat([old, torch.randn(5, old.shape[1])]) for _ in range(2))
    saved = ".modules_to_save.default" if lora else ""
    inner = "base_model.model." if lora else ""
    named = {
        f"model.llama_model.{inner}model.embed_tokens{saved}.weight": table,
        f"model.llama_model.{inner}lm_head{saved}.weight": head,
    }
    trained = {name: weight + 1 for name, weight in mapper.transformer.state_dict().items()}
    named |= {f"llm_to_t2i_mapping.{name}": weight for name, weight in trained.items()}
    if lora:
        for layer in range(2):
            for target in ("q_proj", "v_proj"):
                place = f"model.llama_model.base_model.model.model.layers.{layer}.self_attn.{target}"
                named |= {
                    f"{place}.lora_A.default.weight": torch.randn(8, 48),
                    f"{place}.lora_B.default.weight": torch.randn(48, 8),
                }
        return named
    return (
        named
        | {f"fc.{name}": weight for name, weight in mapper.fc.state_dict().items()}
        | {"t2i_decoder_prompt": mapper.queries.detach()}
    )


def test_authors_checkpoints_become_a_folder_that_loads(parts, interleaved_folder, tmp_path):
    mapper = VokenMapper(48, 16, 4, MapperSettings(layers=1, heads=8, queries=6))
    first, second = tmp_path / "stage1.ckpt", tmp_path / "stage2.ckpt"
    torch.save({"state_dict": released_names(parts.language_model, mapper, lora=False), "epoch": 1}, first)
    stage_two = released_names(parts.language_model, mapper, lora=True)
    torch.save({"state_dict": stage_two}, second)
    trained = convert_checkpoints([first, second], num_vokens=4)
    trained.save(tmp_path / "vokens")
    config = json.loads((tmp_path / "vokens" / "vokens.json").read_text())
    assert config["mapper"] == {"layers": 1, "heads": 8, "feed_forward": 4, "queries": 6} and config["stage"] == "mls"
    assert config["adapter"]["targets"] == ["q_proj", "v_proj"] and config["adapter"]["r"] == 8
    target = "model.layers.0.self_attn.q_proj.weight"
    base = parts.language_model.state_dict()[target].clone()
    assert TrainedVokens.load(str(tmp_path / "vokens")).settle(parts.language_model, parts.ids, mapper) is None  # no prefix
    table = stage_two["model.llama_model.base_model.model.model.embed_tokens.modules_to_save.default.weight"]
    assert torch.equal(parts.language_model.get_input_embeddings().weight[parts.ids.rows], table[-5:])
    assert torch.equal(mapper.transformer.encoder.norm.weight, stage_two["llm_to_t2i_mapping.encoder.norm.weight"])
    place = "model.llama_model.base_model.model.model.layers.0.self_attn.q_proj"
    update = 2 * stage_two[f"{place}.lora_B.default.weight"] @ stage_two[f"{place}.lora_A.default.weight"]  # alpha / r = 16 / 8
    torch.testing.assert_close(parts.language_model.state_dict()[target], base + update)
    settings = interleaved_settings(interleaved_folder, vokens=str(tmp_path / "vokens"))
    model, facts = load_interleaved_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    assert facts["vokens"]["stage"] == "mls" and model.mapper.settings.heads == 8
    with pytest.raises(MagicError, match="stage one"):
        convert_checkpoints([second], num_vokens=4)


def test_checkpoint_that_holds_more_than_weights_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {"fc.0.weight": torch.zeros(1)}, "more": Code()}, tmp_path / "bad.ckpt")
    with pytest.raises(MagicError, match="more than weights"):
        convert_checkpoints([tmp_path / "bad.ckpt"])
    assert not (tmp_path / "ran").exists()


def test_projection_of_minigpt4_becomes_a_file(tmp_path):
    weight, bias = torch.randn(4, 3), torch.randn(4)
    torch.save({"model": {"llama_proj.weight": weight, "llama_proj.bias": bias}}, tmp_path / "minigpt4.pth")
    assert torch.equal(convert_projection(tmp_path / "minigpt4.pth")["weight"], weight)
    torch.save({"model": {"other": bias}}, tmp_path / "other.pth")
    with pytest.raises(MagicError, match="llama_proj"):
        convert_projection(tmp_path / "other.pth")
