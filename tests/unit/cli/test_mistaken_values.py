"""What a careless user types instead of what is meant: one line says what to type."""

import pytest

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main, translate

CAPTION = COMMANDS["caption"]


@pytest.mark.parametrize(
    "words",
    [["caption", "--image", "a.jpg", "--prompt"], ["story", "--title"], ["retrieve-images", "query", "--index", "b", "--query"]],
    ids=" ".join,
)
@pytest.mark.parametrize("text", ["caf\udce9", "\udcff\udcfe"])
def test_text_that_is_no_utf8_is_one_line(words, text, capsys):
    assert main([*words, text]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "not UTF-8" in err and "\\udc" in err


def test_file_name_that_is_no_utf8_is_taken():
    assert translate(["--image", "caf\udce9.jpg", "run.dir=out\udce9"], CAPTION)[1] == [
        "dataset=files",
        "run.dir='out\udce9'",
        "dataset.paths=['caf\udce9.jpg']",
    ]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["caption", "--language-model", "./dir"], "language_model=./dir: for a folder write language_model.path=./dir;"),
        (["caption", "language_model=my dir"], "for a folder write language_model.path='my dir'"),
        (["caption", "--language-model", "gpt2/"], "for a folder write language_model.path=gpt2/"),
        (["caption", "--language-model", "no/such.gguf"], "for a file write language_model.path=no/such.gguf"),
        (
            ["story", "--language-model", "EleutherAI/pythia-1.4b"],
            "another model of the hub write --language-model gpt2 language_model.name=EleutherAI/pythia-1.4b",
        ),
        (["finetune-lm", "--language-model", "dir"], "for a folder write language_model.path=dir"),
        (["caption", "--image-text-model", "dir"], "write --image-text-model clip_vit_b32 image_text_model.path=dir"),
        (
            ["evaluate", "p.json", "--image-text-model", "/no/dir"],
            "write --image-text-model clip_vit_b32 image_text_model.path=/no/dir",
        ),
        (
            ["retrieve-images", "query", "--image-text-model", "openai/clip-vit-large-patch14"],
            "image_text_model.name=openai/clip-vit-large-patch14",
        ),
        (["caption", "--dataset", "dir"], "for a folder write --images dir; dataset is one of coco, "),
        (["caption", "--dataset", "cat.JPG"], "for an image write --image cat.JPG"),
        (["caption", "--dataset", "caps.json"], "--dataset coco_captions dataset.annotations=caps.json"),
        (["story", "--dataset", "titles.txt"], "for a file write --titles titles.txt"),
        (["story", "--dataset", "dir"], "a folder cannot be taken; write --titles FILE"),
        (["finetune-lm", "--dataset", "my.txt"], "dataset=my.txt: for a file write --texts my.txt"),
        (["caption", "decoding.k"], "unexpected 'decoding.k'; give it a value: decoding.k=..."),
        (["caption", "decoding.beta=1" + "0" * 400], "decoding.beta is too large a number"),
        (["caption", "run.seed=1" + "0" * 5000], "run.seed is too large a number"),
        (
            ["caption", "--image", "a.jpg", "experiment=table3/story_magic"],
            "experiment=table3/story_magic belongs to another command: it sets dataset.retrieved, which this one does not have",
        ),
        (["caption", "--image", "a.jpg", "~decoding.k"], "~decoding.k: a setting cannot be taken away; leave this word out"),
        (["caption", "--image", "a.jpg", "decoding.k=???"], "decoding.k is not set; give it a value"),
        (["caption", "--image", "a.jpg", "decoding.guides=[null]"], "decoding.guides[0] must not be null"),
        (["caption", "my dir"], "unexpected 'my dir'; settings are written name=value, images as in `--images 'my dir'`"),
        (["caption", "cat.JPG"], "images as in `--image cat.JPG`"),
        (["caption", "coco"], "a data set as in `--dataset coco`"),
        (["bench", "dir"], "unexpected 'dir'; settings are written name=value\n"),
        (["caption", "dataset=shards", "dataset.root=dir"], "unknown setting dataset.root; allowed: name, limit, "),
        (["caption", "--image", "cat.JPG", "run.parquet=maybe"], "run.parquet must be true or false, got 'maybe'"),
        (["caption", "--experiment", "mine.yaml"], "--config-dir FOLDER experiment=NAME"),
        (
            ["caption", "--language-model", "~nobody-is-called-so/dir"],
            "for a folder write language_model.path='~nobody-is-called-so/dir'",
        ),
        (["caption", "--language-model", "long" * 100], "language_model=longlong"),
        (["caption", "--config-dir", "long" * 100], "no such folder"),
        (["caption", "--beta", "2"], "unknown flag --beta; settings are written name=value: decoding.beta=..."),
        (["caption", "--batch-size=2"], "run.batch_size=..."),
        (["evaluate", "p.json", "spice.cache=/a"], "unknown setting spice.cache; did you mean metrics.spice.cache?"),
        (["evaluate", "p.json", "cache=/a, b"], "unknown setting cache; did you mean metrics.spice.cache?"),
        (["evaluate", "p.json", "+spice.cache=/a"], "did you mean metrics.spice?"),
        (["caption", "beta=1"], "did you mean decoding.beta?"),
        (["caption", "decoding.seed=1"], "did you mean run.seed?"),
        (["caption", "path=a"], "did you mean image_text_model.path or language_model.path?"),
        (["caption", "decoding.temperature=1"], "allowed: decoding_len, k, alpha, beta"),
        (["bench", "k=1"], "did you mean captions.k, growth.k or stories.k?"),
        (["finetune-lm", "lr=1"], "did you mean optimizer.lr?"),
        (["caption", "metrics=stories"], "magic caption has no metrics=... to choose; it has decoding, "),
        (
            ["caption", "dataset=titels"],
            "dataset=titels is unknown; allowed: coco, coco_captions, files, flickr30k, parquet, photos, shards\n",
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_fault_says_what_to_type(words, part, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("dir", "my dir"):
        (tmp_path / folder).mkdir()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and part in err


def test_text_of_a_sweep_may_be_longer_than_a_file_name():
    text = "a" * 300
    assert translate(["-m", "--prompt", f"{text},b"], CAPTION)[1] == [f"prompt='{text}','b'"]


def test_option_of_a_group_is_no_path_even_if_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("coco", "gpt2", "simctg_rocstories", "mine"):
        (tmp_path / folder).mkdir()
    for option in ("gpt2", "simctg_rocstories"):
        assert translate(["--language-model", option], CAPTION)[1] == [f"language_model={option}"]
    assert translate(["--dataset", "coco"], CAPTION)[1] == ["dataset=coco"]
    assert translate(["--config-dir", ".", "--dataset", "mine"], CAPTION)[1] == ["dataset=mine"]
