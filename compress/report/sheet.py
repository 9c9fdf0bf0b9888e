"""Tables as CSV: one line per recipe or reference and operating point, every figure with low, high and n.

Units are in the column names and always SI. Text that a spreadsheet would run as a formula gets a leading quote mark.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from compress.analysis.among import with_adjusted
from compress.analysis.natural import deployed, energy_per_correct, latency_per_example, measured_energy, per_correct
from compress.analysis.odds import Adjusted, adjusted
from compress.analysis.pareto import Table
from compress.analysis.verdict import MEASURED, alone
from compress.records.generation import Generation
from compress.records.limit import MEMORY
from compress.records.result import Accuracy, Kernel, Point, Reference, Result, Size
from compress.records.stats import Estimate
from compress.report.text import plain

Value = str | float | int | bool | None
FORMULA = tuple("=+-@＝＋－＠")
FP32 = "fp32 eager"


def csv_text(tables: Iterable[Table]) -> str:
    """Return the whole of pareto.csv."""
    return written(records(tables))


def written(lines: Sequence[Mapping[str, Value]]) -> str:
    """Return lines of column -> value as CSV, with every column that any of them has."""
    columns = list(dict.fromkeys(column for line in lines for column in line)) or ["workload"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(line.get(column)) for column in columns] for line in lines)
    return out.getvalue()


def records(tables: Iterable[Table]) -> list[dict[str, Value]]:
    """Return column -> value of every line: a recipe or reference at one of its operating points."""
    return [line for table in tables for line in _lines(table)]


def _cell(value: Value) -> str:
    if isinstance(value, str):
        return safe(value)
    return "" if value is None else str(value)


@lru_cache(maxsize=10_000)
def safe(value: str) -> str:
    """Return `value` on one line, with a leading quote mark if a spreadsheet would take it for a formula."""
    line = plain(value)
    return f"'{line}" if line.startswith(FORMULA) else line


def _lines(table: Table) -> Iterable[dict[str, Value]]:
    family = adjusted(table)
    for result in (with_adjusted(row, family.get(row.name)) for row in (*table.results, *table.failed)):
        for point in result.points or (None,):
            yield {
                **_about(result),
                **_row(table, result, "failed" if result.error is not None else "recipe", point),
                **_adjusted(result, point, family),
                **_end(result),
            }
    for reference in table.references:
        for point in reference.points or (None,):
            yield {**_about(table.newest), **_row(table, reference, "reference", point)}


def _about(result: Result) -> dict[str, Value]:
    return {
        "workload": str(result.workload.get("name", "")),
        "limit": result.limit,
        "machine": result.machine.id,
        "device": result.machine.device,
        "device_name": result.machine.device_name,
        "session": result.session,
        "created": result.created,
        "code_version": result.code_version,
    }


def _row(table: Table, row: Result | Reference, kind: str, point: Point | None) -> dict[str, Value]:
    return {
        "name": row.name,
        "kind": kind,
        "front": row.name in table.front and kind != "failed" and (point is None or point.headline),
        "front_axis": table.axis,
        "verdict_reference": table.reference,
        **_accuracy(row.accuracy),
        **_generation(row.generation),
        **_point(table, row, point),
        **_per_correct(point if point is deployed(row.points) else None, row.accuracy),
        **_size(row.size),
        **_kernel(row.kernel),
    }


def _per_correct(point: Point | None, accuracy: Accuracy | None) -> dict[str, Value]:
    """Return the costs per correct answer, which are stated at one point only."""
    seconds = per_correct(latency_per_example(point), accuracy) if point else None
    return {
        **_estimate("energy_per_correct_answer_j", energy_per_correct(point, accuracy)),
        **_estimate("latency_per_correct_answer_s", seconds),
    }


def _accuracy(accuracy: Accuracy | None) -> dict[str, Value]:
    a = accuracy
    return {
        "metric_name": a.metric if a else None,
        "metric_variant": a.variant if a else None,
        **_estimate("metric", a.estimate if a else None),
        **_estimate("metric_difference", a.delta if a else None),
        "metric_difference_unit": (a.unit or "unknown") if a else None,
        "metric_higher_is_better": a.higher_is_better if a else None,
        "chance": a.chance if a else None,
        "seeds": (len(a.seeds) or 1) if a else None,
        "metric_standard_deviation_over_seeds": a.seed_spread if a else None,
        "mcnemar_p": a.mcnemar_p if a else None,
        "flip_rate": a.flip_rate if a else None,
        "bits_per_byte": a.bits_per_byte if a else None,
        "evaluated_at_batch_size": a.batch_size if a else None,
        "batch_sensitivity": a.batch_sensitivity if a else None,
    }


def _generation(figures: Generation | None) -> dict[str, Value]:
    g = figures
    return {
        **_estimate("continuations_changed", g.changed if g else None),
        "first_changed_token": g.first_changed if g else None,
        "repetition": g.repetition if g else None,
    }


def _point(table: Table, row: Result | Reference, point: Point | None) -> dict[str, Value]:
    p = point
    ratio = p.ratio(table.reference) if p and table.reference else None
    plain_ratio = p.ratio(FP32) if p else None
    percentiles = p.latency_percentiles_s if p else None
    return {
        "batch_size": p.batch_size if p else None,
        "sequence_length_tokens": p.sequence_length if p else None,
        "audio_s": p.audio_s if p else None,
        "natural": p.natural.order if p and p.natural else None,
        "tokens_per_example": p.natural.texts.tokens_per_example if p and p.natural else None,
        "phase": p.phase if p else None,
        "example": p.example if p else None,
        "generated_tokens": p.generated_tokens if p else None,
        "tokens_per_request": p.tokens_per_request if p else None,
        "headline": p.headline if p else None,
        "sessions": p.sessions if p else None,
        **_estimate("latency_per_batch_s", p.latency_s if p else None),
        **_estimate("latency_per_example_s", latency_per_example(p) if p else None),
        **_interval("latency_p50_s", percentiles.p50 if percentiles else None),
        **_interval("latency_p90_s", percentiles.p90 if percentiles else None),
        **_interval("latency_p99_s", percentiles.p99 if percentiles else None),
        "latency_percentiles_n": percentiles.n if percentiles else None,
        **_estimate("throughput_examples_per_s", p.throughput_per_s if p else None),
        **_estimate("energy_per_example_j", measured_energy(p)),
        **_estimate("energy_per_token_j", p.energy_per_token_j if p and p.energy_source in MEASURED else None),
        **_estimate("energy_modelled_per_example_j", p.energy_j if p and p.energy_source == "modelled" else None),
        "energy_idle_per_example_j": p.energy_idle_j if p else None,
        **_estimate("energy_net_per_example_j", p.energy_net_j if p else None),
        "energy_source": p.energy_source if p else None,
        "energy_boundary": p.energy_boundary if p else None,
        "energy_gain": p.energy_gain if p else None,
        "energy_reason": p.energy_reason if p else None,
        "grade": p.grade if p else None,
        **_limit(p),
        **_estimate("latency_ratio", ratio.latency if ratio else None),
        **_estimate("energy_ratio", ratio.energy if ratio else None),
        **_estimate("energy_net_ratio", ratio.net if ratio else None),
        "energy_waiting_share": ratio.waiting_share if ratio else None,
        **_alone(row, p),
        **_estimate("latency_ratio_to_fp32_eager", plain_ratio.latency if plain_ratio else None),
        **_estimate("energy_ratio_to_fp32_eager", plain_ratio.energy if plain_ratio else None),
        "latency_ratio_session_spread": ratio.session_spread if ratio else None,
        "energy_ratio_session_spread": ratio.session_spread_energy if ratio else None,
        "min_detectable_latency": ratio.min_detectable if ratio else None,
        "min_detectable_energy": ratio.min_detectable_energy if ratio else None,
        "ratio_grade": ratio.grade if ratio else None,
        "unreliable": " | ".join(p.unreliable) if p else None,
        "verdict": p.verdict.word if p and p.verdict else None,
        "verdict_sentence": p.verdict.sentence if p and p.verdict else None,
        "cause": p.verdict.cause if p and p.verdict else None,
    }


def _limit(point: Point | None) -> dict[str, Value]:
    """Return the share of the device's limit, with the work of a batch and the resources that it takes."""
    limit = point.limit if point else None
    work = limit.work if limit else {}
    operations = [amount for name, amount in work.items() if name != MEMORY]
    resources = [f"{name} {rate:.6g}/s" for name, rate in (limit.per_second if limit else {}).items()]
    return {
        **_interval("limit_share", point.limit_share if point else None),
        "limit_of": " | ".join(resources) or None,
        "limit_in_cache": limit.in_cache if limit and work else None,
        "limit_reason": limit.reason if limit else None,
        "read_bytes_per_batch": work.get(MEMORY),
        "operations_per_batch": sum(operations) if operations else None,
    }


def _alone(row: Result | Reference, point: Point | None) -> dict[str, Value]:
    """Return the ratios to the dense model under the recipe's own runtime, and its name."""
    ratio = alone(row, point) if isinstance(row, Result) else None
    return {
        "compression_alone_against": ratio.reference if ratio else None,
        **_estimate("compression_alone_latency", ratio.latency if ratio else None),
        **_estimate("compression_alone_energy", ratio.energy if ratio else None),
        **_estimate("compression_alone_energy_net", ratio.net if ratio else None),
    }


def _adjusted(result: Result, point: Point | None, family: Mapping[str, Adjusted]) -> dict[str, Value]:
    """Return the interval of the headline's cost ratio, adjusted for all recipes of the table (Bonferroni)."""
    among = family.get(result.name) if point is not None and point.headline else None
    return {
        "cost_ratio_adjusted_low": among.cost.low if among else None,
        "cost_ratio_adjusted_high": among.cost.high if among else None,
    }


def _size(size: Size | None) -> dict[str, Value]:
    names = ("parameters", "nonzero", "stored_bytes", "memory_bytes", "peak_memory_bytes")
    return {name: getattr(size, name) if size else None for name in names}


def _kernel(kernel: Kernel | None) -> dict[str, Value]:
    return {"kernel": kernel.label if kernel else None}


def _end(result: Result) -> dict[str, Value]:
    transform, even = result.transform, result.breakeven
    return {
        "transform_s": transform.seconds if transform else None,
        "transform_energy_j": transform.energy_j if transform else None,
        "transform_energy_at_most_j": transform.energy_at_most_j if transform else None,
        "transform_energy_source": transform.energy_source if transform else None,
        **_estimate("breakeven_inferences", even.inferences if even else None),
        "breakeven_at_most": even.at_most if even else None,
        "breakeven_unit": even.unit if even else None,
        "breakeven_reason": even.reason if even else None,
        "breakeven_note": even.note if even else None,
        "notes": " | ".join(result.notes),
        "error": result.error,
    }


def _interval(name: str, estimate: Estimate | None) -> dict[str, Value]:
    """Return a percentile with its interval; its number of batches has a column of its own."""
    return {column: value for column, value in _estimate(name, estimate).items() if column != f"{name}_n"}


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Value]:
    e = estimate if estimate is None or math.isfinite(estimate.value) else None  # nan is left empty
    return {
        name: e.value if e else None,
        f"{name}_low": e.low if e else None,
        f"{name}_high": e.high if e else None,
        f"{name}_n": e.n if e else None,
    }
