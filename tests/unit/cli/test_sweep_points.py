"""The values that a sweep tries: groups by a pattern, and one line where there is none to try."""

import pytest

from magic_cli.cli.main import main


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("decoding.beta=range(0,0)", "gives no value to try"),
        ("decoding.k=range(1,3,0)", "never ends"),
        ("decoding.alpha=range(0.0,1.0,0)", "never ends"),
        ("decoding=glob(x*)", "gives no value to try"),
        ("decoding.beta=interval(0,1)", "an interval is searched, with hydra/sweeper=optuna"),
    ],
)
def test_sweep_without_values_is_one_line(word, said, capsys):
    assert main(["caption", "-m", "--image", "a.jpg", word]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {word}: {said}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("decoding.k=range(3,3)", "gives no value to try"),
        ("decoding.k=range(1,3,0)", "never ends"),
        ("decoding=glob(*beam)", "a search knows no patterns; write decoding=beam,magic_beam"),
    ],
)
def test_search_without_values_is_one_line(word, said, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra `optuna`")
    assert main(["caption", "-m", "--image", "a.jpg", "hydra/sweeper=optuna", word]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {word}: {said}") and err.count("\n") == 1


@pytest.mark.parametrize("flags", [["-m", "--cfg", "job"], ["--info", "config", "-m"], ["--cfg", "job", "--info", "config"]])
def test_a_sweep_and_a_look_at_settings_are_not_combined(flags, capsys):
    assert main(["caption", *flags, "--image", "a.jpg"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "cannot be combined" in err and err.count("\n") == 1


def test_pattern_stands_for_all_options_that_fit(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()
    tried = []
    monkeypatch.setattr("magic_cli.commands.caption.run", lambda settings: tried.append(settings.decoding.num_beams) or 0)
    assert main(["caption", "-m", "--image", "a.jpg", "decoding=glob(*beam)"]) == 0
    assert len(tried) == 2
    assert "magic: point 2 of 2: decoding=magic_beam" in capsys.readouterr().err
