"""The update period of a counter, from readings every 2 ms.

Loads that must beat with the counter need its median step: the 95th percentile is a few percent longer, and the beat
averages out within a window. Windows that must include a movement need the 95th percentile.
"""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compress.energy.doctor.report import Report
from compress.energy.meters import Meter

POLL_S = 0.002


@dataclass(frozen=True)
class UpdatePeriod:
    """The time between two movements of a counter, in seconds."""

    median_s: float
    """For loads that must beat with the counter."""
    step_s: float
    """The 95th percentile, for windows that must include a movement."""


def update_period(meter: Meter, report: Report, seconds: float) -> UpdatePeriod | None:
    """Return the time between movements of the counter, read every 2 ms; None if it does not move."""
    moments, last = [], meter.read_uj()
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        value = meter.read_uj()
        if value != last:
            moments.append(now)
            last = value
        time.sleep(POLL_S)
    gaps = sorted(b - a for a, b in itertools.pairwise(moments))
    if len(gaps) < 3:
        report.say(
            "counter",
            f"moved {len(moments)} times in {seconds:.0f} s",
            "the energy counter does not move: use another board, or check for vGPU or MIG",
        )
        return None
    late = gaps[min(len(gaps) - 1, math.ceil(0.95 * len(gaps)) - 1)]
    median = median_step(moments)
    text = f"{1e3 * median:.1f} ms (median), 95 % within {1e3 * late:.0f} ms; {_histogram(gaps)}"
    report.say("counter moves every", text)
    return UpdatePeriod(median, late)


def median_step(moments: Sequence[float]) -> float:
    """Return the median seconds per movement, over spans of half of all movements.

    A single step is only known to the 2 ms between readings: at 100 ms, an error of 2 % averages a beat out within 50
    periods. Over 30 steps the error is 0.07 %. A step of two median steps counts as two: a movement was overlooked.
    """
    steps = [b - a for a, b in itertools.pairwise(moments)]
    rough = statistics.median(steps)
    numbers = list(itertools.accumulate((max(1, round(step / rough)) for step in steps), initial=0))
    half = len(steps) // 2
    spans = zip(zip(moments, numbers, strict=True), zip(moments[half:], numbers[half:], strict=True), strict=False)
    return statistics.median((end - start) / (last - first) for (start, first), (end, last) in spans)


def _histogram(gaps: Sequence[float]) -> str:
    counts: dict[int, int] = {}
    for gap in gaps:
        counts[round(100 * gap)] = counts.get(round(100 * gap), 0) + 1
    return ", ".join(f"{10 * tens} ms: {counts[tens]}" for tens in sorted(counts))
