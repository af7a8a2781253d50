"""Rules on the next token as settings of `magic caption` and `magic story`, with the embedded models on real photos."""

import json

import pytest

from magic_cli.cli.main import main
from tests.files import lines

CAPTION = [
    "caption",
    "--image",
    "data/unfamiliar_photos/cat.jpg",
    "--image",
    "data/unfamiliar_photos/coffee.jpg",
    "run.threads=1",
    "run.cache_images=false",
]
STORY = ["story", "--title", "A cat", "--image", "data/unfamiliar_photos/cat.jpg", "run.threads=1", "run.cache_images=false"]


@pytest.fixture
def texts(tmp_path, capsys):
    """Run magic with more words, in a folder of its own; gives the texts that it prints, and how many tokens each has if asked."""

    def run(*words, lengths=False):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert main([*words, f"run.dir={folder}"]) == 0
        printed = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
        if not lengths:
            return printed
        return printed, [len(record["token_ids"]) for record in lines(folder / "predictions.jsonl")]

    return run


@pytest.mark.parametrize("decoding", ["magic", "nucleus", "beam"])
def test_captions_obey_when_rules_are_set(texts, decoding):
    plain, lengths = texts(*CAPTION, f"decoding={decoding}", lengths=True)
    words = plain[0].lower().split()
    forbidden = texts(*CAPTION, f"decoding={decoding}", f"rules.forbidden_words=[{words[1]},a]")
    assert plain != forbidden and not {words[1], "a"} & set(" ".join(forbidden).lower().replace(".", "").split())
    stopped = texts(*CAPTION, f"decoding={decoding}", f"rules.stop_texts=[' {plain[0].split()[2]}']")
    # a beam that ends there may lose against one that does not
    assert stopped[0] == " ".join(plain[0].split()[:2]) or (decoding == "beam" and plain[0].split()[2] not in stopped[0].split())
    longer = ["rules.min_length=15", "rules.stop_texts=['.']", "decoding.decoding_len=20"]
    assert min(lengths) < 15 <= min(texts(*CAPTION, f"decoding={decoding}", *longer, lengths=True)[1])
    repeats = lambda texts: sum(len(text.split()) - len(set(text.split())) for text in texts)
    assert repeats(texts(*CAPTION, f"decoding={decoding}", "rules.repetition_penalty=1000")) == 0


def test_stories_obey_when_rules_are_set(texts):
    plain, lengths = texts(*STORY, lengths=True)
    first = plain[0].split()[0].lower()
    assert first not in texts(*STORY, f"rules.forbidden_words=[{first}]")[0].lower().split()
    assert " " not in texts(*STORY, "rules.stop_texts=[' ']")[0]
    assert texts(*STORY, "rules.min_length=60", "decoding.decoding_len=80", lengths=True)[1][0] >= 60 > lengths[0]


def test_rules_are_part_of_a_run_only_when_they_are_set(tmp_path, capsys):
    words = [*CAPTION, f"run.dir={tmp_path / 'run'}"]
    assert main(words) == 0
    assert "rules" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["identity"]
    assert main([*words, "rules.min_length=3"]) == 2
    assert "rules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["rules.min_length=16"],
            "rules.min_length must be below decoding.decoding_len=16, got 16; lower it, or raise decoding.decoding_len",
        ),
        (["rules.repetition_penalty=0"], "rules.repetition_penalty must be greater than 0, got 0.0"),
        (
            ["rules.forbidden_words=['']"],
            "rules.forbidden_words must hold texts that are not empty, got '' as number 1; leave it out",
        ),
        (
            ["--prompt", "A photo of a", "rules.min_length=15"],
            "rules.min_length=15: the prompt has 5 tokens, and decoding.decoding_len=16 counts them, which leaves room for 11; lower it, or raise decoding.decoding_len",
        ),
        (["rules.forbidden_words=cat"], "rules.forbidden_words must be a list, got 'cat'; write rules.forbidden_words=[...]"),
        (["rules=null"], "rules=null: a settings group must be one of its options; for the default, leave it out"),
        (
            ["decoding=clipre", "rules.min_length=2"],
            "rules: decoding=clipre finds whole captions and writes no tokens; leave rules out",
        ),
    ],
)
def test_rule_is_refused_in_one_line_when_it_cannot_hold(words, message, tmp_path, capsys):
    assert main([*CAPTION, *words, f"run.dir={tmp_path}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"magic: {message}"
