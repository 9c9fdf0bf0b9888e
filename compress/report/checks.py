"""What a gate has found: a table for people, and JUnit's XML for the machines that show test results."""

from collections.abc import Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compress.analysis.gate import Check
from compress.report.text import plain

COLOURS = {"fine": "green", "perhaps worse": "yellow", "new": "dim"}


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """A row a check, those that keep the gate shut first, and one sentence of how many they are."""
    table = Table(box=None, pad_edge=False)
    for column in ("workload", "recipe", "looked at", "", "growth since the baseline (95 % of all together)"):
        table.add_column(column, overflow="fold")
    for each in sorted(checks, key=lambda check: not check.failed):
        state = f"[{COLOURS.get(each.state, 'bold red')}]{each.state}[/]"
        table.add_row(
            *(escape(plain(t)) for t in (each.workload, each.recipe, each.what)), state, escape(plain(each.said))
        )
    console.print(table)
    failed = sum(each.failed for each in checks)
    console.print(f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed")


def junit(checks: Sequence[Check]) -> str:
    """The checks as JUnit's XML: one test case each."""
    failed = sum(each.failed for each in checks)
    suite = ElementTree.Element("testsuite", name="compress check", tests=str(len(checks)), failures=str(failed))
    for each in checks:
        name = f"{plain(each.recipe)}: {plain(each.what)}"
        case = ElementTree.SubElement(suite, "testcase", classname=plain(each.workload), name=name)
        if each.failed:
            ElementTree.SubElement(case, "failure", type=each.state, message=plain(each.said))
        else:
            ElementTree.SubElement(case, "system-out").text = f"{each.state}: {plain(each.said)}"
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
