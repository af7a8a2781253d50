"""What a stage trains and what it must leave alone, and the losses."""

from dataclasses import replace

import pytest
import torch

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError, SettingsError
from magic_cli.interleaved.loading import load_interleaved_model
from magic_cli.interleaved.prompts import PromptSettings
from magic_cli.interleaved.settings import AdapterKind, AdapterSettings
from magic_cli.interleaved.training.losses import label_mask, min_snr_weights
from magic_cli.interleaved.training.run import _export
from magic_cli.interleaved.training.settings import LabelMask, Stage, TrainVokensSettings, VokenItems, VokenOptimizerSettings
from magic_cli.interleaved.vokens import VokenIds
from magic_cli.models.work_counter import WorkCounter
from magic_cli.training.simctg import IGNORED
from magic_cli.training.weight_updates import rate_factor
from tests.interleaved_models import interleaved_settings

IDS = VokenIds((50, 51, 52, 53), 54)
OF_MAPPER = {"mapper.fc.0.weight", "mapper.queries", "mapper.transformer.encoder.layers.0.self_attn.in_proj_weight"}


def frozen_bytes(module):
    """Every tensor of a module, by name, as bytes."""
    return {name: weight.detach().clone().numpy().tobytes() for name, weight in module.state_dict().items()}


def changed(module, before):
    return {name for name, content in frozen_bytes(module).items() if content != before[name]}


@pytest.mark.parametrize(("mask", "learnt"), [(LabelMask.released, [7, 50, 53, 8]), (LabelMask.first_only, [7, 50, 8])])
def test_only_the_right_vokens_are_learnt_when_masked(mask, learnt):
    labels = torch.tensor([[IGNORED, 7, 50, 51, 52, 53, 8, IGNORED]])
    masked = label_mask(labels, IDS, mask)
    assert masked[masked != IGNORED].tolist() == learnt


def test_labels_are_the_answers_alone_when_collated(make_trainer):
    task, _ = make_trainer(Stage.uas)
    batch = task.tensors(task.samples)[0]
    tokenizer = task.samples and make_tokenizer(task)
    answers = [tokenizer.decode([i for i in row.tolist() if i != IGNORED], skip_special_tokens=False) for row in batch.labels]
    vokens = "[IMG0][IMG1][IMG2][IMG3]"
    assert [answer.replace(" ", "") for answer in answers] == [
        f"{vokens}###", f"Acatsits.{vokens}###", "Atrain.###", f"Amanruns.{vokens}###", f"{vokens}###"
    ]  # fmt: skip
    assert batch.rows.tolist() == [0, 1, 3, 4] and batch.drawn.shape[0] == 4
    slots = (batch.ids == task.module.rows.ids.slot).sum(dim=1).tolist()
    assert slots == [0, 3, 3, 0, 3] and batch.read.shape[0] == 3  # the last step of the story looks back on its picture
    assert all(batch.ids[row, 0] == tokenizer.bos_token_id for row in range(5))


def make_tokenizer(task):
    from transformers import AutoTokenizer

    from magic_cli.interleaved.vokens import IMAGE_SLOT, voken_names

    tokenizer = AutoTokenizer.from_pretrained(task.settings.interleaved_model.language_model.source)
    tokenizer.add_special_tokens({"additional_special_tokens": [*voken_names(4), IMAGE_SLOT]})
    return tokenizer


@pytest.mark.parametrize("case", ["uas", "lora", "prefix"])
def test_update_changes_exactly_what_is_trained(make_trainer, case):
    stage = Stage.uas if case == "uas" else Stage.mls
    task, updater = make_trainer(stage, kind=AdapterKind.prefix if case == "prefix" else AdapterKind.lora)
    module = task.module
    before, free = frozen_bytes(module), set(task.state())
    for step in range(2):  # the low-rank updates' second factor begins at zero, so that the first learns from the second step on
        updater.update(step, [task.samples[:3], task.samples[3:]])
    found = changed(module, before)
    if stage is Stage.uas:
        assert {"rows.input", "rows.output", *OF_MAPPER} <= free
        assert found == free  # every tensor moves, and no other: neither an old row nor a frozen model, by decay or otherwise
        return
    of_adapter = {name for name in found if "lora_" in name or "prompt_encoder" in name}
    assert found - of_adapter == {name for name in free if name.startswith(("rows.", "mapper.transformer."))}
    assert "mapper.queries" not in free and not any(name.startswith("mapper.fc") for name in free)
    if case == "lora":
        assert len(of_adapter) == 2 * 2 * 2  # query and value of two layers, two factors each
    else:
        assert {name for name in free if name.startswith("adapter.")} and not of_adapter  # the prefix lies in peft's own module
        assert any(
            not torch.equal(weight, start)
            for weight, start in zip(
                task.state().values(), make_trainer(stage, kind=AdapterKind.prefix)[0].state().values(), strict=True
            )
        )


def test_picture_teaches_the_row_of_the_first_voken_when_only_it_is_learnt(make_trainer):
    task, _ = make_trainer(Stage.uas, drop=0.0, text_weight=0.0)
    torch.manual_seed(0)
    _, noise, _ = task.module(*task.tensors(task.samples))
    noise.backward()
    gradients = (
        task.module.rows.input.grad
    )  # the states after [IMG0] see its row, and condition the picture through the frozen UNet
    assert gradients[0].abs().max() > 0 and gradients[3].abs().max() == 0  # the last voken's own state predicts no voken


def losses(task, samples, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return [float(loss) for loss in task.module(*task.tensors(samples))]


def test_picture_loss_forgets_the_prompt_when_all_is_blanked(make_trainer):
    task, _ = make_trainer(Stage.uas, drop=1.0, flip=False, only=[0])
    [sample] = task.samples
    other = replace(sample, ids=(sample.ids[0], 5, 6, 7, *sample.ids[4:]))
    assert losses(task, [sample])[1:] == losses(task, [other])[1:]
    task.module.options.drop = 0.0
    assert losses(task, [sample])[1] != losses(task, [other])[1]


def test_caption_loss_counts_only_where_every_picture_has_one(make_trainer):
    task, _ = make_trainer(Stage.uas, drop=0.0)
    pictured = [sample for sample in task.samples if sample.drawn]
    assert task.counts(pictured)[1:] == (4, 4) and losses(task, pictured)[2] > 0
    bare = [pictured[0], replace(pictured[1], caption=None)]
    assert task.counts(bare)[1:] == (2, 0) and losses(task, bare)[2] == 0
    words = [sample for sample in task.samples if not sample.drawn]
    assert task.counts(words)[1:] == (0, 0) and losses(task, words)[1:] == [0.0, 0.0]
    second, _ = make_trainer(Stage.mls)
    assert second.counts(pictured)[2] == 0


def test_noise_is_weighed_by_its_ratio_to_the_signal():
    assert min_snr_weights(torch.tensor([100.0, 5.0, 0.5]), 5.0).tolist() == pytest.approx([0.05, 1.0, 1.0])


def test_noise_loss_is_the_squared_error_by_hand(make_trainer):
    task, _ = make_trainer(Stage.uas, drop=0.0, flip=False, min_snr=None, only=[0])
    module = task.module
    batch = task.tensors(task.samples)[0]
    conditions = module.mapper(module.features(module.states(batch), batch)).detach()
    torch.manual_seed(3)
    found = module.noise_loss(conditions, batch.drawn)
    torch.manual_seed(3)
    latents = module.drawing.encode(batch.drawn)
    noise = torch.randn_like(latents)
    time = torch.randint(0, 1000, (1,))
    kept = module.drawing.noising.alphas_cumprod[time]
    noised = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    error = (module.drawing.unet(noised, time, encoder_hidden_states=conditions).sample - noise).square().mean()
    torch.testing.assert_close(found[0], error)
    module.options.min_snr = 5.0
    torch.manual_seed(3)
    weighed = module.noise_loss(conditions, batch.drawn)
    torch.testing.assert_close(weighed, found * (5 / (kept / (1 - kept))).clamp(max=1), rtol=1e-5, atol=0)


def test_padding_changes_nothing_when_sequences_differ_in_length(make_trainer):
    task, _ = make_trainer(Stage.mls, flip=False)
    module = task.module.eval()
    with torch.no_grad():
        together = module.states(task.tensors(task.samples)[0])
        for row, sample in enumerate(task.samples):
            alone = module.states(task.tensors([sample])[0])
            torch.testing.assert_close(together[row, : len(sample.ids)], alone[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", [AdapterKind.none, AdapterKind.lora, AdapterKind.prefix])
@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_exported_vokens_write_as_they_were_trained(make_trainer, tmp_path, kind, look_ahead):
    """The states that generation reads step by step are those of the teacher-forced pass of training (1e-4)."""
    stage = Stage.uas if kind is AdapterKind.none else Stage.mls
    task, updater = make_trainer(stage, kind=kind, lr=0.05)
    for step in range(3):
        updater.update(step, [task.samples])
    _export(task.settings, task).save(tmp_path / "vokens")
    settings = replace(task.settings.interleaved_model, vokens=str(tmp_path / "vokens"))
    model, facts = load_interleaved_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())
    assert facts["vokens"]["stage"] == stage.value
    language_model = model.language_model
    assert language_model.prepare(decoding_len=64, num_candidates=4, look_ahead=look_ahead) == look_ahead

    sample = next(sample for sample in task.samples if sample.read and sample.drawn)
    task.module.eval()
    with torch.no_grad():
        batch = task.collate([sample], flip=False)
        forced = task.module.features(task.module.states(batch), batch)[0]  # (n, H)
        vectors = iter(model.reader(batch.read).flatten(0, 1))
        places = {place: next(vectors) for place in range(sample.num_prompt) if sample.ids[place] == model.slot_id}
        state = language_model.prefill([Prompt(sample.ids[: sample.num_prompt], places)])
        states = []
        for i in sample.ids[sample.num_prompt :]:
            states.append(state.hidden[0, -1])
            language_model.peek(state, torch.tensor([[i, 5, 6]]))
            language_model.commit(state, torch.tensor([0]))
    first = sample.ids.index(model.voken_ids[0]) - sample.num_prompt
    torch.testing.assert_close(torch.stack(states[first : first + 4]), forced, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.conditions(forced[None]), task.module.mapper(forced[None]), rtol=0, atol=1e-5)


def test_stage_two_needs_stage_one_or_says_so(interleaved_folder, tmp_path):
    model = interleaved_settings(interleaved_folder)
    with pytest.raises(SettingsError, match="stage two goes on from stage one"):
        TrainVokensSettings(Stage.mls, model, PromptSettings())
    assert TrainVokensSettings(Stage.mls, model, PromptSettings(), one_stage=True).trains_all_of_mapper
    with pytest.raises(SettingsError, match="stage one trains no adapter"):
        TrainVokensSettings(Stage.uas, model, PromptSettings())
    with pytest.raises(SettingsError, match="no such folder"):
        interleaved_settings(interleaved_folder, vokens=str(tmp_path / "none"))


def test_held_out_items_are_spread_over_the_file(tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text("".join('{"parts": [{"text": "a"}], "target": [{"text": "b"}]}\n' for _ in range(40)))
    training, measured = VokenItems(path=str(file), held_out=0.1).training_and_validation()
    assert [item.id for item in measured] == ["6", "16", "26", "36"] and len(training) == 36
    assert VokenItems(path=str(file), held_out=0).training_and_validation()[1] == []
    with pytest.raises(SettingsError, match="leaves none"):
        VokenItems(path=str(file), held_out=40).training_and_validation()


def test_text_with_a_voken_is_refused(make_trainer, items):
    from magic_cli.data.interleaved import InterleavedItem, Part, Step
    from magic_cli.interleaved.training.samples import Encoder

    task, _ = make_trainer(Stage.uas)
    encoder = Encoder(make_tokenizer(task), task.module.rows.ids, PromptSettings(), num_vectors=3, max_length=100)
    bad = InterleavedItem("bad", (Step((Part(text="see [IMG1]"),), (Part(text="yes"),)),))
    with pytest.raises(MagicError, match=r"\[IMG1\]"):
        encoder.samples([bad], "dataset.path")
    with pytest.raises(MagicError, match="longer than run.max_length=5"):
        Encoder(make_tokenizer(task), task.module.rows.ids, PromptSettings(), num_vectors=3, max_length=5).samples(
            items, "dataset.path"
        )


def test_learning_rate_rises_over_a_number_of_steps():
    settings = VokenOptimizerSettings(warmup_steps=10)
    assert [rate_factor(step, 110, settings) for step in (0, 5, 10, 60, 110)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert AdapterSettings().targets == ["q_proj", "v_proj"]
