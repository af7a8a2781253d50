"""Who may import whom; help and settings must not wait for torch."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import magic_cli

PACKAGE = Path(magic_cli.__file__).parent
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "configs" not in file.parts)
STANDARD = set(sys.stdlib_module_names)


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def module_name(file: Path) -> str:
    return ".".join(["magic_cli", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


@cache
def imports(file: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere, functions and type checking included."""
    known, names = {module_name(f) for f in MODULES}, set()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inner & known) or {node.module}  # `from magic_cli.decoding import scoring` means the module
    return names


def ours(file: Path) -> set[str]:
    return {name for name in imports(file) if name.split(".")[0] == "magic_cli" and name != "magic_cli"}


def files_of(layer: str) -> list[Path]:
    files = [file for file in MODULES if file.relative_to(PACKAGE).parts[0] == layer]
    assert files, f"magic_cli/{layer} has no modules"
    return files


def breaches(layer: str, allowed: tuple[str, ...]) -> list[str]:
    """Imports of a layer that are outside the allowed prefixes."""
    return [
        f"{module_name(file)} -> {name}"
        for file in files_of(layer)
        for name in sorted(ours(file))
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    ]


READERS = ("data.paths", "data.json_text", "data.json_files", "data.text_files", "data.text_tables")
LAYERS = {
    "decoding": ("errors",),
    "models": ("errors", "files", "decoding.protocols", "decoding.prompts", "terminal.progress", *READERS),
    "data": ("errors", "terminal.progress", "terminal.wording", "decoding.text"),
    "image_features": ("models", "data.images", "data.paths", "errors"),
    "metrics": ("data.answers", "data.images", "data.paths", "models.settings", "errors", "files", "terminal", *READERS),
    "pages": ("data.images", "data.json_text", "errors"),
    "reports": ("data", "pages", "errors", "terminal"),
    "evaluation": ("data", "metrics", "models", "reports", "errors", "files", "provenance", "terminal"),
    "report_page": ("data", "evaluation", "metrics", "pages", "errors", "files", "terminal"),
    "human_eval": ("data", "metrics", "evaluation.settings", "pages", "errors", "terminal"),
    "retrieval": ("data", "decoding", "image_features", "models", "errors", "files", "provenance", "terminal"),
    "guides": ("data", "decoding", "image_features", "models", "retrieval", "errors"),
    "training": ("data", "models", "reports.plots", "errors", "files", "provenance", "terminal"),
    "runs": (
        "data",
        "decoding",
        "guides",
        "image_features",
        "models",
        "reports.exports",
        "reports.interleaved",
        "retrieval",
        "errors",
        "files",
        "provenance",
        "terminal",
    ),
    "live": ("configuration", "data", "models", "report_page", "runs", "errors", "terminal"),
    "benchmark": ("data", "decoding", "models", "reports.plots", "reports.tables", "errors", "terminal"),
    "interleaved": (
        "data",
        "decoding",
        "image_features",
        "models",
        "reports.interleaved",
        "runs",
        "training",
        "errors",
        "files",
        "provenance",
        "terminal",
    ),
    "api": ("configuration", "data", "evaluation", "image_features", "models", "reports", "runs", "errors"),
    "terminal": ("errors",),
}
"""Whom the files of a package may import beside one another, in any way: at the top, in a function, for type checking."""
USERS = {
    "benchmark": {"commands.bench", "configuration.composing"},
    "live": {"commands.live"},
    "training": {"commands.finetune_lm", "configuration.composing", "interleaved"},
    "cli.main": {"__main__"},
    "commands": set(),
}
"""Who may import a part, beside its own files."""


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_only_layers_below_when_walked(layer):
    assert breaches(layer, tuple(f"magic_cli.{name}" for name in (layer, *LAYERS[layer]))) == []


@pytest.mark.parametrize("part", USERS)
def test_part_serves_only_its_users_when_walked(part):
    users = {module_name(file) for file in MODULES if any(f"{name}.".startswith(f"magic_cli.{part}.") for name in ours(file))}
    allowed = tuple(f"magic_cli.{name}" for name in (part, *USERS[part]))
    assert [name for name in users if not f"{name}.".startswith(tuple(f"{prefix}." for prefix in allowed))] == []


def test_decoding_needs_no_library_but_torch_when_walked():
    libraries = {name.split(".")[0] for file in files_of("decoding") for name in imports(file)} - STANDARD - {"magic_cli"}
    assert libraries == {"torch"}


def test_package_has_few_modules_at_its_top_when_listed():
    assert {file.stem for file in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors", "files", "provenance"}


def test_only_settings_and_command_line_know_hydra_when_walked():
    users = {module_name(file) for file in MODULES if {name.split(".")[0] for name in imports(file)} & {"hydra", "omegaconf"}}
    assert users <= {
        "magic_cli.configuration.composing",
        "magic_cli.configuration.hydra_errors",
        "magic_cli.configuration.points",
        "magic_cli.configuration.schemas",
        "magic_cli.cli.hydra_app",
    }


@pytest.mark.parametrize(
    "module",
    [
        "magic_cli.configuration.composing",
        "magic_cli.runs.settings",
        "magic_cli.cli.main",
        "magic_cli.cli.hydra_app",
        "magic_cli.commands",
        "magic_cli.api",
    ],
)
def test_torch_is_not_imported_when_module_is(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'pycocoevalcap'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_imports_form_no_cycle_between_modules_when_followed():
    """Every import counts: those in functions and those for type checking, too."""
    graph = {module_name(file): ours(file) for file in MODULES}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        for target in graph.get(name, ()):
            visit(target, [*path, name])
        done.add(name)

    for name in graph:
        visit(name, [])


def test_json_is_parsed_in_one_place_when_walked():
    """Only texts that the very same process has written, or parsed with care before, may be parsed elsewhere."""
    own = {
        "magic_cli.data.json_text",
        "magic_cli.models.embedded.text_tower",
        "magic_cli.reports.sweep",
        "magic_cli.runs.predictions",
    }
    parsers = set()
    for file in MODULES:
        for node in ast.walk(tree_of(file)):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in ("json.load", "json.loads")
                and "json.dumps" not in ast.unparse(node)
            ):
                parsers.add(module_name(file))
    assert parsers == own


def package_arrows():
    """Which package imports which, without what follows from other arrows."""
    folders = {file.relative_to(PACKAGE).parts[0] for file in MODULES if len(file.relative_to(PACKAGE).parts) > 1}
    arrows = {
        (file.relative_to(PACKAGE).parts[0], name.split(".")[1])
        for file in MODULES
        for name in ours(file)
        if file.relative_to(PACKAGE).parts[0] in folders and name.split(".")[1] in folders
    }
    arrows = {(user, used) for user, used in arrows if user != used}

    def below(package, among):
        found = {used for user, used in among if user == package}
        return found.union(*(below(used, among) for used in found))

    return folders, {arrow for arrow in arrows if arrow[1] not in below(arrow[0], arrows - {arrow})}


def test_architecture_page_draws_the_packages_as_they_are():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    folders, arrows = package_arrows()
    drawn = set(re.findall(r"^  (\w+) --> (\w+)$", page, re.MULTILINE))
    right = "\n".join(f"  {user} --> {used}" for user, used in sorted(arrows))
    assert drawn == arrows, f"the drawing in docs/architecture.md must have these arrows:\n{right}"
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == folders, "the table of packages in docs/architecture.md"
