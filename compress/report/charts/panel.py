"""Conversion of tables to the data of their pictures."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from compress.analysis.loss import FORMS, form
from compress.analysis.pareto import Candidate, Table, candidates
from compress.analysis.verdict import MEASURED
from compress.report.charts.marks import Mark, Panel
from compress.report.heading import title
from compress.report.text import plain


def panels(tables: Iterable[Table]) -> list[Panel]:
    """Return a panel of every table with something to draw. Several are named after their workloads and machines."""
    drawn = [(table, field) for table in tables if (field := _field(table))]
    finished = [_panel(table, field) for table, field in drawn]
    if len(finished) < 2:
        return finished
    stems = _stems([f"{t.newest.workload.get('name', 'workload')}-{t.newest.machine.id}" for t, _ in drawn])
    return [replace(panel, stem=stem) for panel, stem in zip(finished, stems, strict=True)]


def _stems(names: Sequence[str]) -> list[str]:
    """Return a unique file stem for each name: `pareto-my-cpu-12ab34cd`, with a number appended if it is taken."""
    stems: list[str] = []
    for name in names:
        stem = first = f"pareto-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)[:80]}"
        number = 2
        while stem.lower() in (other.lower() for other in stems):  # some file systems ignore case
            stem, number = f"{first}-{number}", number + 1
        stems.append(stem)
    return stems


def _field(table: Table) -> list[Candidate]:
    return candidates(table.results, table.references, table.axis, table.reference)


def _panel(table: Table, field: list[Candidate]) -> Panel:
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    metric = accuracy.metric if accuracy else "accuracy"
    up = accuracy is None or accuracy.higher_is_better  # quality is signed so that up is better, but the axis is not
    scale, _, unit = form(accuracy) if accuracy else FORMS["points"]
    reference = plain(table.reference or "")
    why = "; energy is only modelled here" if table.meter == "modelled" else ""
    if table.meter in MEASURED and table.axis == "latency":
        why = f"; no energy of grade {table.least} here"
    limit = table.newest.limit
    names = {c.name for c in field}
    best_first = sorted(field, key=lambda c: (-c.quality.value, c.cost.value))
    missing = [r.name for r in table.results if r.name not in names] + [r.name for r in table.failed]
    return Panel(
        title=title(table) + (f"  LIMITED to {limit} examples" if limit is not None else ""),
        below=f"{table.axis} / {table.axis} of {reference} (left is cheaper{why})",
        beside=f"{metric} - {reference}'s{f', {unit}' if unit else ''} ({'up' if up else 'down'} is better)",
        marks=tuple(_mark(c, table, scale if up else -scale) for c in best_first),
        missing=tuple(map(plain, missing)),
    )


def _mark(c: Candidate, table: Table, scale: float) -> Mark:
    low, high = sorted((scale * c.quality.low, scale * c.quality.high))
    return Mark(
        name=plain(c.name),
        x=(c.cost.value, c.cost.low, c.cost.high),
        y=(scale * c.quality.value, low, high),
        kind="reference" if c.reference else "front" if c.name in table.front else "other",
        steps=c.name in table.front,
    )
