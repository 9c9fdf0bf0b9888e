"""The notebooks: kept without outputs, and run from the first cell to the last, on small models here."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.helpers import ROOT, compress

nbformat = pytest.importorskip("nbformat")
NotebookClient = pytest.importorskip("nbclient").NotebookClient

FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SHORT = """
from compress import Measure
from compress.harness import engine
from compress.harness import run as harness
from tests import forked
from compress import Measure
from compress.harness import run as harness
from tests import exports, forked

exports.install()
forked.SERVER.address = {address!r}
engine.run_child, harness.threads = forked.run_child, forked.one_thread
measure = Measure(rounds=2, window_s=0.05, preroll_s=0, warmup_s=0.2)
"""
SMALL = {
    "quickstart": SHORT + "workload = {workload!r}",
    "own_model": SHORT + "model_folder = data_folder = None",
    "to_production": SHORT + 'model_folder, data_folder = "files/own_model/model", "files/own_model/data"',
}
"""What takes the place of the cell tagged `parameters`."""


def read(name: str) -> Any:
    """The notebook of this name."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def execute(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook with its outputs, run in a folder that holds nothing. Raises where a cell does."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()


def output_text(notebook: Any) -> str:
    """All that its cells have printed and shown."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(
        str(part) for output in outputs for part in (output.get("text", ""), *output.get("data", {}).values())
    )


def test_there_are_three_notebooks_each_with_a_folder_of_its_own() -> None:
    assert NAMES == ["own_model", "quickstart", "to_production"]
    for name in NAMES:
        cells = [cell.source for cell in read(name).cells if "parameters" not in cell.metadata.get("tags", ())]
        folders = set(re.findall(r"files/(\w+)", "\n".join(cells)))
        assert folders == {name}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]
    assert sum("parameters" in cell.metadata.get("tags", ()) for cell in code) == 1


def test_the_notebooks_run_on_small_models(workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one kernel, whose names are forgotten in between: importing the libraries is most of the time."""
    compress("workloads", cwd=tmp_path)  # the process that is forked has started
    together = nbformat.v4.new_notebook()
    for name in NAMES:
        cells = read(name).cells
        (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
        cell.source = SMALL[name].format(workload=str(workload), address=forked.SERVER.address)
        together.cells += [nbformat.v4.new_code_cell("%reset -f"), *cells]
    words = output_text(execute(together, tmp_path, monkeypatch))
    for recipe in ("narrower", "eight_bits", "bert_bf16", "bert_int8", "graph_int8"):
        assert re.search(rf"^{recipe}: .*, against \w+ eager(;.*)?$", words, re.MULTILINE), words
    assert "'label': 'good'" in words


@pytest.mark.long
def test_the_notebooks_run_as_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:  # in one folder: the last one takes the model of the first
        assert ", against " in output_text(execute(read(name), tmp_path, monkeypatch)), name
