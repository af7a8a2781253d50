"""Who may import whom; help and settings must not wait for torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import magic_cli

PACKAGE = Path(magic_cli.__file__).parent
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "configs" not in file.parts)
STANDARD = set(sys.stdlib_module_names)
READERS = ("magic_cli.data.json_files", "magic_cli.data.json_text")  # what every layer reads files of JSON with


def module_name(file: Path) -> str:
    return ".".join(["magic_cli", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def imports(file: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere, functions and type checking included."""
    known, names = {module_name(f) for f in MODULES}, set()
    for node in ast.walk(ast.parse(file.read_text())):
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


def test_decoding_imports_only_itself_and_contracts_when_walked():
    assert breaches("decoding", ("magic_cli.decoding", "magic_cli.errors", "magic_cli.wording")) == []


def test_decoding_needs_no_library_but_torch_when_walked():
    libraries = {name.split(".")[0] for file in files_of("decoding") for name in imports(file)} - STANDARD - {"magic_cli"}
    assert libraries == {"torch"}


def test_models_import_no_layer_above_when_walked():
    assert breaches("models", (*READERS, "magic_cli.models", "magic_cli.errors", "magic_cli.decoding.protocols", "magic_cli.decoding.prompts", "magic_cli.work", "magic_cli.progress")) == []


def test_data_imports_no_models_nor_settings_when_walked():
    forbidden = ("commands", "models", "decoding.generate", "settings", "model_settings", "cli", "hydra_app", "runs", "reports")
    wrong = [
        (module_name(file), name)
        for file in files_of("data")
        for name in ours(file)
        if name.removeprefix("magic_cli.").startswith(forbidden)
    ]
    assert wrong == []


def test_image_features_import_no_layer_above_when_walked():
    allowed = ("magic_cli.image_features", "magic_cli.models", "magic_cli.data.images", "magic_cli.data.paths", "magic_cli.errors")
    assert breaches("image_features", allowed) == []


def test_metrics_and_reports_import_no_layer_above_when_walked():
    allowed = (*READERS, "magic_cli.metrics", "magic_cli.data.images", "magic_cli.data.paths", "magic_cli.errors", "magic_cli.wording", "magic_cli.progress")
    assert breaches("metrics", allowed) == []
    assert breaches("reports", ("magic_cli.reports", "magic_cli.data", "magic_cli.errors", "magic_cli.terminal", "magic_cli.wording")) == []


def test_evaluation_imports_no_command_when_walked():
    allowed = ("evaluation", "data", "metrics", "models", "reports", "errors", "runs", "model_settings", "work", "wording")
    assert breaches("evaluation", tuple(f"magic_cli.{name}" for name in allowed)) == []


def test_writing_imports_no_command_when_walked():
    allowed = ("writing", "data", "decoding", "errors", "image_features", "locking", "models", "retrieval", "run_folders", "runs", "settings", "terminal", "wording", "work", "progress")
    assert breaches("writing", tuple(f"magic_cli.{name}" for name in allowed)) == []


def test_human_eval_imports_no_command_nor_models_when_walked():
    allowed = ("human_eval", "data", "metrics", "evaluation.settings", "errors", "wording")
    assert breaches("human_eval", tuple(f"magic_cli.{name}" for name in allowed)) == []


def test_retrieval_imports_no_command_when_walked():
    allowed = ("retrieval", "data", "image_features", "models", "errors", "runs", "model_settings", "work", "wording", "progress")
    assert breaches("retrieval", tuple(f"magic_cli.{name}" for name in allowed)) == []


def test_benchmark_imports_no_command_and_serves_only_commands_when_walked():
    allowed = ("benchmark", "data", "decoding", "errors", "model_settings", "models", "protocols", "reports.tables", "work", "wording")
    assert breaches("benchmark", tuple(f"magic_cli.{name}" for name in allowed)) == []
    users = {module_name(file) for file in MODULES if any(name.startswith("magic_cli.benchmark") for name in ours(file))}
    outside = {name for name in users if not name.startswith("magic_cli.benchmark")}
    assert outside <= {"magic_cli.commands.bench", "magic_cli.composing"}


def test_training_imports_no_command_and_serves_only_commands_when_walked():
    allowed = ("training", "data", "errors", "locking", "model_settings", "models", "runs", "wording", "progress")
    assert breaches("training", tuple(f"magic_cli.{name}" for name in allowed)) == []
    users = {module_name(file) for file in MODULES if any(name.startswith("magic_cli.training") for name in ours(file))}
    outside = {name for name in users if not name.startswith("magic_cli.training")}
    assert outside <= {"magic_cli.commands.finetune_lm", "magic_cli.composing"}


def test_nobody_imports_the_command_line_when_walked():
    importers = {module_name(file) for file in MODULES if "magic_cli.cli" in ours(file)}
    assert importers <= {"magic_cli.__main__"}


def test_commands_are_imported_only_by_the_command_line_when_walked():
    importers = {
        module_name(file)
        for file in MODULES
        if file.relative_to(PACKAGE).parts[0] != "commands" and any(name.startswith("magic_cli.commands") for name in ours(file))
    }
    assert importers <= {"magic_cli.cli", "magic_cli.command_help", "magic_cli.hydra_app", "magic_cli.mistaken_values"}


def test_only_settings_and_command_line_know_hydra_when_walked():
    users = {module_name(file) for file in MODULES if {name.split(".")[0] for name in imports(file)} & {"hydra", "omegaconf"}}
    assert users <= {"magic_cli.composing", "magic_cli.cli", "magic_cli.hydra_app"}


@pytest.mark.parametrize("module", ["magic_cli.composing", "magic_cli.settings", "magic_cli.cli", "magic_cli.hydra_app", "magic_cli.commands"])
def test_torch_is_not_imported_when_module_is(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'pycocoevalcap'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_imports_form_no_cycle_between_modules_when_followed():
    graph = {module_name(file): {name for name in top_level_imports(file) if name.startswith("magic_cli.")} for file in MODULES}
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


def top_level_imports(file: Path) -> set[str]:
    """What is imported when the module is, type checking left out."""
    tree = ast.parse(file.read_text())
    known = {module_name(f) for f in MODULES}
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inner & known) or {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_json_is_parsed_in_one_place_when_walked():
    """Only texts that the very same process has written may be parsed elsewhere."""
    own = {"magic_cli.data.json_text", "magic_cli.models.embedded.text_tower", "magic_cli.reports.sweep"}
    parsers = set()
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.load", "json.loads") and "json.dumps" not in ast.unparse(node):
                parsers.add(module_name(file))
    assert parsers == own
