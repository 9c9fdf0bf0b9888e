"""The study lists all of its rows, states its bounds, and its published report is of the present groups."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import get_type_hints

import pytest

from benchmarks import study
from benchmarks.study import Bound
from benchmarks.study.groups import GROUPS
from tests.helpers import ROOT

REPORT = ROOT / "results" / "reference" / "energy-study.md"


def test_every_function_that_yields_rows_is_in_a_group() -> None:
    modules = [importlib.import_module(f"benchmarks.study.{m.name}") for m in pkgutil.iter_modules(study.__path__)]
    functions = {f for m in modules for f in vars(m).values() if getattr(f, "__module__", None) == m.__name__}
    yielding = {f for f in functions if callable(f) and get_type_hints(f).get("return") == Iterator[Bound]}
    assert yielding == {rows for group in GROUPS for rows in group.rows}


@pytest.mark.parametrize(
    ("bound", "row"),
    [
        (Bound("coverage", 0.951, 0.94), "| coverage | at least 94 % | 95.10 % | yes |"),
        (Bound("false alarms", 0.07, 0, 0.065), "| false alarms | at most 6.5 % | 7.00 % | NO |"),
        (Bound("width", 1.25, 0, 1.5, "times"), "| width | at most 1.5 times | 1.25 times | yes |"),
        (Bound("power", 0.2), "| power | stated | 20.00 % | - |"),
    ],
    ids=["kept", "missed", "factor", "stated"],
)
def test_a_row_states_its_bounds_and_whether_they_are_kept(bound: Bound, row: str) -> None:
    assert bound.row() == row
    assert bound.kept == ("NO" not in row)


def test_the_published_report_has_every_group_with_its_number_of_simulations() -> None:
    lines = REPORT.read_text(encoding="utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == [group.title for group in GROUPS]
    for group in GROUPS:
        assert group.text.format(f"{group.count:,}") in lines


def test_rows_of_few_simulations_run() -> None:
    for group in GROUPS:
        if group.title in ("Energy net of idle", "Break-even", "Training seeds", "Several sessions"):
            assert all(list(rows(3)) for rows in group.rows)
