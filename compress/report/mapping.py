"""Maps in the terminal and as files: a table of batch size by length, the sentence, a heat map, CSV."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.analysis.flips import noun, sentence
from compress.analysis.mapping import Cell, Map, maps
from compress.base.config import InputError
from compress.base.files import SPELLED, write_atomic
from compress.records.files import own_path
from compress.records.result import Result
from compress.report import text
from compress.report.grid import grid
from compress.report.sheet import Value, written

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

JOINT = (
    "Intervals hold jointly for {} ratios: all points and recipes of the map (Bonferroni); signs are by Holm's method."
)


def print_maps(results: Sequence[Result], console: "Console") -> None:
    """Print the table and the sentence of every map, and one line for every recipe that failed."""
    from rich.text import Text

    drawn = maps(results)
    for of in drawn:
        machine = of.result.machine
        where = f"{of.result.workload.get('name', 'workload')} on {machine.device_name}"
        phase = "" if of.phase is None else f", {of.phase}"
        console.print(
            Text(text.plain(f"{of.result.name}: {_costs(of)} / that of {of.reference}; {where}{phase}"), style="bold")
        )
        console.print(_table(of, console.width), crop=False)
        for line in _disturbed(of):
            console.print(Text(text.plain(line)))
        console.print(Text(text.plain(sentence(of))))
        console.print()
    if drawn:
        console.print(Text(JOINT.format(drawn[0].comparisons)))
    for result in results:
        if result.error is not None:
            console.print(Text(f"FAILED {text.plain(result.name)}: {text.first_line(result)}", style="red"))


def _costs(of: Map) -> str:
    """Return what the ratios of a map are of: `latency`, `energy`, or `latency or energy` where cells differ."""
    return " or ".join(sorted(of.axes, reverse=True)) or "cost"


def _disturbed(of: Map) -> Iterator[str]:
    """Yield why points are not reliable, each reason once with its points."""
    places: dict[str, list[str]] = {}
    for cell in of.cells:
        for reason in cell.unreliable:
            batch_size, length = cell.place
            places.setdefault(reason, []).append(
                f"batch {batch_size}" + ("" if length is None else f" x {noun(of)} {length}")
            )
    yield from (f"NOT RELIABLE at {', '.join(each)}: {reason}" for reason, each in places.items())


def _table(of: Map, width: int) -> "RenderableType":
    """Return the points: a row per batch size, a column per length."""
    from rich.text import Text

    cells = {cell.place: cell for cell in of.cells}
    titles = ["", *("ratio" if length is None else f"{noun(of)} {length}" for length in of.lengths)]
    rows = []
    for batch_size in of.batch_sizes:
        row = (cells.get((batch_size, length)) for length in of.lengths)
        rows.append([Text(f"batch {batch_size}"), *(Text("\n".join(_lines(cell)), _style(cell)) for cell in row)])
    return grid(titles, rows, width)


def _lines(cell: Cell | None) -> Iterator[str]:
    """Yield the word of a point, and its ratio with the joint interval."""
    if cell is None:
        yield text.DASH
        return
    yield cell.word
    if cell.ratio is not None:
        yield f"{text.joined(text.ratio(cell.ratio))}{' of energy' if cell.axis == 'energy' else ''}"


def _style(cell: Cell | None) -> str:
    return "" if cell is not None and cell.decided else "dim"


def write_maps(results: Sequence[Result], out: Path) -> list[Path]:
    """Write a heat map as PNG and SVG, and a CSV, beside the result file of each recipe below `out`; return the paths.

    Raises InputError if they cannot be written.
    """
    from compress.report.charts import canvas
    from compress.report.charts.mapped import figure_of

    by_result: dict[str, list[Map]] = {}
    for of in maps(results):
        by_result.setdefault(str(own_path(of.result)), []).append(of)
    paths = []
    for place, drawn in by_result.items():
        figure = figure_of(drawn)
        files = {".png": canvas.png(figure), ".svg": canvas.svg(figure), ".csv": csv_of(drawn).encode(errors=SPELLED)}
        for suffix, data in files.items():
            path = (out / place).with_suffix(suffix)
            try:
                write_atomic(path, data)
            except OSError as error:
                raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
            paths.append(path)
    return paths


def csv_of(drawn: Iterable[Map]) -> str:
    """Return a line per point: word, ratio, its joint interval, and the interval of the point alone."""
    return written([_record(of, cell) for of in drawn for cell in of.cells])


def _record(of: Map, cell: Cell) -> dict[str, Value]:
    joint, alone = cell.ratio, cell.alone
    return {
        "workload": str(of.result.workload.get("name", "workload")),
        "recipe": of.result.name,
        "reference": of.reference,
        "phase": of.phase,
        "batch_size": cell.place[0],
        "length": cell.place[1],
        "word": cell.word,
        "axis": cell.axis,
        "ratio": None if joint is None else joint.value,
        "ratio_low": None if joint is None else joint.low,
        "ratio_high": None if joint is None else joint.high,
        "alone_low": None if alone is None else alone.low,
        "alone_high": None if alone is None else alone.high,
        "rounds": None if joint is None else joint.n,
        "comparisons": of.comparisons,
    }
