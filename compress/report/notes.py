"""Heading and footnotes of a table: where and when it was measured, and the limits of what it shows."""

from collections.abc import Iterable

from compress.analysis.carbon import PER, Terms, grams_per_1000
from compress.analysis.dominance import COST_MARGIN
from compress.analysis.loss import lost, margin_words
from compress.analysis.odds import adjusted, front_odds
from compress.analysis.pareto import Table
from compress.analysis.sentence import assumption
from compress.analysis.soundness import floor_words
from compress.analysis.verdict import MEASURED, point_name
from compress.records.point import natural_point
from compress.records.result import UNITS, Accuracy, Point, Result
from compress.report.text import digits, plain, spread, trainings

LOUD = ("LIMITED", "WARNING")
"""Prefixes of heading lines that must not be overlooked."""


def title(table: Table) -> str:
    """Return workload, device and machine as one line."""
    newest = table.newest
    machine = newest.machine
    where = f"{machine.device_name} ({machine.device}, machine {machine.id})"
    return plain(f"{newest.workload.get('name', 'workload')} on {where}")


def heading(table: Table) -> list[str]:
    """Return workload, headline point, metric, reference, date and session, one line each; `LOUD` lines are first."""
    newest = table.newest
    lines = []
    if newest.limit is not None:
        lines.append(
            f"LIMITED: judged on {newest.limit} test examples only (--limit {newest.limit}); not the test split"
        )
    if table.unsound is not None:
        lines.append(f"WARNING: {table.unsound}. Therefore no verdict is given and the front is empty")
    lines.append(f"Workload: {_workload(table)}")
    point = newest.headline
    if point is not None:
        lines.append(
            f"Headline point: {point_name(point)}; every latency, energy and verdict is for this point{_own(newest)}"
        )
    accuracy = newest.accuracy
    if accuracy is not None:
        floor = "" if accuracy.chance is None else f"; {floor_words(accuracy.metric, accuracy.chance)}"
        form = "" if accuracy.variant is None else f" ({accuracy.variant})"
        better = "" if accuracy.metric in UNITS else f"; {'higher' if accuracy.higher_is_better else 'lower'} is better"
        lines.append(f"Judged by {accuracy.metric}{form} on {accuracy.estimate.n:,} test examples{floor}{better}")
    if table.reference:
        lines.append(f"Reference of verdicts, differences and ratios: {table.reference}")
    everything = (*table.results, *table.failed)
    dates = [r.created for r in sorted(everything, key=lambda r: r.moment)]
    sessions = sorted({r.session for r in everything})
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    shown = ", ".join(sessions[:4]) + (f" and {len(sessions) - 4} more" if len(sessions) > 4 else "")
    lines.append(f"Measured: {when}; session{'s' * (len(sessions) > 1)} {shown}{_rounds(table)}")
    return [plain(line) for line in lines]


def _own(result: Result) -> str:
    """Return which columns are for the natural point, and its texts; empty without one."""
    point = natural_point(result.points)
    if point is None or point.natural is None:
        return ""
    tokens = f"{point.natural.texts.tokens_per_example:.1f} tokens on average"
    correct = " and per correct answer" if result.accuracy and result.accuracy.metric == "accuracy" else ""
    return f"; figures on own texts{correct} are for the test split's own texts ({point_name(point)}, {tokens})"


def _rounds(table: Table) -> str:
    """Return the number of rounds and the window length, so that a quick run is not taken for a thorough one."""
    points = [point.rounds for _, point in _points(table) if point is not None and point.rounds]
    if not points:
        return ""
    counts, lengths = [len(p) for p in points], [r.duration_s for p in points for r in p]
    rounds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    sessions = max(point.sessions for _, point in _points(table) if point is not None)
    rounds += f" rounds in {sessions} sessions" if sessions > 1 else " rounds"
    return f"; {rounds}, windows of {digits(min(lengths), 2)} s or more"


def carbon_lines(table: Table, terms: Terms) -> list[str]:
    """Return grams of CO2 equivalent per 1000 inferences of every row, under the user's terms."""
    lines = [f"gCO2e per {PER} inferences on {table.newest.workload.get('name', 'workload')}, at {terms}:"]
    for name, point in _points(table):
        grams = None if point is None else grams_per_1000(point, terms)
        if grams is None:
            why = "no headline point" if point is None else point.energy_reason or "energy unknown"
            lines.append(f"  {name}: unknown: {why}")
            continue
        mark, count = ("~", 2) if point is not None and point.energy_source == "modelled" else ("", 3)
        graded = f", energy of grade {point.grade}" if point is not None and point.grade else ""
        amount = f"{mark}{digits(grams.value, count)} g {spread(grams.low, grams.high, count)}"
        lines.append(f"  {name}: {amount}{graded}")
    covered = dict.fromkeys(p.energy_boundary for _, p in _points(table) if p is not None and p.energy_boundary)
    if covered:
        lines.append(f"  These joules cover {' and '.join(covered)} only, not the rest of the machine.")
    return [plain(line) if not line.startswith("  ") else f"  {plain(line)}" for line in lines]


def _workload(table: Table) -> str:
    """Return workload, model, data and split as one line."""
    workload = table.newest.workload
    dataset = workload.get("dataset")
    data = dataset.get("path") if isinstance(dataset, dict) else None
    split = dataset.get("test") if isinstance(dataset, dict) else None
    parts = [str(workload.get("name", "")), f"model {workload['model']}" if workload.get("model") else ""]
    data = f"{data}, evaluated on its split {split}" if data and split else data
    return ", ".join(part for part in (*parts, f"data {data}" if data else "") if part)


def footnotes(table: Table) -> list[str]:
    """Return the sentences below the table, each once, with the rows that it concerns."""
    notes = (*_reading(table), *_missing(table), *_sensitive(table), *_seeds(table), *_own_notes(table))
    return [plain(note) for note in notes]


def _reading(table: Table) -> Iterable[str]:
    """Yield how to read the table: the front, ratios, sessions and grades."""
    if table.results:
        yield from _front(table)
        if unbounded := _unbounded(table):
            yield f"Kept off the front, because the interval of their loss is unknown: {_names(unbounded)}."
        if table.unreliable:
            yield (
                "Kept off the front, because their measurement was disturbed (NOT RELIABLE; each verdict states why): "
                f"{_names(table.unreliable)}."
            )
        yield "Ratios divide a row's figure by the reference's: below 1 is a saving. Parentheses hold 95 % intervals."
        if adjusted(table):
            yield (
                "Verdicts are adjusted for all recipes of the table (Holm). The intervals beside them are simultaneous "
                "(Bonferroni), hence wider: one may contain 1 although the ratio differs significantly."
            )
    yield from _between_sessions(table)
    yield from _metered(table)
    if table.axis == "latency" and table.results:
        yield f"The front is accuracy against latency, because {_why_latency(table)}."
    if table.unranked:
        yield (
            f"Energy of a grade below {table.least} is kept off the front ({_names(table.unranked)}); pareto --grade C "
            "includes grade C; each result lists the reasons."
        )
    if len({r.session for r in table.results}) > 1:
        yield (
            "Rows come from several sessions: compare their ratios, which are paired within a session, "
            "not their milliseconds or millijoules. References are those of the newest session."
        )
        if spread := max((r.session_spread for r in table.results if _single(r)), default=0.0):
            yield f"Rows of a single session are ranked with other sessions {assumption(spread)}."
        if len(table.references) < 2:
            yield "Sessions could not be compared with each other: this needs a second reference."
    for older in table.disagreements:
        again = " ".join(sorted({r.name for r in table.results}))
        yield (
            f"{older}: beyond their intervals. So {_names(older.names)} cannot be ranked with the newest rows; "
            f"measure them together: python -m compress run {again}."
        )
    if table.superseded:
        yield f"Older results are not shown for: {_names(table.superseded)}."


def _between_sessions(table: Table) -> Iterable[str]:
    """Yield how much ratios differ between the sessions of rows that have several."""
    points = [point for name, point in _points(table) if point is not None and name != table.reference]
    ratios = [point.ratio(table.reference or "") for point in points]
    known = [r.session_spread if table.axis == "latency" else r.session_spread_energy for r in ratios if r is not None]
    spreads = [100 * spread for spread in known if spread is not None]
    if spreads:
        span = f"{min(spreads):.2g} to {max(spreads):.2g} %" if len(spreads) > 1 else f"{spreads[0]:.2g} %"
        yield (
            f"Intervals of rows with several sessions are over sessions (Student's t); their ratios of {table.axis} "
            f"differ between sessions by {span} (standard deviation)."
        )


def _single(result: Result) -> bool:
    """Return whether a result was measured in one session only."""
    return result.headline is not None and result.headline.sessions == 1


def _front(table: Table) -> Iterable[str]:
    """Yield the rule of the front, what its percentages are, and which rows are shown to be within the margin."""
    margin, metric = _margin(table)
    worse = f"its {metric} is not worse by more than {margin}" if margin else f"its {metric} is not worse"
    yield (
        f"★ is on the front. One row dominates another if it costs less and {worse}, or if its {metric} is better and "
        f"it costs at most {100 * COST_MARGIN:g} % more; each must be shown by the 95 % interval of the paired "
        "difference of the two rows. Every other row is dominated by a row on the front, broken or kept off it."
    )
    if front_odds(table):
        yield "Percentages: how often a row is on the front by this rule, in resamples of rounds and examples."
    if margin:
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
    points = [(name, point) for name, point in _points(table) if point is not None and point.energy_j is not None]
    if table.meter not in MEASURED or not points:
        return
    boundary = next((p.energy_boundary for _, p in points if p.energy_boundary), None)
    grades: dict[str, list[str]] = {}
    for name, point in points:
        ratio = point.ratio(table.reference or "")
        grades.setdefault(str((ratio and ratio.grade) or point.grade), []).append(name)
    graded = "; ".join(f"{mark}: {_names(names)}" for mark, names in sorted(grades.items()))
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


def _missing(table: Table) -> Iterable[str]:
    """Yield why figures are missing, or include the gain errors of two meters, one sentence per reason."""
    reasons: dict[str, list[str]] = {}
    for name, point in _points(table):
        if point is not None and point.energy_j is None:
            reasons.setdefault(f"no energy: {point.energy_reason or 'no reason was recorded'}", []).append(name)
    for result in table.results:
        even = result.breakeven
        if even is not None and even.inferences is None and even.at_most is None:
            reasons.setdefault(f"no break-even: {even.reason or 'no reason was recorded'}", []).append(result.name)
        elif even is not None and even.note is not None:
            reasons.setdefault(f"break-even: {even.note}", []).append(result.name)
        if result.accuracy is not None and result.accuracy.delta is None:
            why = result.accuracy.reasons.get("delta", "no reason was recorded")
            reasons.setdefault(f"no difference of {result.accuracy.metric}: {why}", []).append(result.name)
    for row in table.rows:
        known: dict[str, str] = {} if row.accuracy is None else row.accuracy.reasons
        for field, what in (("estimate", ""), ("interval", ""), ("delta_interval", "the difference of ")):
            if row.accuracy is not None and field in known:
                reasons.setdefault(f"{what}{row.accuracy.metric}: {known[field]}", []).append(row.name)
    for reason, names in reasons.items():
        yield f"{reason} ({_names(names)})."


def _points(table: Table) -> Iterable[tuple[str, Point | None]]:
    """Yield name and headline point of every row."""
    for row in table.rows:
        yield row.name, row.headline


def _sensitive(table: Table) -> Iterable[str]:
    """Yield the rows whose answers depend on the batch."""
    rows: list[tuple[str, Accuracy | None]] = [(r.name, r.accuracy) for r in table.rows]
    for name, accuracy in rows:
        if accuracy is None or accuracy.batch_sensitivity is None:
            continue
        at = f"; its {accuracy.metric} holds for batch {accuracy.batch_size}" if accuracy.batch_size else ""
        share = 100 * accuracy.batch_sensitivity
        yield f"{name}: {share:.1f} % of its answers differ between batch 1 and batch 32 (rounded activations){at}."


def _seeds(table: Table) -> Iterable[str]:
    """Yield the rows whose accuracy is known for several seeds."""
    for result in table.results:
        if ranged := trainings(result):
            yield (
                f"{result.name}: {ranged}; its figures are of seed {result.seed}, and the intervals of its "
                f"{result.accuracy.metric if result.accuracy else 'metric'} cover another training."
            )


def _own_notes(table: Table) -> Iterable[str]:
    """Yield the notes of the results, each once with its rows: choices and replacements made for the user."""
    names_by_note: dict[str, list[str]] = {}
    for result in table.results:
        for note in result.notes:
            names_by_note.setdefault(note.rstrip("."), []).append(result.name)
    for note, names in names_by_note.items():
        yield f"{_names(names)}: {note}."


def _names(names: Iterable[str]) -> str:
    """Return up to 12 names as text, and the number of the others."""
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
