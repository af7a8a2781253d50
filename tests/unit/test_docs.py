"""What README tells people to type works."""

import re
import shlex
from pathlib import Path

import pytest

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main, translate

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_example_of_a_new_method_runs():
    import torch

    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {"__name__": "example"}
    exec("\n".join(line.removeprefix("   ") for line in code.splitlines()), names)
    method = names["MinPSampling"](decoding_len=16, min_p=0.5)
    kept = method.restrict(torch.tensor([[0.0, -0.1, -5.0]]))
    assert kept.isfinite().tolist() == [[True, True, False]]


def test_captions_of_the_sample_photos_are_those_that_readme_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `embedded`")
    [printed] = re.findall(r"```\n\$ magic caption --images data/photos\n(.*?)```", README, re.DOTALL)
    demo = (Path(__file__).resolve().parents[2] / "Makefile").read_text()
    assert "magic caption --images data/photos\n" in demo, "what make demo runs"
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    assert (
        main(["caption", "--images", "data/photos", "run.threads=1", f"run.dir={tmp_path / 'run'}", "run.cache_images=false"])
        == 0
    )
    assert capsys.readouterr().out == printed


def test_every_command_line_of_the_readme_is_understood():
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"magic (caption|evaluate|table) ", line)]
    commands = [words for words in (shlex.split(line, comments=True) for line in lines) if "..." not in words]
    assert len(commands) >= 12
    for words in commands:
        flags, overrides = translate(words[2:], COMMANDS[words[1]])
        assert overrides and all("=" in override for override in overrides)


def test_linked_files_exist():
    root = Path(__file__).resolve().parents[2]
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")] + re.findall(
        r'src="([^"]+)"', README
    )
    assert len(links) >= 4
    for link in links:
        assert (root / link).exists(), link
    assert not re.findall(r"@[A-Z]+@", README), "a placeholder is left"
