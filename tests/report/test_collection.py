"""Results of a folder as one object: a sequence, a data frame, and tables for notebooks whose text stays text."""

from pathlib import Path

import pandas
import pytest

import compress
from compress.base.config import InputError
from compress.records import files as result_files
from compress.report.sheet import csv_text
from tests import factory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for result in (*factory.family(), factory.failed("bert_<script>alert(1)</script>".replace("/", "-"))):
        result_files.write(tmp_path, result)
    return tmp_path


def test_the_frame_is_the_csv(folder: Path, tmp_path: Path) -> None:
    found = compress.results(folder)
    frame = found.to_frame()
    assert len(found) == 10 and isinstance(found[0], compress.Result)
    (tmp_path / "t.csv").write_text(csv_text(found.tables))
    stored = pandas.read_csv(tmp_path / "t.csv")
    assert list(frame.columns) == list(stored.columns) and len(frame) == len(stored)
    ratio = frame.set_index("name")["latency_ratio"]
    assert ratio["bert_int8"] == pytest.approx(0.40)
    assert set(frame[frame["kind"] == "reference"]["name"]) == {factory.FP32, factory.BF16, factory.ONNX}
    assert frame["energy_per_example_j"].isna().all()  # modelled energy has columns of its own


def test_the_front_is_the_tables_and_parts_are_results_too(folder: Path) -> None:
    found = compress.results(folder)
    assert found.front == compress.front(folder)
    assert "bert_int8" in repr(found)
    chosen = next(i for i, result in enumerate(found) if result.name == "bert_int8")
    part = found[chosen : chosen + 1]
    assert isinstance(part, compress.Results) and [result.name for result in part] == ["bert_int8"]
    assert len(compress.Results([])) == 0 and compress.Results([]).to_frame().empty


def test_the_notebook_shows_every_row_and_text_stays_text(folder: Path) -> None:
    shown = compress.results(folder)._repr_html_()
    for name in ("bert_int8", "bert_sparse", "bf16 eager"):
        assert name in shown
    assert "★" in shown and "failed:" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_missing_folders_and_invalid_files_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no such folder"):
        compress.results(folder / "nowhere")
    (folder / "x.json").write_text("{")
    assert len(compress.results(folder)) == 10
    assert "not read" in capsys.readouterr().err
