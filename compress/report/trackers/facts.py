"""Data of a result for trackers. Names are those of pareto.csv. Unknown values are left out, never 0."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.analysis.among import read_among
from compress.analysis.joules import by_board, series
from compress.analysis.pareto import group
from compress.base.config import InputError, digest
from compress.records.result import Result
from compress.records.sample import Signal
from compress.report import sheet
from compress.report.charts import Source
from compress.report.charts.power import power_w, sampled
from compress.report.text import plain

Scalar = str | int | float | bool
NOT_ITS_OWN = ("front", "cost_ratio_adjusted", "metric_name", "metric_variant")
"""Columns about a whole table, and two of text."""
WORDS = (
    "metric_name", "metric_variant", "verdict_reference", "verdict", "verdict_sentence", "cause", "energy_source",
    "energy_reason", "energy_boundary", "grade", "ratio_grade", "unreliable", "compression_alone_against",
)  # fmt: skip
"""Columns of text, exported as configuration."""
SERIES: tuple[Signal, ...] = ("sm_mhz", "memory_mhz", "temperature_c")


@dataclass(frozen=True)
class Facts:
    """One result in the form of a tracker's run."""

    run: str
    """Display name of the run."""
    id: str
    """Digest of the measurement: a recipe that was run again is another run."""
    workload: str
    config: dict[str, Scalar]
    """Recipe, workload and machine, flattened, with the verdict, grade and energy source."""
    metrics: dict[str, float]
    """Metrics of the headline point, and those of other points with the point's name as a prefix."""
    power: dict[str, list[tuple[int, float]]]
    """Name -> pairs of time and value.

    Time is in nanoseconds since the Unix epoch if that is known, otherwise since the first sample.
    """
    untraced: str = ""
    """Why there is no power trace; empty if there is one."""


def facts(path: Path, result: Result | None = None) -> Facts:
    """Return the facts of a result file, with the verdict that its table states.

    `result`: that of the file, if it is adjusted already. Raises InputError if the file cannot be read.
    """
    result = result or read_among(path).result
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
    """Return the flattened configuration of a run."""
    machine = result.machine
    settings: dict[str, Any] = {
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
    settings |= {word: headline.get(word) for word in WORDS}
    if result.headline is not None:
        settings["grade_reasons"] = "; ".join(result.headline.grade_reasons) or None
    return dict(flattened(settings))


def flattened(value: Any, name: str = "") -> Iterable[tuple[str, Scalar]]:
    """Yield path and value of every set leaf of a nested value: `recipe.steps.0.bits`, 4."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flattened(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flattened(item, f"{name}.{index}")
    elif value is not None:
        yield plain(name), value if isinstance(value, bool | int | float) else plain(value)


def _metrics(lines: list[dict[str, sheet.Value]]) -> Iterable[tuple[str, float]]:
    """Yield name and value of every finite number."""
    for line in lines:
        length = line["natural"] or f"length{line['sequence_length_tokens'] or 0}"
        prefix = "" if line["headline"] else f"batch{line['batch_size']}_{length}"
        prefix += f"_generate{line['generated_tokens']}" if prefix and line["generated_tokens"] else ""
        for name, value in line.items():
            if name.startswith(NOT_ITS_OWN) or name == "limit" or isinstance(value, bool | str) or value is None:
                continue
            if math.isfinite(value):  # an infinite end is unknown
                yield f"{prefix}/{name}" if prefix else name, float(value)


def _power(path: Path, result: Result) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Return the series of the power trace, or none and the reason."""
    try:
        session = sampled(Source(path, result))
    except InputError as error:
        return {}, f" (no power trace: {error})"
    offset_ns = session.clock_offset_ns
    origin_ns = min(s.time_ns for s in session.samples) if offset_ns is None else -offset_ns
    trace: dict[str, list[tuple[int, float]]] = {}
    boards = by_board(session.samples)
    for samples in boards:
        prefix = f"board{samples[0].board or 0}/" if len(boards) > 1 else ""
        lines: dict[str, Sequence[tuple[int, float]]] = {"power_w": power_w(samples)}
        lines |= {signal: series(samples, signal) for signal in SERIES}
        trace |= {
            f"trace/{prefix}{name}": [(t - origin_ns, float(v)) for t, v in pairs]
            for name, pairs in lines.items()
            if pairs
        }
    return trace, ""
