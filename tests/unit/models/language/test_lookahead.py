"""Looking ahead with every family of language model that transformers builds from a small config.

Whatever way the probe picks, candidates must have the hidden states, and chosen tokens the logits, that the model's own
plain forward pass gives them; a way that is silently wrong is the fault these tests are for.
"""

import pytest
import torch
import transformers

from magic_cli.decoding.magic import ContrastiveSearch
from magic_cli.errors import MagicError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import generate
from tests.tiny_models import build_language_tokenizer, randomise

LENGTH, NUM_CANDIDATES, WINDOW = 22, 4, 7
VOCAB = 402
PROMPTS = [[400, 17, 301, 77, 12, 90, 33, 250], [400, 5, 9], [400]]

_LLAMA = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
_SLIDING = {**_LLAMA, "head_dim": 8, "sliding_window": WINDOW}
_GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_NEOX = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}

# name: (what transformers calls it, its config, the way that the probe is expected to pick)
FAMILIES = {
    "gpt2": ("GPT2", _GPT, "tree"),
    "llama": ("Llama", _LLAMA, "tree"),
    "qwen2": ("Qwen2", _LLAMA, "tree"),
    "qwen3": ("Qwen3", {**_LLAMA, "head_dim": 8}, "tree"),
    "mistral": ("Mistral", {**_LLAMA, "sliding_window": None}, "tree"),
    "mistral_window_shorter_than_run": ("Mistral", _SLIDING, "repeated"),
    "phi": ("Phi", _LLAMA, "tree"),
    "opt": ("OPT", {**_NEOX, "ffn_dim": 48, "word_embed_proj_dim": 32}, "tree"),
    "opt_with_projections": ("OPT", {**_NEOX, "ffn_dim": 48, "word_embed_proj_dim": 16}, "tree"),
    "gpt_neox": ("GPTNeoX", {**_NEOX, "intermediate_size": 48}, "tree"),
    "gptj": ("GPTJ", {**_GPT, "rotary_dim": 4}, "tree"),
    "falcon": ("Falcon", _NEOX, "tree"),
    "falcon_alibi": ("Falcon", {**_NEOX, "alibi": True}, "repeated"),
    "phi3_longrope_switching_within_run": (
        "Phi3",
        {
            **_LLAMA, "original_max_position_embeddings": 10,
            "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0],
                "original_max_position_embeddings": 10,
            },
        },
        "recompute",
    ),
    "bloom": ("Bloom", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "repeated"),
    "mpt": ("Mpt", {"vocab_size": VOCAB, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, "repeated"),
    "gpt_neo_window_shorter_than_run": (
        "GPTNeo",
        {
            "vocab_size": VOCAB, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]], "window_size": WINDOW,
        },
        "repeated",
    ),
    "gemma2_softcap_and_window": ("Gemma2", {**_SLIDING, "final_logit_softcapping": 5.0}, "repeated"),
    "granite_scaled_logits": ("Granite", {**_LLAMA, "logits_scaling": 8.0, "residual_multiplier": 0.5}, "tree"),
    "cohere_scaled_logits": ("Cohere", {**_LLAMA, "logit_scale": 0.0625}, "tree"),
    "lfm2": ("Lfm2", {**_LLAMA, "layer_types": ["conv", "full_attention"]}, "recompute"),
    "mamba": ("Mamba", {"vocab_size": VOCAB, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}, "recompute"),
}  # fmt: skip
each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return build_language_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def build(tokenizer):
    """Build the language model of a family, always the same weights."""
    networks = {}

    def make(family):
        if family not in networks:
            name, config, _ = FAMILIES[family]
            special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 401}
            network = transformers.AutoModelForCausalLM.from_config(getattr(transformers, f"{name}Config")(**config, **special))
            networks[family] = randomise(network, seed=3)
        return HuggingFaceLanguageModel(networks[family], tokenizer)

    return make


@torch.inference_mode()
def plain_forward(model, sequence):
    """The model's own last hidden state and next-token logits of one sequence: no cache, no mask, no padding."""
    ids = torch.tensor([sequence])
    hidden = model.network.body(ids, use_cache=False).last_hidden_state[0, -1]
    return hidden, model.network.model(ids, use_cache=False).logits[0, -1].float()


def assert_close(got, expected):
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


@each_family
def test_hidden_states_and_logits_are_the_models_own_when_way_is_chosen(build, family):
    model = build(family)
    way = model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES)
    assert way == FAMILIES[family][2]
    sequences = [list(prompt) for prompt in PROMPTS]
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        state = model.prefill(PROMPTS)
        while len(sequences[0]) < LENGTH:
            for row, sequence in enumerate(sequences):
                assert_close(state.logits[row], plain_forward(model, sequence)[1])
            candidates = torch.randint(VOCAB, (3, NUM_CANDIDATES), generator=generator)
            peeked = model.peek(state, candidates)
            choice = torch.randint(NUM_CANDIDATES, (3,), generator=generator)
            model.commit(state, choice)
            for row, sequence in enumerate(sequences):
                for column in {0, int(choice[row])}:
                    assert_close(peeked[row, column], plain_forward(model, [*sequence, int(candidates[row, column])])[0])
                sequence.append(int(candidates[row, choice[row]]))
    assert [ids[valid].tolist() for ids, valid in zip(state.ids, state.valid, strict=True)] == sequences


@each_family
def test_tokens_equal_recomputed_ones_when_contrastive_search_writes(build, family):
    method = ContrastiveSearch(LENGTH, k=NUM_CANDIDATES, alpha=0.4)
    model = build(family)
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES)
    chosen = generate(model, method, PROMPTS)
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES, look_ahead="recompute")
    assert generate(model, method, PROMPTS) == chosen
    assert len(set(chosen[2])) > 3  # not one token over and over


@each_family
def test_start_is_read_once_when_texts_begin_alike(build, family):
    model = build(family)
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES)
    assert (model.network.lean is not None) == (family == "gpt2")
    method, written, positions = ContrastiveSearch(LENGTH, k=NUM_CANDIDATES, alpha=0.4), [], []
    alone, alike = PROMPTS[:1], PROMPTS[:1] * 3
    for prompts in (alone, alike, PROMPTS, alone):
        before = model.work.counts["lm_positions"]
        written.append(generate(model, method, prompts, settle_ties=False))
        positions.append(model.work.counts["lm_positions"] - before)
    assert written[0] == written[3] and written[1] == written[0] * 3 and written[2][0] == written[0][0]
    assert positions[3] < positions[0] and positions[1] == 3 * positions[3]


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_peek_commits_to_nothing_when_called_twice(build, look_ahead):
    model = build("gpt2")
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES, look_ahead=look_ahead)
    with torch.inference_mode():
        state = model.prefill(PROMPTS)
        model.peek(state, torch.tensor([[1, 2, 3, 4]] * 3))
        peeked = model.peek(state, torch.tensor([[5, 6]] * 3))
        assert state.ids.shape == (3, 8)
        model.commit(state, torch.tensor([1, 0, 1]))
    expected = [[*PROMPTS[0], 6], [*PROMPTS[1], 5], [*PROMPTS[2], 6]]
    for row, (sequence, column) in enumerate(zip(expected, [1, 0, 1], strict=True)):
        hidden, logits = plain_forward(model, sequence)
        assert_close(peeked[row, column], hidden)
        assert_close(state.logits[row], logits)


@pytest.mark.parametrize("family", ["gpt2", "mistral_window_shorter_than_run", "lfm2", "cohere_scaled_logits", "mamba"])
def test_callers_state_goes_on_as_before_when_rows_were_selected(build, family):
    model = build(family)
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES)
    with torch.inference_mode():
        state = model.prefill(PROMPTS)
        chosen = model.select(state, torch.tensor([2, 0, 2, 1]))
        for step_state, tokens in ((chosen, [[11], [12], [13], [14]]), (state, [[21], [22], [23]])):
            model.peek(step_state, torch.tensor(tokens))
            model.commit(step_state, torch.zeros(len(tokens), dtype=torch.long))
    for row, sequence in enumerate([[*PROMPTS[2], 11], [*PROMPTS[0], 12], [*PROMPTS[2], 13], [*PROMPTS[1], 14]]):
        assert_close(chosen.logits[row], plain_forward(model, sequence)[1])
    for row, sequence in enumerate([[*PROMPTS[0], 21], [*PROMPTS[1], 22], [*PROMPTS[2], 23]]):
        assert_close(state.logits[row], plain_forward(model, sequence)[1])


@torch.inference_mode()
def test_padding_stays_finite_when_float16_scores_overflow_under_the_mask(tokenizer):
    """A fully masked row of padding would be NaN in eager float16 attention and spread to the real tokens."""
    config = transformers.GPT2Config(**_GPT, bos_token_id=0, eos_token_id=0, attn_implementation="eager")
    network = randomise(transformers.GPT2LMHeadModel(config), seed=3)
    for block in network.transformer.h:
        block.attn.c_attn.weight[:, :64] *= 10  # queries and keys: attention scores far below -16
    model = HuggingFaceLanguageModel(network.half(), tokenizer)
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES, look_ahead="tree")
    together = model.prefill(PROMPTS)
    assert torch.isfinite(together.hidden).all()
    for row, prompt in enumerate(PROMPTS):
        alone = plain_forward(model, prompt)[1]
        assert (together.logits[row] - alone).abs().max() < 0.02 * alone.abs().max()


def test_tree_is_refused_when_model_looks_at_candidates_wrongly(build):
    with pytest.raises(MagicError, match="^language_model.look_ahead=tree does not work with .*; use auto$") as refused:
        build("mistral_window_shorter_than_run").prepare(decoding_len=LENGTH, num_candidates=4, look_ahead="tree")
    assert "\n" not in str(refused.value)


def test_run_is_refused_when_longer_than_the_models_context(build):
    with pytest.raises(MagicError, match="^decoding.decoding_len must be at most the language model's 64 positions, got 65$"):
        build("gpt2").prepare(decoding_len=65, num_candidates=4)


def test_tree_reads_each_candidate_once_when_work_is_counted(build):
    model = build("gpt2")
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES, look_ahead="tree")
    generate(model, ContrastiveSearch(LENGTH, k=NUM_CANDIDATES, alpha=0.4), [PROMPTS[0]])
    steps = LENGTH - len(PROMPTS[0])
    assert model.work.counts["lm_positions"] == len(PROMPTS[0]) + steps * NUM_CANDIDATES
    assert model.work.counts["head_rows"] == steps  # never the candidates; the last token needs no logits


def test_scaled_and_capped_heads_are_noticed_when_probed(build):
    plain = {}
    for family in ("gpt2", "llama", "granite_scaled_logits", "cohere_scaled_logits", "gemma2_softcap_and_window"):
        model = build(family)
        model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES)
        plain[family] = model.network.head_is_plain
    assert plain == {
        "gpt2": True, "llama": True, "granite_scaled_logits": False, "cohere_scaled_logits": False,
        "gemma2_softcap_and_window": False,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["auto", "recompute"])
def test_neighbours_change_no_token_when_a_rotary_embedding_switches_within_the_run(build, way):
    model = build("phi3_longrope_switching_within_run")
    model.prepare(decoding_len=LENGTH, num_candidates=NUM_CANDIDATES, look_ahead=way)
    method = ContrastiveSearch(LENGTH, k=NUM_CANDIDATES, alpha=0.4)
    alone = [generate(model, method, [prompt])[0] for prompt in PROMPTS]
    for together in (PROMPTS, PROMPTS[::-1]):
        assert generate(model, method, together, settle_ties=False) == [alone[PROMPTS.index(prompt)] for prompt in together]


def test_rotary_embedding_is_no_reason_to_recompute_when_the_run_stays_below_its_switch(build):
    model = build("phi3_longrope_switching_within_run")
    assert model.prepare(decoding_len=10, num_candidates=NUM_CANDIDATES) == "tree"
    with pytest.raises(
        MagicError, match="^language_model.look_ahead=tree does not work with .*depends on how many follow.*use auto$"
    ):
        model.prepare(decoding_len=11, num_candidates=NUM_CANDIDATES, look_ahead="tree")


def test_positions_that_are_no_tokens_do_not_count(tokenizer):
    """RoBERTa's first two are its padding's."""
    config = transformers.RobertaConfig(**_NEOX, intermediate_size=48, is_decoder=True, bos_token_id=0, eos_token_id=0)
    model = HuggingFaceLanguageModel(transformers.AutoModelForCausalLM.from_config(config).eval(), tokenizer)
    assert model.prepare(decoding_len=62, num_candidates=4)
    with pytest.raises(MagicError, match="^decoding.decoding_len must be at most the language model's 62 positions, got 63$"):
        model.prepare(decoding_len=63, num_candidates=4)


def test_model_that_cannot_read_as_many_tokens_as_it_says_is_one_line(build):
    model = build("gpt2")
    model.network.model.config.n_positions = 1000
    with pytest.raises(
        MagicError, match=r"^language_model: the model cannot read 900 tokens \(.*\); lower decoding.decoding_len"
    ) as refused:
        model.prepare(decoding_len=900, num_candidates=4)
    assert "\n" not in str(refused.value)


def test_model_without_a_limit_of_positions_reads_any_number(tokenizer):
    """XLNet's config calls no limit -1."""
    config = transformers.XLNetConfig(vocab_size=VOCAB, d_model=32, n_layer=2, n_head=4, d_inner=48, eos_token_id=0)
    model = HuggingFaceLanguageModel(transformers.AutoModelForCausalLM.from_config(config).eval(), tokenizer)
    assert model.positions is None and model.prepare(decoding_len=100, num_candidates=4)
