"""``magic interleave``: what is refused, and items that cannot be written."""

import json
from pathlib import Path

import pytest

from tests.commands.interleaving import predictions, run, words, write_items  # noqa: F401  fixtures


def test_method_that_looks_at_an_image_says_so_where_there_is_none(words, capsys):
    run(words, "--part", "A dog", "decoding=magic", "run.dir=out", status=3)
    assert (
        "magic: no text for parts: step 1: decoding=magic looks at the last image before the answer, and there is none\n"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "nothing to go on: give --part TEXT and --part image:FILE, or --items FILE (see magic interleave --help)"),
        (["--part", "A dog", "--items", "a.jsonl"], "--part and --items cannot be combined: each chooses the items"),
        (["--items", "a.jsonl"], "dataset.items=a.jsonl: no such file"),
        (["--part", "A dog", "scheduler=foo"], "scheduler: allowed: pndm, ddim, ddpm, euler, dpm_solver, got 'foo'"),
        (["--part", "A dog", "guidance=-1"], "guidance must be at least 1, got -1.0"),
        (["--part", "A dog", "guidance=nan"], "guidance must be"),
        (["--part", "A dog", "steps=100000"], "steps must be in [1, 1000], got 100000"),
        (
            ["--part", "A dog", "steps=1000", "scheduler=ddim"],
            "steps=1000: scheduler=ddim draws in fewer than 1000 steps with this model; lower it",
        ),
        (["--part", "A dog", "force_image=true"], "force_image: allowed: none, first, last, got 'True'"),
        (
            ["--part", "A dog", "max_new_tokens=4"],
            "max_new_tokens=4: an image takes 4 tokens, and force_image=last wants one; raise it",
        ),
        (
            ["--part", "A dog", "decoding=zerocap", "decoding.step_size=1"],
            "decoding=zerocap reads no prompts with images; name another method, such as nucleus",
        ),
        (["--part", "A dog", "run.objective=clip_i"], "run.objective=clip_i: no step of dataset=parts has a true image; give"),
        (
            ["--part", "A dog", "run.objective=bleu_words_1"],
            "run.objective=bleu_words_1: no step of dataset=parts has a true text",
        ),
        (["--part", "A dog", "run.objective=cider"], "run.objective=cider: no step of dataset=parts has a true text"),
        (["--part", "A dog", "run.objective=clip_j"], "run.objective=clip_j: no such measure; did you mean clip_t"),
        (["--part", "A dog", "draw_from=text"], "draw_from: allowed: vokens, answer, told, got 'text'"),
        (["--part", "A dog", "draw_from=told"], "force_image=last: with draw_from=told each text gets its image"),
        (
            ["dataset=files", "dataset.paths=[a.jpg]"],
            "dataset=files does not hold texts and images in turn; give --part or --items",
        ),
        (["--part", "A dog", "prompt.template=hello"], "prompt.template='hello': must hold {parts} once"),
        (["--part", "A dog", "task=caption"], "task=caption: this is `magic interleave`"),
        (["--part", "A dog", "interleaved_model.vokens=nowhere"], "interleaved_model.vokens=nowhere: no such folder"),
        (["--part", "A dog", "interleaved_model=big"], "interleaved_model=big is unknown"),
    ],
)
def test_careless_use_is_one_line_and_status_2(words, more, told, capsys):
    run(words, *more, status=2)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and told in err


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"parts": [{"text": "A [IMG0] dog"}]}, "step 1: a text holds '[IMG0]', which stands for an image; take it out"),
        ({"parts": [{"text": "dog " * 200}]}, "leaves no room for an answer in decoding.decoding_len=120; shorten it"),
        (
            {"steps": [{"parts": [{"text": "a"}]}, {"parts": []}]},
            "step 1 has no target, which history=gt puts before the next step; give it one, or set history=self",
        ),
        ({"parts": [{"image": "text.jpg"}]}, "text.jpg: UnidentifiedImageError"),
    ],
)
def test_item_that_cannot_be_written_stops_no_other(words, record, reason, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    items = write_items(tmp_path / "items.jsonl", [record, {"id": "fine", "parts": [{"text": "A dog"}]}])
    run(words, "--items", items, "run.dir=out", status=3)
    assert list(predictions("out")) == ["fine"]
    [failure] = map(json.loads, Path("out/failures.jsonl").read_text().splitlines())
    assert failure["id"] == "1" and reason in failure["reason"]
    assert f"magic: no text for 1: {failure['reason']}" in capsys.readouterr().err


def test_missing_extra_is_one_line_that_says_what_to_install(words, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    run(words, "--part", "A dog", status=2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "pip install" in err and "interleaved" in err
