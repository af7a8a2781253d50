"""Values that Hydra's grammar does not allow: the message shows what to type, and that works."""

import shlex

import pytest

from magic_cli.cli.main import main
from magic_cli.configuration.overrides import with_quotes


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("rules.stop_texts=[a,b's]", ["a", "b's"]),
        ("rules.forbidden_words=[it's]", ["it's"]),
        ("rules.forbidden_words=[x(y,hot dog]", ["x(y", "hot dog"]),
        ("rules.forbidden_words=[a", ["a"]),
        ("rules.forbidden_words=[a,,b=c]", ["a", "b=c"]),
        ("rules.forbidden_words=['a \"b\" c's]", ['a "b" c\'s']),
    ],
)
def test_list_of_texts_that_cannot_be_read_is_one_line_that_shows_the_quotes(word, shown, capsys):
    assert main(["caption", "--image", "a.jpg", word, "--cfg", "job"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {word}: cannot be read; quote texts") and err.count("\n") == 1
    assert err.endswith(f": {with_quotes(word)}\n")

    [typed] = shlex.split(with_quotes(word))  # as a shell reads it
    assert main(["caption", "--image", "a.jpg", typed, "--cfg", "job"]) == 0
    name = word.partition("=")[0].rpartition(".")[2]
    assert f"  {name}:\n" + "".join(f"  - {text}\n" for text in shown) in capsys.readouterr().out


def test_number_that_cannot_be_read_is_one_line(capsys):
    assert main(["caption", "--image", "a.jpg", "decoding.k=(1"]) == 2
    assert capsys.readouterr().err.startswith("magic: decoding.k=(1: cannot be read; ")
