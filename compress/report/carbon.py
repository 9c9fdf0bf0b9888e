"""Grams of CO2 equivalent of every row, printed below the tables."""

from compress.analysis.carbon import PER, Terms, grams_per_1000
from compress.analysis.pareto import Table
from compress.report.text import digits, example_of, plain, spread


def carbon_lines(table: Table, terms: Terms) -> list[str]:
    """Return grams of CO2 equivalent per 1000 inferences, or generated tokens, of every row, under the user's terms."""
    workload = table.newest.workload.get("name", "workload")
    lines = [f"gCO2e per {PER} {example_of(table.newest)}s on {workload}, at {terms}:"]
    for row in table.rows:
        name, point = row.name, row.headline
        grams = None if point is None else grams_per_1000(point, terms)
        if grams is None:
            why = "no headline point" if point is None else point.energy_reason or "energy unknown"
            lines.append(f"  {name}: unknown: {why}")
            continue
        mark, count = ("~", 2) if point is not None and point.energy_source == "modelled" else ("", 3)
        graded = f", energy of grade {point.grade}" if point is not None and point.grade else ""
        amount = f"{mark}{digits(grams.value, count)} g {spread(grams.low, grams.high, count)}"
        lines.append(f"  {name}: {amount}{graded}")
    covered = dict.fromkeys(
        p.energy_boundary for row in table.rows if (p := row.headline) is not None and p.energy_boundary
    )
    if covered:
        lines.append(f"  These joules cover {' and '.join(covered)} only, not the rest of the machine.")
    return [plain(line) if not line.startswith("  ") else f"  {plain(line)}" for line in lines]
