"""Notes on a table: how to read it, its data, and the limits of what it shows."""

from collections.abc import Iterable

from compress.analysis.dominance import COST_MARGIN
from compress.analysis.judging import unreliable
from compress.analysis.loss import lost, margin_words, within
from compress.analysis.odds import LEAST_ODDS, adjusted, front_odds
from compress.analysis.pareto import Table
from compress.analysis.sentence import assumption, spread_percent
from compress.analysis.verdict import MEASURED
from compress.records.point import natural_point
from compress.records.result import Reference, Result
from compress.report.heading import LOUD, heading
from compress.report.row_notes import Group, Note, headline_points, listed, row_notes
from compress.report.text import plain

GROUPS: tuple[Group, ...] = ("warnings", "method", "data")


def grouped(table: Table) -> dict[Group, list[str]]:
    """Return group -> the lines of the heading and the notes that belong to it; only groups with a line."""
    lines = [Note("warnings" if line.startswith(LOUD) else "data", line) for line in heading(table)]
    lines += _notes(table)
    groups: dict[Group, list[str]] = {group: [line.text for line in lines if line.group == group] for group in GROUPS}
    return {group: texts for group, texts in groups.items() if texts}


def footnotes(table: Table) -> list[str]:
    """Return the sentences below the table, each once, with the rows that it concerns."""
    return [note.text for note in _notes(table)]


def _notes(table: Table) -> list[Note]:
    notes = (*_reading(table), *row_notes(table))
    return [Note(group, plain(text)) for group, text in notes]


def _reading(table: Table) -> Iterable[Note]:
    """Yield how to read the table: the front, ratios, sessions and grades."""
    if table.results:
        yield from (Note("method", text) for text in _front(table))
        if unbounded := _unbounded(table):
            text = f"Kept off the front, because the interval of their loss is unknown: {listed(unbounded)}."
            yield Note("warnings", text)
        yield from (Note("warnings", text) for text in _unreliable(table))
        yield Note(
            "method",
            "Ratios divide a row's figure by the reference's: below 1 is a saving. Parentheses hold 95 % intervals.",
        )
        if adjusted(table):
            own = " and ratios on own texts" if any(natural_point(row.points) for row in table.rows) else ""
            yield Note(
                "method",
                "The costs of verdicts are adjusted for all recipes of the table (Holm). The intervals beside them are "
                "simultaneous (Bonferroni), hence wider: one may contain 1 although the ratio differs significantly. "
                f"Differences of the metric{own} have 95 % intervals of their own.",
            )
    yield from (Note("method", text) for text in _between_sessions(table))
    yield from (Note("method", text) for text in _metered(table))
    if table.axis == "latency" and table.results:
        yield Note("method", f"The front is {_margin(table)[1]} against latency, because {_why_latency(table)}.")
    if table.unranked:
        yield Note(
            "warnings",
            f"Energy of a grade below {table.least} is kept off the front ({listed(table.unranked)}); pareto --grade C "
            "includes grade C; each result lists the reasons.",
        )
    yield from _sessions(table)


def _sessions(table: Table) -> Iterable[Note]:
    """Yield how rows of several sessions compare, and which older ones cannot be ranked or are not shown."""
    if len({r.session for r in table.results}) > 1:
        yield Note(
            "data",
            "Rows come from several sessions: compare their ratios, which are paired within a session, "
            "not their milliseconds or millijoules. References are those of the newest session.",
        )
        if spread := max((r.session_spread for r in table.results if _single(r)), default=0.0):
            yield Note("method", f"Rows of a single session are ranked with other sessions {assumption(spread)}.")
        if len(table.references) < 2:
            yield Note("warnings", "Sessions could not be compared with each other: this needs a second reference.")
    for older in table.disagreements:
        again = " ".join(sorted({r.name for r in table.results}))
        yield Note(
            "warnings",
            f"{older}: beyond their intervals. So {listed(older.names)} cannot be ranked with the newest rows; "
            f"measure them together: python -m compress run {again}.",
        )
    if table.superseded:
        yield Note("data", f"Older results are not shown for: {listed(table.superseded)}.")


def _between_sessions(table: Table) -> Iterable[str]:
    """Yield how much ratios differ between the sessions of rows that have several."""
    points = [point for name, point in headline_points(table) if point is not None and name != table.reference]
    ratios = [point.ratio(table.reference or "") for point in points]
    known = [r.session_spread if table.axis == "latency" else r.session_spread_energy for r in ratios if r is not None]
    spreads = [spread for spread in known if spread is not None]
    if spreads:
        span = " to ".join(dict.fromkeys(map(spread_percent, (min(spreads), max(spreads)))))
        yield (
            f"Intervals of rows with several sessions are over sessions (Student's t); their ratios of {table.axis} "
            f"differ between sessions by {span} % (standard deviation)."
        )


def _unreliable(table: Table) -> Iterable[str]:
    """Yield the rows whose measurement was disturbed, grouped by their first reason."""
    names: dict[str, list[str]] = {}
    for row in table.rows:
        if row.name in table.unreliable:
            names.setdefault(_disturbance(row), []).append(row.name)
    if names:
        stated = "; ".join(f"{reason} ({listed(rows)})" for reason, rows in names.items())
        yield f"Kept off the front, because their measurement was disturbed (NOT RELIABLE): {stated}."


def _disturbance(row: Result | Reference) -> str:
    """Return the first reason why the costs of a row are not reliable."""
    point, base = row.headline, row.verdict_reference if isinstance(row, Result) else None
    reasons = point.unreliable if point else ()
    if point is not None and base is not None:
        reasons = unreliable(point, base.name, base.points)
    return next(iter(reasons), "no reason was recorded")


def _single(result: Result) -> bool:
    """Return whether a result was measured in one session only."""
    return result.headline is not None and result.headline.sessions == 1


def _front(table: Table) -> Iterable[str]:
    """Yield the rule of the front, what its percentages are, and which rows are shown to be within the margin."""
    margin, metric = _margin(table)
    star = "★ is on the front." if table.front else "No row is on the front."
    worse = f"its {metric} is not worse by more than {margin}" if margin else f"its {metric} is not worse"
    yield (
        f"{star} One row dominates another if it costs less and {worse}, or if its {metric} is better and "
        f"it costs at most {100 * COST_MARGIN:g} % more; each must be shown by the 95 % interval of the paired "
        "difference of the two rows. Every other row is dominated by a row on the front, broken or kept off it."
    )
    if any(odds >= LEAST_ODDS or name in table.front for name, odds in front_odds(table).items()):
        yield "Percentages: how often a row is on the front by this rule, in resamples of rounds and examples."
    if any(row.accuracy is not None and within(row.accuracy, table.margin) for row in table.rows):
        yield (
            f"within {margin}: the 95 % interval of the difference lies within plus and minus {margin}; without this "
            "note, equivalence to the reference is not shown."
        )


def _margin(table: Table) -> tuple[str, str]:
    """Return the margin in the metric's unit, empty without one, and the metric."""
    accuracy = next((row.accuracy for row in table.rows if row.accuracy), None)
    if accuracy is None or table.margin is None:
        return "", accuracy.metric if accuracy else "accuracy"
    return margin_words(table.margin, accuracy), accuracy.metric


def _unbounded(table: Table) -> list[str]:
    """Return the rows whose difference to the reference has no interval, which cannot be ranked."""
    losses = {row.name: lost(row.accuracy) for row in table.rows if row.accuracy and row.name != table.reference}
    return [name for name, loss in losses.items() if loss is not None and not loss.bounded]


def _why_latency(table: Table) -> str:
    """Return the reason why a table is ranked by latency and not by energy."""
    if table.meter == "modelled":
        return "energy is only modelled on this machine (~)"
    if table.meter not in MEASURED:
        return "energy is not measured here"
    grades = [r.headline.grade for r in table.results if r.headline is not None and r.headline.grade is not None]
    lax = "; pareto --grade C ranks it by energy" if min(grades, default="D") == "C" else ""
    return f"no recipe's energy is of grade {table.least} or better (each result lists the reasons){lax}"


def _metered(table: Table) -> Iterable[str]:
    """Yield the meter of the energies, their boundary and grades, and the least detectable difference."""
    points = [(n, point) for n, point in headline_points(table) if point is not None and point.energy_j is not None]
    if table.meter not in MEASURED or not points:
        return
    boundary = next((p.energy_boundary for _, p in points if p.energy_boundary), None)
    grades: dict[str, list[str]] = {}
    for name, point in points:
        ratio = point.ratio(table.reference or "")
        grades.setdefault(str((ratio and ratio.grade) or point.grade), []).append(name)
    graded = "; ".join(f"{mark}: {listed(names)}" for mark, names in sorted(grades.items()))
    gain = next((p.energy_gain for _, p in points if p.energy_gain is not None), None)
    gain_text = (
        ""
        if not gain
        else f" Joules also include the board's gain error of up to {100 * gain:g} %; it cancels in ratios."
    )
    yield f"Energy by {table.meter}" + (f", of {boundary}" if boundary else "") + f". Grades: {graded}.{gain_text}"
    ratios = [point.ratio(table.reference or "") for name, point in points if name != table.reference]
    least = [100 * r.min_detectable_energy for r in ratios if r is not None and r.min_detectable_energy is not None]
    if least:
        span = f"{min(least):.2g} to {max(least):.2g} %"
        yield f"The smallest difference that these rounds can detect is {span} of a row's energy."
