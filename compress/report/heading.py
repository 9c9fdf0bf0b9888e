"""Heading of a table: where, when and how its rows were measured and judged."""

from compress.analysis.pareto import Table
from compress.analysis.soundness import floor_words
from compress.analysis.verdict import point_name
from compress.records.point import natural_point
from compress.records.result import UNITS, Result
from compress.report.text import digits, plain

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
        floor = "" if accuracy.chance is None else f"; {floor_words(accuracy, accuracy.chance)}"
        form = "" if accuracy.variant is None else f" ({accuracy.variant})"
        better = "" if accuracy.metric in UNITS else f"; {'higher' if accuracy.higher_is_better else 'lower'} is better"
        lines.append(f"Judged by {accuracy.metric}{form} on {accuracy.estimate.n:,} test examples{floor}{better}")
    if table.reference:
        lines.append(f"Reference of verdicts, differences and ratios: {table.reference}")
    everything = (*table.results, *table.failed)
    dates = [r.created for r in sorted(everything, key=lambda r: r.moment)]
    sessions = sorted({r.session for r in everything if r.session})  # a run that failed before measuring has none
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    shown = ", ".join(sessions[:4]) + (f" and {len(sessions) - 4} more" if len(sessions) > 4 else "")
    taken = f"; session{'s' * (len(sessions) > 1)} {shown}" if sessions else ""
    lines.append(f"Measured: {when}{taken}{_rounds(table)}")
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
    points = [row.headline for row in table.rows if row.headline is not None]
    taken = [point.rounds for point in points if point.rounds]
    if not taken:
        return ""
    counts, lengths = [len(p) for p in taken], [r.duration_s for p in taken for r in p]
    rounds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    sessions = max(point.sessions for point in points)
    rounds += f" rounds in {sessions} sessions" if sessions > 1 else " rounds"
    return f"; {rounds}, windows of {digits(min(lengths), 2)} s or more"


def _workload(table: Table) -> str:
    """Return workload, model, data and split as one line."""
    workload = table.newest.workload
    dataset = workload.get("dataset")
    data = dataset.get("path") if isinstance(dataset, dict) else None
    split = dataset.get("test") if isinstance(dataset, dict) else None
    parts = [str(workload.get("name", "")), f"model {workload['model']}" if workload.get("model") else ""]
    if data and str(workload.get("metric", "")).startswith("lm_eval:"):
        variant, n = (accuracy.variant, accuracy.estimate.n) if (accuracy := table.newest.accuracy) else (None, 0)
        examples = f" ({n:,} examples)" if n else ""
        data = f"{data} for timing and calibration, evaluated on {variant or workload['metric']}{examples}"
    elif data and split:
        data = f"{data}, evaluated on its split {split}"
    return ", ".join(part for part in (*parts, f"data {data}" if data else "") if part)
