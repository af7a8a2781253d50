"""What README and docs/ tell people to type works, and what they show is so."""

import ast
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main, translate

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LAUNCHER = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:(?:accelerate launch|torchrun [^|]*?|python) -m magic_cli|magic) ")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, *languages):
    """The fenced blocks of a page in one of the languages; an empty one: no language is named."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text_of(page), re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


def command_lines(page):
    """The command lines of magic on a page: those in blocks, and whole ones inside of a text."""
    lines = [line for block in blocks(page, "", "sh") for line in block.replace("\\\n", " ").splitlines()]
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL).replace("\n", " ")
    lines += [line for line in re.findall(r"`(magic [^`|]+)`", text) if len(line.split()) > 4 or "--help" in line]
    found = [re.sub(r"^\$ | +# .*", "", line.strip()) for line in lines]
    return [line for line in found if LAUNCHER.match(line)]


OF_EXAMPLES = re.compile("min_p|length_ratio|tab_captions")
"""What the pages on extending add; it is not there, and tested below."""
ALL_LINES = {line for page in PAGES for line in command_lines(page)} | {line for c in COMMANDS.values() for line in c.examples}
BY_COMMAND = {
    name: sorted(line for line in ALL_LINES if LAUNCHER.sub("", line).split()[:1] == [name] and not OF_EXAMPLES.search(line))
    for name in COMMANDS
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_linked_files_and_headings_exist(page):
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    for link in links:
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if heading:
            found = [
                re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
                for title in re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            ]
            assert heading in found, link


ABBREVIATIONS = {
    "BLEU", "BLIP", "CLIP", "COCO", "DDIM", "EPYC", "GFLOP", "GGUF", "GILL", "HTML", "JPEG", "JSON", "MAGIC", "MAUVE", "METEOR", "NASA",
    "README", "ROUGE", "SIGKILL", "SIGTERM", "SPICE", "TFLOP", "VIST", "YAML",
}  # fmt: skip
"""All words of four capitals and more that stand on the pages outside of code. Any other counts as a place that is still to be filled."""
OPEN_PLACE = re.compile(r"@[A-Z]+@|\b(?:[A-Z]+(?:_[A-Z0-9]+)+|[A-Z]{4,}|TBD|XXX+)\b|\?\?\?")


def open_places(text):
    """What stands in a page where a number, a name or a table is still to come. Code is left out: it has names in capitals."""
    text = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|https?://\S+|<!--.*?-->", " ", text, flags=re.DOTALL)
    return sorted(set(OPEN_PLACE.findall(text)) - ABBREVIATIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_nothing_is_left_to_fill_in(page):
    assert open_places(text_of(page)) == [], "fill it in; if it is an abbreviation, add it to ABBREVIATIONS"


def test_places_that_are_left_open_are_found():
    page = "It reads READRATE photos/s, x GPURATE.\n\nTABLE\n\n| run | BIGRUN_MEM |\nTODO: @N@, TBD. BLEU-4 of COCO, `FILE`\n```\nmagic DIR_NAME\n```\n"
    assert open_places(page) == ["@N@", "BIGRUN_MEM", "GPURATE", "READRATE", "TABLE", "TBD", "TODO"]


def test_every_page_is_in_the_index():
    index = text_of("docs/README.md")
    assert [page.name for page in PAGES[2:] if page.name != "README.md" and f"({page.name}" not in index] == []


def test_archive_of_the_sources_holds_the_pages_that_readme_links_to():
    included = tomllib.loads(text_of("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of("README.md"))
    assert {link.partition("/")[0] for link in links} <= {*included, "docs"} and "docs" in included


def test_readme_is_short():
    assert len(text_of("README.md").split()) <= 900


def test_commands_are_found_on_every_kind_of_page():
    assert len(command_lines("README.md")) >= 7 and len(ALL_LINES) >= 100
    assert all(BY_COMMAND.values())


def check(command, flags, overrides, line):
    """Compose the settings of every point, and check them; nothing runs."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from magic_cli.cli import hydra_app
    from magic_cli.configuration import composing
    from magic_cli.errors import MagicError

    composing.register()
    try:
        hydra_app._check_all_points(command, command.name.replace("-", "_"), flags, overrides)
    except (MagicError, HydraException, OmegaConfBaseException) as error:
        pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_line_composes(name, tmp_path, monkeypatch):
    """Each is sorted into overrides, composed with Hydra, point by point, and checked, as when it is typed; nothing runs."""
    monkeypatch.setattr("magic_cli.cli.hydra_app.require_objectives", lambda points: None)  # looks for references and Java
    monkeypatch.chdir(tmp_path)
    for folder in ("DIR", "my_model", "vokens", "aligned", "told", "mine"):  # models are looked for when settings are checked
        (tmp_path / folder).mkdir()
    (tmp_path / "FILE").touch()
    command = COMMANDS[name]
    for line in BY_COMMAND[name]:
        words = [word for word in shlex.split(LAUNCHER.sub("", line).partition("|")[0])[1:] if word != "..."]
        if "--help" in words:
            assert main([name, *words]) == 0, line
        elif command.settings_class is None:
            assert all(word.startswith("--") or not word.startswith("-") for word in words), line
            assert {word for word in words if word.startswith("-")} <= set(command.flags), line
        else:
            flags, overrides = translate(words, command)
            if "--config-dir" not in flags:  # of the user's own folder: below
                check(command, flags, overrides, line)


def test_scripts_that_are_named_exist_and_take_the_flags():
    named = {}
    for page in PAGES:
        for script, rest in re.findall(r"\bscripts/(\w+\.(?:py|sh))([^`\n|#]*)", text_of(page)):
            named.setdefault(script, set()).update(re.findall(r" (--[a-z][\w-]*)", f" {rest.partition(' -- ')[0]}"))
    assert len(named) >= 12
    for script, flags in named.items():
        source = (ROOT / "scripts" / script).read_text()
        shared = [ROOT / "scripts" / f"{name}.py" for name in re.findall(r"^from (\w+) import", source, re.MULTILINE)]
        shared += sorted((ROOT / "magic_cli" / "cli" / "table").glob("*.py")) if "COMMANDS" in source else []  # a command's flags
        source += "".join(file.read_text() for file in shared if file.exists())
        assert [flag for flag in flags if not re.search(rf"\b{flag[2:].replace('-', '[-_]')}\b", source)] == [], script


def test_captions_of_the_sample_photos_are_those_that_the_page_prints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `embedded`")
    assert "magic caption --images data/photos\n" in (ROOT / "Makefile").read_text(), "what make demo runs"
    monkeypatch.chdir(ROOT)
    words = ["caption", "--images", "data/photos", "run.threads=1", f"run.dir={tmp_path / 'run'}", "run.cache_images=false"]
    assert main(words) == 0
    assert capsys.readouterr().out == printed_captions()


def printed_captions():
    [printed] = re.findall(r"```\n\$ magic caption --images data/photos\n(.*?)```", text_of("docs/captioning.md"), re.DOTALL)
    return printed


def test_picture_shows_the_captions_of_the_sample_photos():
    from draw_captions import draw, read_captions

    file = ROOT / "docs" / "images" / "captioned-photos.jpg"
    assert file.stat().st_size < 200_000 and "(docs/images/captioned-photos.jpg)" in text_of("README.md")
    captions = read_captions(printed_captions())
    with Image.open(file) as stored:
        shown = np.asarray(stored, dtype=float)
    drawn = np.asarray(draw(ROOT / "data" / "photos", captions), dtype=float)
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 4, "draw it again: the command is on docs/captioning.md"
    other = draw(ROOT / "data" / "photos", [(captions[0][0], "A dog."), *captions[1:]])
    below = np.s_[236:300, :236]
    assert np.abs(shown - drawn)[below].mean() < np.abs(shown - np.asarray(other, dtype=float))[below].mean() / 2


def run_example(page, monkeypatch, name):
    """The module that the Python block of a page is."""
    import types

    [code] = blocks(page, "python")
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec("\n".join(line.removeprefix("   ") for line in code.splitlines()), module.__dict__)
    assert ast.get_docstring(
        ast.parse(code if not code.startswith("   ") else "\n".join(line[3:] for line in code.splitlines()))
    ) or name in ("method", "guide")
    return module


def test_example_of_a_new_method_runs(monkeypatch):
    import torch

    method = run_example("docs/adding-a-method.md", monkeypatch, "method").MinPSampling(decoding_len=16, min_p=0.5)
    kept = method.restrict(torch.tensor([[0.0, -0.1, -5.0]]))
    assert kept.isfinite().tolist() == [[True, True, False]]


def test_example_of_a_new_guide_runs(monkeypatch):
    import torch

    from magic_cli.decoding.guides import ImageGuide
    from magic_cli.errors import SettingsError
    from magic_cli.guides.base import Images

    neighbour = run_example("docs/adding-a-guide.md", monkeypatch, "guide").Neighbour
    photos = torch.eye(3)
    image = ImageGuide(object(), photos)
    [first, other] = neighbour(weight=2.0).steer([image], Images((photos,), [()] * 3))
    assert first is image and (other.weight, other.group, other.scorer) == (2.0, "guides.neighbour", image.scorer)
    assert other.vectors.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    with pytest.raises(SettingsError, match="guides.neighbour.weight"):
        neighbour(weight=-1.0)


def test_example_of_a_new_metric_runs(monkeypatch):
    from magic_cli.errors import SettingsError
    from magic_cli.metrics.base import Corpus

    metric = run_example("docs/adding-a-metric.md", monkeypatch, "metric").LengthRatio
    corpus = Corpus("x", ("1", "2"), ("a dog runs", ""), (("a dog",), ("one two", "one two three four")))
    [[scores]] = metric().score([corpus])
    assert scores.per_item.tolist() == [1.5, 0.0] and scores.overall == 0.75
    with pytest.raises(SettingsError, match="metrics.length_ratio.cap"):
        metric(cap=0.5)


def test_example_of_a_new_data_set_runs(monkeypatch, tmp_path):
    from magic_cli.errors import MagicError, SettingsError

    dataset = run_example("docs/adding-a-dataset.md", monkeypatch, "dataset").TabCaptions
    (tmp_path / "captions.tsv").write_text("a.jpg\ta dog\nb.jpg\ta cat\na.jpg\ttwo dogs\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    records = dataset("tab_captions", captions=str(tmp_path / "captions.tsv")).load()
    assert [(r.id, r.references) for r in records] == [("a.jpg", ("a dog", "two dogs")), ("b.jpg", ("a cat",))]
    (tmp_path / "captions.tsv").write_text("a.jpg a dog\n")
    with pytest.raises(SettingsError, match="captions.tsv line 1: no tab"):
        dataset("tab_captions", captions=str(tmp_path / "captions.tsv")).load()
    with pytest.raises(MagicError, match="dataset.captions"):
        dataset("tab_captions", captions=str(tmp_path / "none.tsv")).load()


def test_options_of_the_users_own_compose(tmp_path):
    first, _ = blocks("docs/adding-a-dataset.md", "yaml")
    experiment, *_ = blocks("docs/sweeps.md", "yaml")
    for group, name, text, words in (
        ("dataset", "flickr8k", first, []),
        ("experiment", "short", experiment, ["--image", "my.jpg"]),
    ):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
        flags, overrides = translate(["--config-dir", str(tmp_path), *words, f"{group}={name}"], COMMANDS["caption"])
        check(COMMANDS["caption"], flags, overrides, name)


def test_blocks_of_yaml_and_json_are_well_formed():
    for page in PAGES:
        for block in blocks(page, "yaml"):
            assert yaml.safe_load(block), page
