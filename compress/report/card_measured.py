"""The measurements of a model card: a table of this model and its references, costs on own texts, and notes."""

from collections.abc import Iterable

from compress.analysis.limit import of_the_limit
from compress.analysis.natural import measured_energy
from compress.analysis.verdict import MEASURED, point_name
from compress.records.point import natural_point, same_windows
from compress.records.result import Reference, Result
from compress.report import text
from compress.report.row_notes import is_method

escaped = text.markdown


def measured(result: Result) -> Iterable[str]:
    """Yield a table of this model and the references of its session, at the headline point."""
    point = result.headline
    where = f", {point_name(point)}, {point.extent}" if point else ""
    against = result.verdict_reference.name if result.verdict_reference else None
    yield f"On {escaped(result.machine.device_name)}{where}; 95 % intervals; ratios are paired, to {escaped(against)}."
    yield ""
    columns = [
        "model",
        escaped(result.accuracy.metric) if result.accuracy else "metric",
        "difference",
        "latency",
        "latency ratio",
    ]
    metered = point is not None and point.energy_source in MEASURED
    columns += [f"energy per {text.example_of(result)}", "energy ratio"] if metered else []
    yield f"| {' | '.join([*columns, 'stored', 'kernels'])} |"
    yield f"|{' --- |' * (len(columns) + 2)}"
    models: tuple[Result | Reference, ...] = (result, *result.references)
    for row in models:
        yield f"| {' | '.join(escaped(text.joined(cell)) for cell in _cells(row, against, metered))} |"
    yield from _of_the_limits(result)
    yield from _own_texts(result)
    if remarks := [note for note in result.notes if not is_method(note, result)]:
        yield ""
        yield from (f"- {escaped(note)}" for note in remarks)


def _of_the_limits(result: Result) -> Iterable[str]:
    """Yield the share of the device's physical limit at each point whose work is known."""
    own = [point for point in result.points if same_windows(point, result.points) is None]
    known = [point for point in own if point.limit_share is not None]
    for point in known:
        yield ""
        sentence = of_the_limit(point) or ""
        yield escaped(f"{sentence[:1].upper()}{sentence[1:]} ({point_name(point)}).")


def _own_texts(result: Result) -> Iterable[str]:
    """Yield the costs of an example and of a correct answer on the test split's own texts, if they were measured."""
    point = natural_point(result.points)
    if point is None or point.natural is None:
        return
    natural, costs = point.natural, []
    for per, seconds, joules in (
        ("example", natural.latency_per_example_s, measured_energy(point)),
        ("correct answer", natural.latency_per_correct_s, natural.energy_per_correct_j),
    ):
        known = [text.latency(seconds)] if seconds else []
        known += [text.energy(joules, point.energy_source)] if joules else []
        costs += [f"{' and '.join(map(text.joined, known))} per {per}"] if known else []
    tokens = f"{natural.texts.tokens_per_example:.1f} tokens on average"
    yield ""
    doubt = f" Not reliable: {'; '.join(point.unreliable)}." if point.unreliable else ""
    yield f"On the test split's own texts ({point_name(point)}, {tokens}): {', '.join(costs)}.{escaped(doubt)}"


def _cells(row: Result | Reference, against: str | None, metered: bool) -> list[text.Lines]:
    """Return the cells of one row; `metered` adds the columns of energy."""
    point = row.headline
    ratio = point.ratio(against) if point and against else None
    is_reference = row.name == against
    unity: text.Lines = ("1",)
    cells: list[text.Lines] = [
        (row.name,),
        text.metric(row.accuracy),
        ("0",) if is_reference else text.difference(row.accuracy),
    ]
    cells += [
        text.latency(point.latency_s if point else None),
        unity if is_reference else text.ratio(ratio.latency if ratio else None),
    ]
    if metered:
        cells.append(text.energy(point.energy_j if point else None, point.energy_source if point else None))
        cells.append(unity if is_reference else text.ratio(ratio.energy if ratio else None))
    kernels = row.kernel.label if row.kernel else text.DASH
    return [*cells, text.megabytes(row.size.stored_bytes if row.size else None), (kernels,)]
