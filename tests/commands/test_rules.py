"""Rules on the next token as settings of `magic caption` and `magic story`, with the embedded models on real photos."""

import json

import pytest

from magic_cli.cli.main import main

CAPTION = ["caption", "--image", "data/unfamiliar_photos/cat.jpg", "--image", "data/unfamiliar_photos/coffee.jpg", "run.threads=1", "run.cache_images=false"]
STORY = ["story", "--title", "A cat", "--image", "data/unfamiliar_photos/cat.jpg", "run.threads=1", "run.cache_images=false"]


@pytest.fixture
def texts(tmp_path, capsys):
    """Run magic with more words, in a folder of its own; gives the texts that it prints."""
    def run(*words):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert main([*words, f"run.dir={folder}"]) == 0
        return [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.mark.parametrize("decoding", ["magic", "nucleus", "beam"])
def test_captions_obey_when_rules_are_set(texts, decoding):
    plain = texts(*CAPTION, f"decoding={decoding}")
    words = plain[0].lower().split()
    forbidden = texts(*CAPTION, f"decoding={decoding}", f"rules.forbidden_words=[{words[1]},a]")
    assert plain != forbidden and not {words[1], "a"} & set(" ".join(forbidden).lower().replace(".", "").split())
    stopped = texts(*CAPTION, f"decoding={decoding}", f"rules.stop_texts=[' {plain[0].split()[2]}']")
    assert stopped[0] == " ".join(plain[0].split()[:2])
    longer = texts(*CAPTION, f"decoding={decoding}", "rules.min_length=15", "decoding.decoding_len=20")
    assert all(len(text.split()) > 8 for text in longer)
    assert texts(*CAPTION, f"decoding={decoding}", "rules.repetition_penalty=3") != plain


def test_stories_obey_when_rules_are_set(texts):
    plain = texts(*STORY)
    assert texts(*STORY, "rules.forbidden_words=[cat]") != plain
    assert texts(*STORY, "rules.stop_texts=[' ']") != plain


def test_rules_are_part_of_a_run_only_when_they_are_set(tmp_path, capsys):
    words = [*CAPTION, f"run.dir={tmp_path / 'run'}"]
    assert main(words) == 0
    assert "rules" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["identity"]
    assert main([*words, "rules.min_length=3"]) == 2
    assert "rules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rules.min_length=16"], "rules.min_length must be below decoding.decoding_len=16, got 16; lower it, or raise the latter"),
        (["rules.repetition_penalty=0"], "rules.repetition_penalty must be greater than 0, got 0.0"),
        (["rules.forbidden_words=['']"], "rules.forbidden_words must hold texts that are not empty, got '' as number 1; leave it out"),
        (["decoding=clipre", "rules.min_length=2"], "rules: decoding=clipre finds whole captions and writes no tokens; leave rules out"),
    ],
)
def test_rule_is_refused_in_one_line_when_it_cannot_hold(words, message, capsys):
    assert main([*CAPTION, *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"magic: {message}"
