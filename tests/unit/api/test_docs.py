"""The page on the Python API, and the notebook, run as they stand."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOK = ROOT / "examples" / "captioning.ipynb"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", re.DOTALL)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch, tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `embedded`")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_examples_of_the_page_print_what_it_says():
    blocks = BLOCK.findall((ROOT / "docs" / "python-api.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 9
    names: dict = {"__name__": "example"}
    for code, printed in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "docs/python-api.md", "exec"), names)
        assert not printed or out.getvalue() == printed, code


def code_cells():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_notebook_runs_and_draws_a_trace(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    _, cells = code_cells()
    assert not any(cell.outputs or cell.execution_count for cell in cells), "outputs are stripped"
    names: dict = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for cell in cells:
            exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    try:
        [photos, trace] = figures
        assert len(photos.axes) == 3
        caption = names["caption"]
        drawn = [text.get_text() for text in trace.axes[0].texts]
        assert len(drawn) == 5 * len(caption.steps) and {token.strip() for token in caption.tokens} <= set(drawn)
        assert len(trace.axes[1].patches) == 2 * len(caption.steps)
        assert names["captions"][1].text in out.getvalue() and "B@4" in out.getvalue()
    finally:
        plt.close("all")


@pytest.mark.long
def test_notebook_runs_in_a_kernel(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    notebook, cells = code_cells()
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
