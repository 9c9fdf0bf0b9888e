"""What a tracker is told of a result. Names are those of pareto.csv; what is not known is left out, never 0."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.analysis.joules import by_board, series
from compress.analysis.pareto import group
from compress.base.config import InputError, digest
from compress.records.files import read
from compress.records.result import Result
from compress.records.sample import Signal
from compress.report import sheet
from compress.report.charts import Source
from compress.report.charts.power import power_w, sampled
from compress.report.text import plain

Scalar = str | int | float | bool
NOT_ITS_OWN = ("front", "cost_ratio_adjusted", "verdict_adjusted", "metric_name")
"""Columns that speak of a whole table, and one that is text."""
WORDS = (
    "metric_name", "verdict_reference", "verdict", "verdict_sentence", "cause", "energy_source", "energy_reason",
    "energy_boundary", "grade", "ratio_grade",
)  # fmt: skip
"""Columns of text that are told as configuration."""
SERIES: tuple[Signal, ...] = ("sm_mhz", "memory_mhz", "temperature_c")


@dataclass(frozen=True)
class Facts:
    """One result, as trackers take it."""

    run: str
    """A name that people read."""
    id: str
    """Changes with what was measured: a recipe that was run again is another run."""
    workload: str
    config: dict[str, Scalar]
    """Recipe, workload and machine, flattened; and the words of the verdict, grade and energy source."""
    metrics: dict[str, float]
    """Of the headline point; of other points with their name in front."""
    power: dict[str, list[tuple[int, float]]]
    """Name -> nanoseconds since the Unix epoch where that is known (else since the first sample), and value."""
    untraced: str = ""
    """Why there is no power trace."""


def facts(path: Path) -> Facts:
    """The facts of a result file. Raises InputError where it cannot be read."""
    result = read(path)
    lines = [line for line in sheet.records(group([result])) if line["kind"] != "reference"]
    power, untraced = _power(path, result)
    return Facts(
        run=f"{result.name}-{result.machine.id}",
        id=digest([result.name, result.fingerprint, result.session, result.created, result.machine.id])[:12],
        workload=str(result.workload.get("name", "workload")),
        config=_config(result, lines),
        metrics=dict(_metrics(lines)),
        power=power,
        untraced=untraced,
    )


def _config(result: Result, lines: list[dict[str, sheet.Value]]) -> dict[str, Scalar]:
    machine = result.machine
    whole: dict[str, Any] = {
        "recipe": result.recipe,
        "workload": result.workload,
        "machine": {
            "id": machine.id,
            "device": machine.device,
            "name": machine.device_name,
            "versions": machine.versions,
        },
        "runtime": result.runtime,
        "session": result.session,
        "created": result.created,
        "code_version": result.code_version,
        "fingerprint": result.fingerprint,
        "limit": result.limit,
        "error": result.error,
        "kernel": result.kernel.label if result.kernel else None,
    }
    headline = next((line for line in lines if line["headline"]), {})
    whole |= {word: headline.get(word) for word in WORDS}
    if result.headline is not None:
        whole["grade_reasons"] = "; ".join(result.headline.grade_reasons) or None
    return dict(flattened(whole))


def flattened(value: Any, name: str = "") -> Iterable[tuple[str, Scalar]]:
    """`recipe.steps.0.bits` -> 4, for everything that is set."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flattened(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flattened(item, f"{name}.{index}")
    elif value is not None:
        yield plain(name), value if isinstance(value, bool | int | float) else plain(value)


def _metrics(lines: list[dict[str, sheet.Value]]) -> Iterable[tuple[str, float]]:
    for line in lines:
        prefix = "" if line["headline"] else f"batch{line['batch_size']}_length{line['sequence_length_tokens'] or 0}"
        prefix += f"_generate{line['generated_tokens']}" if prefix and line["generated_tokens"] else ""
        for name, value in line.items():
            if name.startswith(NOT_ITS_OWN) or name == "limit" or isinstance(value, bool | str) or value is None:
                continue
            if math.isfinite(value):  # an interval without end is not known
                yield f"{prefix}/{name}" if prefix else name, float(value)


def _power(path: Path, result: Result) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Series of the power trace, or none and the reason."""
    try:
        session = sampled(Source(path, result))
    except InputError as error:
        return {}, f" (no power trace: {error})"
    offset_ns = session.clock_offset_ns
    begins = min(s.time_ns for s in session.samples) if offset_ns is None else -offset_ns
    made: dict[str, list[tuple[int, float]]] = {}
    boards = by_board(session.samples)
    for samples in boards:
        of = f"board{samples[0].board or 0}/" if len(boards) > 1 else ""
        lines: dict[str, Sequence[tuple[int, float]]] = {"power_w": power_w(samples)}
        lines |= {signal: series(samples, signal) for signal in SERIES}
        made |= {
            f"trace/{of}{name}": [(t - begins, float(v)) for t, v in pairs] for name, pairs in lines.items() if pairs
        }
    return made, ""
