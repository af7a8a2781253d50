"""What a language model cannot do is said from its config and tokenizer alone: here its weights are not even there."""

import pytest

from magic_cli.cli.main import main

pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture
def words(tiny_language_model_folder, tiny_photos, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_language_model_folder.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    photo = next(tiny_photos.glob("*.jpg"))
    images = {"caption": ["--image", str(photo)], "story": ["--title", "A dog", "--image", str(photo)]}
    return lambda command: [command, *images[command], f"language_model.path={folder}"]


TOO_LONG = "decoding.decoding_len must be at most the language model's 128 positions, got 129"


@pytest.mark.parametrize("command", ["caption", "story"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["decoding.k=9000"], "decoding.k must be at most the vocabulary size 402, got 9000"),
        (["--decoding", "contrastive", "decoding.k=403"], "decoding.k must be at most the vocabulary size 402, got 403"),
        (["--decoding", "top_k", "decoding.k=403"], "decoding.k must be at most the vocabulary size 402, got 403"),
        (
            ["--decoding", "rerank", "decoding@decoding.base=top_k", "decoding.base.k=403"],
            "decoding.base.k must be at most the vocabulary size 402, got 403",
        ),
        (["--decoding", "zerocap", "decoding.num_texts=403"], "decoding.num_texts must be in [1, 402], got 403"),
        *[
            (["--decoding", name, "decoding.decoding_len=129"], TOO_LONG)
            for name in ("magic", "greedy", "beam", "nucleus", "typical", "rerank")
        ],
        (
            ["--decoding", "zerocap", "decoding.num_texts=9", "decoding.decoding_len=128"],
            "with decoding.prompt, the text outgrows the language model's 128",
        ),
        (["--decoding", "zerocap", "decoding.num_texts=9", "decoding.end_token=the end"], "decoding.end_token must be one token"),
        (
            ["--decoding", "zerocap", "decoding.num_texts=9", "decoding.prompt=A man"],
            "decoding.prompt must open with '<|endoftext|>' or",
        ),
    ],
)
def test_setting_beyond_the_language_model_is_refused_before_its_weights_are_read(words, capsys, command, settings, message):
    assert main([*words(command), *settings]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_prompt_that_leaves_no_room_is_refused_before_weights_are_read(words, capsys):
    assert (
        main(
            [
                *words("caption"),
                "decoding.k=5",
                "--prompt",
                "A man riding a wave on top of a surfboard",
                "decoding.decoding_len=5",
            ]
        )
        == 2
    )
    assert "decoding.decoding_len counts the prompt and must exceed its" in capsys.readouterr().err
