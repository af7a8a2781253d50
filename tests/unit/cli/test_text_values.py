"""Texts on the command line arrive letter for letter, whatever Hydra would make of them."""

import pytest

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import quote, translate
from magic_cli.configuration.composing import settings_of
from magic_cli.configuration.files import find_config_dir

CAPTION = COMMANDS["caption"]


ODD_NAMES = ["a b.jpg", "a,b.jpg", "[1] {2} (3).jpg", "it's.jpg", 'say "x".jpg', "${oc.env:HOME}.jpg", "a=b.jpg", "back\\slash.jpg",
             "b\\'q.jpg", "é 日本.jpg", "trailing\\", "a:b#c;d.jpg", "~tilde.jpg", "100%.jpg", "null", "1.5", "true"]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_path_arrives_letter_for_letter_when_it_has_odd_letters(name):
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration import composing

    composing.register()
    _, from_flag = translate(["--image", name], CAPTION)
    _, from_setting = translate([f"run.dir={name}"], CAPTION) if name != "null" else (None, [])
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        config = compose("caption", [*from_flag, *from_setting])
    assert list(config.dataset.paths) == [name]
    if name != "null":
        assert config.run.dir == name


@pytest.mark.parametrize(
    "prompt",
    [
        "A man, smiling",
        "A man's dog",
        "Question: what (a)?",
        'say "hello"',
        "[x] ${y} = 1",
        "ends with '",
        "'a' or 'b'",
        '"Stop", he said, "now"',
    ],
)
@pytest.mark.parametrize("spelling", ["--prompt={}", "prompt={}"])
def test_prompt_arrives_letter_for_letter(prompt, spelling):
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration import composing

    composing.register()
    _, overrides = translate(["--image", "a.jpg", spelling.format(prompt)], CAPTION)
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        assert compose("caption", overrides).prompt == prompt


def test_quotes_of_a_flag_s_value_are_its_own_and_those_of_a_setting_hydra_s():
    assert (
        translate(["--prompt", "'Hello'"], CAPTION)[1]
        == [f"prompt={quote(chr(39) + 'Hello' + chr(39))}"]
        == ["prompt='\\'Hello\\''"]
    )
    assert translate(["prompt='Hello'"], CAPTION)[1] == ["prompt='Hello'"]
    assert translate(["-m", "prompt='a, b','c'"], CAPTION)[1] == ["prompt='a, b','c'"]
    assert translate(["-m", "--prompt", "'a',b"], CAPTION)[1] == ["prompt='\\'a\\'','b'"]


@pytest.mark.parametrize(
    ("command", "flag", "setting"),
    [("caption", "--prompt", "prompt"), ("story", "--prompt", "prompt"), ("caption", "--run-dir", "run.dir")],
)
def test_null_on_a_flag_is_a_text_and_in_a_setting_none(command, flag, setting):
    assert (
        translate([flag, "null"], COMMANDS[command])[1]
        == translate([f"{flag}=null"], COMMANDS[command])[1]
        == [f"{setting}='null'"]
    )
    assert translate(["-m", flag, "null,a"], COMMANDS[command])[1] == [f"{setting}='null','a'"]
    assert translate(["--title", "null"], COMMANDS["story"])[1] == ["dataset=title", "dataset.title=['null']"]
    assert translate([f"{setting}=null"], COMMANDS[command])[1] == [f"{setting}=null"]


ODD_TEXT = '/data/a, b [1] {x} it\'s "${y}" = 1'


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.settings_class])
def test_every_text_setting_arrives_letter_for_letter(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    texts = [setting for setting, is_text in settings_of(COMMANDS[name].load_settings_class()).items() if is_text]
    words = [f"{setting}={ODD_TEXT}" for setting in [*texts, *TEXTS_OF[name]]]
    action = ["action=x"] if COMMANDS[name].action else []
    overrides = translate([*words, *action], COMMANDS[name])[1][len(action) :]
    values = [override.value() for override in OverridesParser.create().parse_overrides(overrides)]
    assert [value.replace("\\$", "$") for value in values] == [ODD_TEXT] * len(words)  # OmegaConf takes that backslash away


# some that must be among them; null, numbers, choices of a type of their own and lists are no texts
TEXTS_OF = {
    "caption": ["run.image_cache", "run.objective", "prompt", "decoding.folder", "decoding.end_token", "dataset.root", "dataset.annotations", "language_model.path"],
    "story": ["dataset.titles", "dataset.retrieved", "image_text_model.pretrained"],
    "evaluate": ["metrics.spice.cache", "spice.cache", "metrics.clip_score.prefix", "id_key", "references", "split"],
    "table": ["human_scores", "metrics.java_home"],
    "human-eval": ["key", "images"],
    "retrieve-images": ["index", "output"],
    "bench": ["photos", "output"],
    "finetune-lm": ["fresh.tokenizer", "dataset.path", "run.dir"],
    "interleave": ["interleaved_model.vokens", "interleaved_model.vision.projection", "dataset.items", "dataset.annotations", "dataset.root", "prompt.template"],
    "merge-runs": ["output"],
    "report": ["title", "output"],
    "live": ["host"],
    "train-vokens": ["interleaved_model.vokens", "interleaved_model.diffusion.path", "dataset.path", "dataset.validation", "run.dir"],
}  # fmt: skip


def test_what_is_no_text_is_left_to_hydra():
    words = [
        "run.dtype=bfloat16",
        "decoding.k=5",
        "run.trace=true",
        "dataset.paths=[a,b]",
        "decoding.clip_text=generated",
        "prompt=null",
        "decoding=top_k",
        "hydra.run.dir=a,b",
    ]
    assert translate(words, CAPTION)[1] == words
    sweep = ["decoding.k=1,2", "decoding.kind=exact,ivf", "decoding.kind=choice(exact,ivf)"]
    assert translate(["-m", *sweep], CAPTION)[1] == [sweep[0], "decoding.kind='exact','ivf'", sweep[2]]


def test_quote_doubles_backslashes_only_before_quotes():
    assert quote("a\\b") == "'a\\b'"
    assert quote("a\\'") == "'a\\\\\\''"
