"""Reports of a gate's checks: a table for people, and JUnit XML for tools that show test results."""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from compress.analysis.gate import Check, State
from compress.report.grid import grid
from compress.report.text import plain

COLOURS = {"passed": "green", "undecided": "yellow", "new": "dim"}
SHUT: Mapping[State, str] = {
    "FAILED": "failed",
    "MISSING": "are missing (not passed)",
    "UNKNOWN": "are unknown (not passed)",
}
"""State that always shuts the gate -> its words in the last line."""


def print_checks(checks: Sequence[Check], console: Console, allow_undecided: bool = False) -> None:
    """Print a row per check, those that shut the gate first, and one sentence with their number."""
    titles = ("workload", "recipe", "quantity", "", "growth since the baseline (joint 95 % intervals)")
    rows = []
    for check in sorted(checks, key=lambda check: (not check.shuts(), check.state == "undecided")):
        workload, recipe, what, detail = (
            Text(plain(part)) for part in (check.workload, check.recipe, check.what, check.detail)
        )
        coloured = Text(check.state, COLOURS.get(check.state, "bold red"))
        rows.append([workload, recipe, what, coloured, detail])
    console.print(grid(titles, rows, console.width, titles.index("recipe"), box=None, pad_edge=False), crop=False)
    undecided = sum(check.state == "undecided" for check in checks)
    counts = []
    for state, words in SHUT.items():
        if number := sum(check.state == state for check in checks):
            counts.append(f"{number} of {len(checks)} checks {words}")
    if undecided:
        remedy = "allowed" if allow_undecided else "not passed; --allow-undecided lets them through"
        counts.append(f"{undecided} of {len(checks)} checks are undecided ({remedy})")
    console.print("; ".join(counts) or f"all {len(checks)} checks passed")


def junit(checks: Sequence[Check], allow_undecided: bool = False) -> str:
    """Return the checks as JUnit XML, with one test case per check."""
    failed = sum(check.shuts(allow_undecided) for check in checks)
    suite = ElementTree.Element("testsuite", name="compress check", tests=str(len(checks)), failures=str(failed))
    for check in checks:
        name = f"{plain(check.recipe)}: {plain(check.what)}"
        case = ElementTree.SubElement(suite, "testcase", classname=plain(check.workload), name=name)
        if check.shuts(allow_undecided):
            ElementTree.SubElement(case, "failure", type=check.state, message=plain(check.detail))
        else:
            ElementTree.SubElement(case, "system-out").text = f"{check.state}: {plain(check.detail)}"
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
