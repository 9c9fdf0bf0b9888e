"""Terminal tables: names fold and rows become blocks, so that no cell is cut."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from compress.analysis.gate import Check
from compress.analysis.merge import MachineComparison, MachineRow
from compress.analysis.pareto import group
from compress.records.result import Result
from compress.records.stats import Estimate
from compress.report import print_checks, print_machines, print_tables
from compress.report.table import LESS, rows
from compress.report.widths import folded
from tests import factory

VARIANT = "bert_prune_distill_int8-2.bits-4-1.max_steps-150-0.fraction-0.6-3.group_size-64-4.layers-1-9-5.ranks-8"
UNBROKEN = "averylongnamewithoutanysign" * 4
WIDTHS = (40, 50, 80)


def printed(show: Callable[[Console], object], width: int) -> str:
    console = Console(width=width, file=(out := io.StringIO()), force_terminal=False)
    show(console)
    return out.getvalue()


def words_of(out: str) -> set[str]:
    return set(out.replace("│", " ").replace("┃", " ").split())


def columns_of(out: str) -> str:
    """Text of the columns of tables, each on one line without spaces; other lines as they are."""
    columns: dict[int, str] = {}
    others = []
    for line in out.splitlines():
        if line.startswith("│"):
            for place, cell in enumerate(line.split("│")):
                columns[place] = columns.get(place, "") + "".join(cell.split())
        else:
            others.append("".join(line.split()))
    return "\n".join([*columns.values(), *others])


def named(length: int, name: str = VARIANT) -> list[Result]:
    assert len(name) >= 100
    first, *others = factory.family()
    return [replace(first, name=name[:length]), *others]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [VARIANT, UNBROKEN], ids=["signs", "no-signs"])
@pytest.mark.parametrize("length", [9, 30, 36, 52, 58, 63, 100])
def test_every_cell_is_whole_for_every_name_and_terminal(width: int, name: str, length: int) -> None:
    (table,) = group(named(length, name))
    out = printed(lambda console: print_tables([table], console), width)
    assert name[:length] in columns_of(out)
    for row in rows(table):
        for header, cell in row.cells.items():
            if header not in LESS | {"recipe"}:
                assert set(" ".join(cell).split()) <= words_of(out), (row.name, header)
        assert "".join("".join(row.cells["recipe"]).split()) in columns_of(out)


def test_a_name_is_folded_before_the_table_becomes_a_list() -> None:
    (table,) = group(named(63))
    lines = printed(lambda console: print_tables([table], console), 80).splitlines()
    assert any("bert_prune_" in line and line.startswith("│") for line in lines) and max(map(len, lines)) <= 80
    lines = printed(lambda console: print_tables([table], console), 40).splitlines()
    assert VARIANT[:63] in lines and not any(line.startswith("│") for line in lines)
    assert any(line.startswith("  accuracy: 0.8") for line in lines)


def test_names_break_after_their_signs() -> None:
    assert folded("bert_int8-2.bits-4", 8) == "bert_\nint8-2.\nbits-4"
    assert folded("reference:\nfp32 eager", 10) == "reference:\nfp32 eager"
    assert folded(VARIANT, 40).replace("\n", "") == VARIANT


@pytest.mark.parametrize("width", WIDTHS)
def test_machines_and_checks_are_whole_too(width: int) -> None:
    machines = ("AMD EPYC (cpu-aaaaaaaa): latency / fp32 eager", "NVIDIA H200 (cuda-bbbbbbbb): energy / bf16 eager")
    cost = Estimate(0.4567, 0.4321, 0.4789, 5)
    sides = MachineComparison("stdlib-bert", machines, (MachineRow(VARIANT, (cost, cost), (False, True)),))
    out = printed(lambda console: print_machines([sides], console), width)
    assert {"0.457", "(0.432", "0.479)"} <= words_of(out) and VARIANT in columns_of(out)
    check = Check("stdlib-bert", VARIANT, "latency", "failed", "+12.34 % (+10.12 % to +14.56 %), more than +5 %")
    out = printed(lambda console: print_checks([check], console), width)
    assert {"stdlib-bert", "latency", "+12.34", "(+10.12", "+14.56", "failed"} <= words_of(out)
