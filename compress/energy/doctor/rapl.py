"""Examine the CPU's own counters for `compress doctor`: their resolution and repeatability."""

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

from compress.energy.doctor.board import DUTIES, Load, cost_of_a_call, say_linearity
from compress.energy.doctor.report import Report
from compress.energy.rapl import Rapl

DUTY_PERIOD_S = 0.1
COARSE_S = 0.01  # a window of 1.5 s is then uncertain by 1 %
REPEATS = 0.01


def examine_rapl(meter: Rapl, load: Load, scale: float = 1.0) -> Report:
    """Examine the counters and return the report. `scale` multiplies every duration: 1 takes about a minute."""
    report = Report()
    report.say("meter", f"{meter.source}, {meter.boundary}")
    cost_of_a_call(meter, report)
    _period(meter, report, 1.0 * scale)
    idle = _watts(meter, time.sleep, 4 * scale)
    if idle <= 0:
        report.say("power at idle", "none", "the counters do not move: check the kernel's intel_rapl driver")
        return report
    report.say("power at idle", f"{idle:.1f} W (includes everything that runs on this machine)")
    full_w = [_watts(meter, lambda seconds: load(seconds, 1.0, 1.0), 3 * scale) for _ in range(5)]
    spread = statistics.stdev(full_w) / statistics.mean(full_w)
    report.say("power at load", f"{statistics.mean(full_w):.1f} W")
    advice = "equal loads differ by over 1 %: use more rounds, or a quieter machine" if spread > REPEATS else None
    report.say("repeatability", f"cv {100 * spread:.2f} % over {len(full_w)} equal loads", advice)
    _linearity(meter, load, report, 3 * scale)
    return report


def _period(meter: Rapl, report: Report, seconds: float) -> None:
    """Report the counters' update period, measured by reading as fast as possible."""
    moments: list[float] = []
    last, end = meter.read_uj(), time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        value = meter.read_uj()
        if value != last:
            moments.append(now)
            last = value
    if len(moments) < 3:
        what = f"moved {len(moments)} times in {seconds:.1f} s"
        report.say("counters", what, "the counters do not move: check the kernel's intel_rapl driver")
        return
    gaps = sorted(b - a for a, b in itertools.pairwise(moments))
    median, late = statistics.median(gaps), gaps[min(len(gaps) - 1, round(0.95 * len(gaps)))]
    advice = "they move too rarely for short windows: use --set measure.profile=standard" if median > COARSE_S else None
    report.say("counters move every", f"{1e3 * median:.2f} ms (median; 95 % within {1e3 * late:.2f} ms)", advice)


def _watts(meter: Rapl, busy: Callable[[float], None], seconds: float) -> float:
    start_uj, start_s = meter.read_uj(), time.monotonic()
    busy(seconds)
    end_uj, end_s = meter.read_uj(), time.monotonic()
    return (end_uj - start_uj) / 1e6 / (end_s - start_s)


def _linearity(meter: Rapl, load: Load, report: Report, seconds: float) -> None:
    """Report the linearity of power over the share of time under load; sleeping and boosting cores bend the line."""
    points = [(duty, _watts(meter, partial(_part_time, load, duty), seconds)) for duty in DUTIES]
    say_linearity(report, points)


def _part_time(load: Load, duty: float, seconds: float) -> None:
    load(seconds, duty, DUTY_PERIOD_S)
