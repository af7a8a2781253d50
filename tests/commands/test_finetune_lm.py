"""magic finetune-lm from the command line: argv in; stdout, stderr, files and exit status out."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from magic_cli.cli.main import main
from tests import tiny_models
from tests.commands.finetuning import SMALL, adapt, elsewhere, metrics  # noqa: F401  fixtures
from tests.model_folders import copy_with, remove_tokenizer, with_prefix, without


def test_adapted_model_is_better_and_loads_everywhere(adapt, tmp_path, tiny_photos, tiny_clip_folder, capsys):
    assert adapt("out") == 0
    out, err = capsys.readouterr()
    assert out == "out\n" and "perplexity per token" in err.splitlines()[-1]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["perplexity_per_token"] < report["before"]["perplexity_per_token"] / 2
    assert report["steps"] == 24 and report["selected_on"] == "validation" and 0 <= report["padding"] < 0.5
    assert -1 < report["after"]["token_similarity"] < 1

    lines = metrics(tmp_path / "out")
    best = min((line for line in lines if "validation" in line and line["step"]), key=lambda line: line["validation"]["loss"])
    assert report["after"] == {"step": best["step"], **best["validation"]}
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert {file.name for file in (tmp_path / "out" / "checkpoints").iterdir()} == {
        "best.pt",
        "step-00000020.pt",
        "step-00000024.pt",
    }
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "loss of a token (nats)" in (tmp_path / "out" / "curve.svg").read_text()

    words = [
        "language_model.path=out",
        f"image_text_model.path={tiny_clip_folder}",
        "image_text_model=clip_vit_b32",
        "decoding.k=3",
    ]
    assert (
        main(
            [
                "caption",
                "--images",
                str(tiny_photos),
                "dataset.limit=1",
                *words,
                "decoding.decoding_len=6",
                "decoding.alpha=0.1",
                "decoding.beta=1",
            ]
        )
        == 0
    )


def test_output_loads_with_plain_transformers_and_gives_the_reported_loss(adapt, tmp_path, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = tmp_path / "valid.txt"
    texts.write_text("A dog sits on a bed.\nTwo cats are sleeping near a window.\n")
    assert adapt("out", "dataset.validation=[{kind: text, path: valid.txt}]", "dataset.held_out=0") == 0
    model, tokenizer = AutoModelForCausalLM.from_pretrained("out").eval(), AutoTokenizer.from_pretrained("out")
    total = count = 0
    for text in texts.read_text().splitlines():
        ids = torch.tensor(
            [[tokenizer.convert_tokens_to_ids(tiny_models.START), *tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
        )
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["loss"] == pytest.approx(total / count, abs=1e-5)
    assert report["validation_texts"]["words"] == 13


def test_fresh_model_learns_a_tokenizer_with_the_paper_s_added_tokens(tmp_path, capsys):
    fresh = ["fresh.layers=1", "fresh.width=16", "fresh.heads=2", "fresh.positions=32", "fresh.vocab_size=300"]
    assert main(["finetune-lm", "--texts", "texts.txt", *SMALL, *fresh, "--output", "out", "objective.margin=0"]) == 0
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("out")
    assert tokenizer.convert_tokens_to_ids([tiny_models.END, tiny_models.START, tiny_models.PAD]) == [
        0,
        len(tokenizer) - 2,
        len(tokenizer) - 1,
    ]
    assert AutoModelForCausalLM.from_pretrained("out").config.vocab_size == len(tokenizer) == 300
    assert not any("contrastive" in line for line in metrics(tmp_path / "out"))


def test_tokens_are_added_to_a_model_that_lacks_them_in_the_paper_s_order(tmp_path, capsys):
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    raw = tmp_path / "bpe.json"
    raw.write_text(tiny_models.language_tokenizer_json())
    GPT2TokenizerFast(tokenizer_file=str(raw), bos_token=tiny_models.END, eos_token=tiny_models.END).save_pretrained("base")
    size = len(AutoTokenizer.from_pretrained("base"))
    GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained("base")
    assert main(["finetune-lm", "--texts", "texts.txt", *SMALL, "language_model.path=base", "--output", "out"]) == 0
    assert AutoTokenizer.from_pretrained("out").convert_tokens_to_ids([tiny_models.START, tiny_models.PAD]) == [size, size + 1]


def test_texts_longer_than_the_model_s_positions_are_refused_whatever_its_config_calls_them(
    tmp_path, network_and_tokenizer, capsys
):
    from transformers import MptConfig, MptForCausalLM

    tokenizer = network_and_tokenizer[1]
    MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=1, max_seq_len=16, vocab_size=len(tokenizer))).save_pretrained("mpt")
    tokenizer.save_pretrained("mpt")
    assert (
        main(["finetune-lm", "--texts", "texts.txt", *SMALL, "language_model.path=mpt", "run.max_length=40", "--output", "out"])
        == 2
    )
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "magic: run.max_length must be at most 15 with this model's 16 positions, got 40"
    )


def test_sweep_over_types_runs_every_point(tmp_path, tiny_language_model_folder, capsys):
    words = ["--texts", "texts.txt", f"language_model.path={tiny_language_model_folder}", *SMALL, "optimizer.steps=2"]
    assert main(["finetune-lm", "-m", *words, "run.dtype=float32,bfloat16"]) == 0
    assert len(list(tmp_path.glob("runs/finetune-lm/*/model.safetensors"))) == 2


def test_checkpoint_is_chosen_by_test_texts_only_when_asked(adapt, tmp_path, capsys):
    assert adapt("out", "validate.select_on=test") == 2
    assert "names no test texts" in capsys.readouterr().err
    (tmp_path / "test.txt").write_text("A dog sits on a bed.\n")
    assert adapt("out", "validate.select_on=test", "dataset.test=[{kind: text, path: test.txt}]") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["selected_on"] == "test" and report["validation_texts"]["samples"] == 1


def test_prefixed_base_is_adapted_as_the_plain_one_and_other_bases_are_refused(tiny_language_model_folder, tmp_path, capsys):
    few = [*SMALL, "optimizer.steps=2"]
    words = ["finetune-lm", "--texts", "texts.txt", *few]
    compiled = copy_with(tiny_language_model_folder, tmp_path / "compiled", with_prefix("_orig_mod."))
    for base, folder in ((tiny_language_model_folder, "plain"), (compiled, "stripped")):
        assert main([*words, f"language_model.path={base}", "--output", folder]) == 0
    plain, stripped = (load_file(tmp_path / folder / "model.safetensors") for folder in ("plain", "stripped"))
    assert plain.keys() == stripped.keys() and all(torch.equal(plain[name], stripped[name]) for name in plain)
    assert (
        json.loads((tmp_path / "stripped" / "manifest.json").read_text())["source"]["language_model"]["stripped_prefix"]
        == "_orig_mod."
    )
    capsys.readouterr()
    less = copy_with(tiny_language_model_folder, tmp_path / "less", without("transformer.h.1."))
    remove_tokenizer(tiny := shutil.copytree(tiny_language_model_folder, tmp_path / "words"))
    for base, line in ((less, "transformer.h.1.ln_1.weight"), (tiny, "no tokenizer in")):
        assert main([*words, f"language_model.path={base}", "--output", f"no_{base.name}"]) == 2
        assert line in capsys.readouterr().err
    shutil.copy(tiny_language_model_folder / "tokenizer_config.json", tiny)
    assert main(["finetune-lm", "--texts", "texts.txt", "fresh.layers=1", f"fresh.tokenizer={tiny}", "--output", "no_fresh"]) == 2
    assert f"fresh.tokenizer={tiny}: no tokenizer in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dataset=cocoo"], "magic: dataset=cocoo is unknown; did you mean coco?"),
        (["--texts", "none.txt"], "magic: dataset.path=none.txt: no such file"),
        (["--texts", "empty.txt"], "magic: dataset=text: no training texts"),
        (
            ["--texts", "texts.txt", "dataset.validation=[{kind: text}]"],
            "magic: dataset.validation: a source names no path, and dataset.path=texts.txt is trained",
        ),
        (["--texts", "texts.txt", "objective.margin=2"], "magic: objective.margin must be in [0, 1], got 2"),
        (["--texts", "texts.txt", "optimizer.lr=0"], "magic: optimizer.lr must be greater than 0, got 0"),
        (["--texts", "texts.txt", "optimizer.eps=nan"], "magic: optimizer.eps must be a finite number, got nan"),
        (["--texts", "texts.txt", "fresh.width=30"], "magic: fresh.width must be a multiple of fresh.heads=8, got 30"),
        (["--texts", "texts.txt", "run.trackers=[wandbb]"], "magic: run.trackers: 'wandbb' is not installed here"),
        (["--texts", "texts.txt", "language_model=embedded", "run.max_length=200"], "magic: run.max_length must be at most 127"),
        (["--texts", "texts.txt", "optimiser.lr=1"], "magic: unknown setting optimiser"),
        (["experiment=table1/coco_magic"], "magic: experiment=table1/coco_magic belongs to another command"),
    ],
)
def test_fault_is_one_line_and_status_2(words, line, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n")
    assert main(["finetune-lm", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith(line) and "Traceback" not in err


def test_caption_refuses_an_experiment_of_finetuning(capsys):
    assert main(["caption", "--image", "a.jpg", "experiment=finetune_coco"]) == 2
    assert "experiment=finetune_coco belongs to another command: it chooses dataset=" in capsys.readouterr().err
