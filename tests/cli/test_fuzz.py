"""Readers meet files as anyone may have left them: no traceback, no hang, exit code 0, 1 or 2, a line a bad file.

Long tests have `MOST_S` seconds each, all of them 16 minutes in one process at most: examples beyond are left out. An
example takes 0.1 s (pareto) to 0.4 s (verify), several times that on a busy machine or disk.
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compress.records.files import read, write
from compress.report.charts import KINDS
from compress.report.document import markdown
from tests import factory
from tests.damaged import Run, change_nodes, rewrite, scramble, text_of
from tests.helpers import ROOT
from tests.measured import measured_results

REFERENCE = ROOT / "results" / "reference"
CPU = REFERENCE / "minilm-sst2" / "bert_int8-cpu-a38d1377.json"
GPU = REFERENCE / "gpu" / "minilm-sst2-b32-l64" / "graphs_bf16-cuda-39828e96.json"
SEEDS = st.integers(0, 2**32)
FAST = settings(
    deadline=None, derandomize=True, max_examples=25, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
LONG = settings(FAST, max_examples=1500)
MOST_S = 120
FEWEST = FAST.max_examples
"""A long test that reaches fewer examples proves nothing more than the quick one, and fails."""


class Budget:
    """Time for the examples of one long test."""

    def __init__(self) -> None:
        self.end_s = time.monotonic() + MOST_S
        self.examples = 0

    def lasts(self) -> bool:
        """Whether there is time for another example; it is counted."""
        lasts = time.monotonic() < self.end_s
        self.examples += lasts
        return lasts


@pytest.fixture
def budget() -> Iterator[Budget]:
    """The time of a long test; at its end it must have been enough."""
    made = Budget()
    yield made
    assert made.examples >= FEWEST, f"{made.examples} examples in {MOST_S} s"


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A small result with its trace, of a simulated board: the result's file and the trace's folder."""
    made = measured_results(monkeypatch, tmp_path / "results")[0]
    return write(tmp_path / "results", made), tmp_path / "results" / str(made.trace)


ONE: dict[str, Callable[[int, Path], tuple[object, ...]]] = {
    "verify": lambda seed, folder: (),
    "card": lambda seed, folder: ("--artifact", folder),
    "plot": lambda seed, folder: ("--kind", sorted(KINDS)[seed % len(KINDS)], "--out", folder / "drawn.svg"),
}
"""Commands on one result, and their options."""
COMMANDS = ["show", "check", "merge", "pareto", *ONE]


def _result(seed: int) -> bytes:
    """A real result file, changed."""
    chance = random.Random(seed)
    data = chance.choice((CPU, GPU)).read_bytes()
    return scramble(chance, data) if chance.random() < 0.2 else text_of(change_nodes(chance, json.loads(data)))


def _reads(run: Run, folder: Path, seed: int, command: str) -> None:
    """One command over a folder of a good result and this one."""
    bad = folder / "made" / "bad.json"
    bad.parent.mkdir(exist_ok=True)
    rewrite(bad, _result(seed))
    write(folder, factory.result("good"))
    if command == "show":
        code, _, err = run("show", bad)
        assert (code, err.count("\n")) in ((0, 0), (2, 1)) and len(err) < 1200, err
    elif command == "check":
        run("check", folder, "--baseline", GPU.parent, "--max-latency", "5%", "--max-loss", "1pt", "--max-energy", "3%")
        run("check", GPU.parent, "--baseline", folder, "--max-latency", "5%", "--max-loss", "1pt")
    elif command == "merge":
        run("merge", folder, GPU.parent, "--out", folder / "merged")
        shutil.rmtree(folder / "merged", ignore_errors=True)
    elif command in ONE:
        code, _, err = run(command, bad, *ONE[command](seed, folder))
        assert err.count("\n") == (1 if code == 2 else 0) and len(err) < 1200, err
    else:
        from compress.analysis import carbon, odds
        from compress.analysis.pareto import group
        from compress.records.files import read_all
        from compress.report import carbon_lines
        from compress.report.page import page_html

        tables = group(read_all(folder)[0])
        assert tables
        terms = carbon.terms("FR", 1.1, "average", None, None)
        for each in tables:
            odds.front_odds(each), odds.adjusted(each), carbon_lines(each, terms)
        markdown(tables), page_html(tables, folder, terms)


@pytest.mark.parametrize("command", COMMANDS)
@FAST
@given(seed=SEEDS)
def test_a_changed_result_is_read_or_refused_in_one_line(seed: int, command: str, run: Run, tmp_path: Path) -> None:
    _reads(run, tmp_path, seed, command)


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
@LONG
@given(seed=SEEDS)
def test_many_changed_results_are_read_or_refused(
    seed: int, command: str, budget: Budget, run: Run, tmp_path: Path
) -> None:
    if budget.lasts():
        _reads(run, tmp_path, seed, command)


def _changed_trace(chance: random.Random, folder: Path) -> None:
    """Changes a file of a trace: session.json by its nodes, a table by its values, any of them by its bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / chance.choice(sorted(path.name for path in folder.iterdir()))
    how = chance.choice(("bytes", "values", "values", "gone"))
    if how == "gone":
        file.unlink()
    elif how == "bytes":
        rewrite(file, scramble(chance, file.read_bytes()))
    elif file.suffix == ".json":
        rewrite(file, text_of(change_nodes(chance, json.loads(file.read_bytes()))))
    else:
        table = pq.read_table(file)
        column = chance.choice(table.column_names)
        values = table.column(column).to_pylist()
        values[chance.randrange(len(values))] = chance.choice((None, 0, -1, 10**6, 2**62, -(2**62)))
        values = chance.choice((values, [None] * len(values), list(map(str, values)), values[::-1]))
        try:
            made = table.set_column(table.column_names.index(column), column, pa.array(values))
        except (pa.ArrowException, TypeError):  # text among numbers makes no column
            made = table.drop_columns([column])
        file.unlink()
        pq.write_table(made, file)


def _verifies(run: Run, seed: int, trace: tuple[Path, Path], folder: Path) -> None:
    kept, place = folder / "kept", trace[1]
    if not kept.exists():
        shutil.copytree(place, kept)
    shutil.rmtree(place)
    shutil.copytree(kept, place)
    _changed_trace(random.Random(seed), place)
    code, _, err = run("verify", trace[0])
    assert err.count("\n") == (1 if code == 2 else 0), err
    from compress.analysis.pareto import group
    from compress.report.page import page_html

    page_html(group([read(trace[0])]), trace[0].parent.parent, None)


@FAST
@given(seed=SEEDS)
def test_a_changed_trace_is_verified_or_refused_in_one_line(
    seed: int, run: Run, trace: tuple[Path, Path], tmp_path: Path
) -> None:
    _verifies(run, seed, trace, tmp_path)


@pytest.mark.long
@LONG
@given(seed=SEEDS)
def test_many_changed_traces_are_verified_or_refused(
    seed: int, budget: Budget, run: Run, trace: tuple[Path, Path], tmp_path: Path
) -> None:
    if budget.lasts():
        _verifies(run, seed, trace, tmp_path)
