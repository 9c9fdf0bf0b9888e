"""Examine a board's meter: compare its counter with instant power, at idle and under load.

    identity and cost of a call -> update period -> idle -> load: counter against integrated power, repeatability
    -> effect of frequent reading on the count -> square waves near the update period -> linearity over load

It takes at most three minutes, `quick` a third of that. The load is a parameter, so that a simulator can replace it.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from compress.analysis.agreement import AGREE, TOLERABLE
from compress.analysis.joules import EVENTS, events, window_energy
from compress.energy.doctor.period import POLL_S, update_period
from compress.energy.doctor.report import Report
from compress.energy.meters import Meter
from compress.energy.nvml import HARM, NvmlCounter
from compress.energy.profile import Profile
from compress.energy.rapl import GRANT
from compress.energy.sampler import Sampler

DUTIES = (0.25, 0.5, 0.75, 1.0)
Load = Callable[[float, float, float], None]
"""load(seconds, duty, period_s): keeps the device busy for a fraction `duty` of every period."""
CALLS = 200
OFF_BEAT_S = 0.037  # not a simple fraction of any update period


def examine(meter: NvmlCounter, load: Load, uuid: str, driver: str, scale: float = 1.0) -> Report:
    """Examine a board and return the report. `scale` multiplies every duration: 1 takes about two minutes."""
    report = Report()
    report.say("meter", f"{meter.source}, {meter.boundary}, driver {driver}")
    call_s = cost_of_a_call(meter, report)
    period = update_period(meter, report, 6 * scale)
    if period is None:
        return report
    meter.step_s, meter.harmed_by_reading = period.step_s, False  # provisional: `_reading_faster` measures it below
    _state(meter, report)
    _power(meter, report, "idle", 8 * scale, time.sleep)
    full_load: Callable[[float], None] = lambda seconds: load(seconds, 1.0, 1.0)  # noqa: E731
    agreement, _ = _power(meter, report, "load", 10 * scale, full_load)
    repeatability = _repeatability(meter, report, 3 * scale, full_load)
    harm = _reading_faster(meter, report, 4 * scale, full_load)
    meter.harmed_by_reading = harm is None or abs(harm) > HARM  # unknown counts as harmful
    misread = square_waves(meter, report, 5 * scale, load, period.median_s)
    nonlinearity = _linearity(meter, report, 4 * scale, load)
    report.profile = Profile(
        uuid=uuid,
        driver=driver,
        name=meter.boundary,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        step_s=period.step_s,
        agreement=agreement,
        reading_harm=harm,
        repeatability=repeatability,
        misread=misread,
        nonlinearity=nonlinearity,
        call_s=call_s,
    )
    return report


def cost_of_a_call(meter: Meter, report: Report) -> float:
    """Report the time and CPU time of one reading; return its seconds."""
    start, cpu_s = time.perf_counter(), time.thread_time()
    for _ in range(CALLS):
        meter.read_uj()
    call_s, cpu_s = (time.perf_counter() - start) / CALLS, (time.thread_time() - cpu_s) / CALLS
    share = f"{1e6 * cpu_s:.0f} us of CPU time, {100 * cpu_s / 0.1:.2g} % of a core at 10 Hz"
    report.say("one reading takes", f"{1e6 * call_s:.0f} us ({share})")
    return call_s


def _state(meter: NvmlCounter, report: Report) -> None:
    state, processes = meter.state(), meter.processes()
    throttling = [EVENTS[bit] for bit in EVENTS if int(state.get("events") or 0) & bit]
    report.say(
        "temperature, clocks", f"{state['temperature_c']} C, SM {state['sm_mhz']} MHz, memory {state['memory_mhz']} MHz"
    )
    if state.get("power_mw") is None:
        report.say(
            "instant power",
            "not reported",
            "without field 186 the counter cannot be checked: grades stay at C; update the driver",
        )
    if throttling:
        report.say(
            "throttled", ", ".join(throttling), "wait until the board is cool, or lift its power cap, before measuring"
        )
    if processes is not None and len(processes) > 1:
        report.say("processes", f"{len(processes)} use the board", "end the other processes: a shared board is grade D")


def _window(meter: Meter, seconds: float, busy: Callable[[float], None], close: bool = False) -> Any:
    """Return energy, seconds and samples of one window of load that continues past both edges.

    `close` reads every 2 ms throughout.
    """
    with Sampler(meter, POLL_S if close else 0.1, sparing=not close) as sampler:
        sampler.near_edge()
        busy(sampler.edge_s)
        start = time.monotonic_ns()
        busy(seconds)
        end = time.monotonic_ns()
        sampler.near_edge()
        busy(sampler.edge_s)
    assert meter.step_s is not None
    return window_energy(sampler.samples, start, end, meter.step_s), (end - start) / 1e9, sampler.samples


def _power(
    meter: Meter, report: Report, what: str, seconds: float, busy: Callable[[float], None]
) -> tuple[float | None, float | None]:
    """Return counter over integrated instant power minus 1, and mean watts."""
    energy, window_s, samples = _window(meter, seconds, busy)
    if energy.joules is None:
        report.say(f"power at {what}", f"not measured: {energy.reason}", "see the reason above; run doctor again")
        return None, None
    watts = energy.joules / window_s
    if energy.integrated_j is None:
        report.say(f"power at {what}", f"{watts:.1f} W by the counter")
        return None, watts
    error = energy.joules / energy.integrated_j - 1
    advice = None
    if what == "load" and abs(error) > AGREE:
        grade = "C" if abs(error) <= TOLERABLE else "D"
        advice = f"counter and instant power differ by {100 * error:+.1f} % under load: energy here is of grade {grade}"
    report.say(
        f"power at {what}",
        f"{watts:.1f} W by the counter, {100 * error:+.1f} % from integrated instant power",
        advice,
    )
    event_bits = events(samples, samples[0].time_ns, samples[-1].time_ns)
    throttling = [EVENTS[bit] for bit in EVENTS if event_bits & bit]
    if throttling and what == "load":
        report.say("under load", ", ".join(throttling), "the board throttles under load: clocks will vary")
    return error, watts


def _repeatability(meter: Meter, report: Report, seconds: float, busy: Callable[[float], None]) -> float | None:
    watts = []
    for _ in range(5):
        energy, window_s, _ = _window(meter, seconds, busy)
        if energy.joules is not None:
            watts.append(energy.joules / window_s)
    if len(watts) < 3:
        return None
    spread = statistics.stdev(watts) / statistics.mean(watts)
    advice = "equal loads differ by over 1 %: use more rounds, or a quieter machine" if spread > 0.01 else None
    report.say("repeatability", f"cv {100 * spread:.2f} % over {len(watts)} equal loads", advice)
    return spread


def _reading_faster(meter: Meter, report: Report, seconds: float, busy: Callable[[float], None]) -> float | None:
    """Return the relative change of the counted power when the counter is read every 2 ms."""
    slow: list[float] = []
    fast: list[float] = []
    for _ in range(2):
        for close, readings in ((False, slow), (True, fast)):
            energy, window_s, _ = _window(meter, seconds, busy, close)
            if energy.joules is not None:
                readings.append(energy.joules / window_s)
    if not slow or not fast:
        return None
    harm = statistics.mean(fast) / statistics.mean(slow) - 1
    advice = (
        "frequent readings change this counter; no action needed: sessions read at 10 Hz" if abs(harm) > AGREE else None
    )
    report.say("reading every 2 ms instead of 100", f"{100 * harm:+.1f} % of power", advice)
    return harm


def _at(load: Load, duty: float, period_s: float) -> Callable[[float], None]:
    return lambda seconds: load(seconds, duty, period_s)


def square_waves(meter: Meter, report: Report, seconds: float, load: Load, median_s: float) -> float | None:
    """Return the relative spread of the readings of loads that beat with the update period.

    A counter that samples only part of each period misreads them.
    """
    watts = []
    for factor in (0.75, 1.0, 1.25):
        period = factor * median_s
        energy, window_s, _ = _window(meter, seconds, _at(load, 0.5, period))
        if energy.joules is not None:
            watts.append(energy.joules / window_s)
    if len(watts) < 2:
        return None
    spread = (max(watts) - min(watts)) / statistics.mean(watts)
    advice = None
    if spread > TOLERABLE:
        advice = (
            "loads that beat with the update period are misread by over 5 %: the counter sees only part of each period"
        )
    report.say("square waves at 0.75, 1 and 1.25 update periods", f"{100 * spread:.1f} % spread", advice)
    return spread


def _linearity(meter: Meter, report: Report, seconds: float, load: Load) -> float | None:
    """Return the largest deviation of mean power over duty cycle from a straight line."""
    points = []
    for duty in DUTIES:
        energy, window_s, _ = _window(meter, seconds, _at(load, duty, OFF_BEAT_S))
        if energy.joules is None:
            return None
        points.append((duty, energy.joules / window_s))
    return say_linearity(report, points)


def say_linearity(report: Report, points: Sequence[tuple[float, float]]) -> float:
    """Report and return the largest relative deviation of (duty, watts) from the line through first and last."""
    (low, first), (high, last) = points[0], points[-1]
    slope = (last - first) / (high - low)
    worst = max(abs(watts - first - slope * (duty - low)) / last for duty, watts in points)
    text = ", ".join(f"{100 * duty:.0f} %: {watts:.1f} W" for duty, watts in points)
    report.say(
        "linearity",
        f"{text}; deviation from linear: up to {100 * worst:.1f} % (clocks rise with load, so a few percent are usual)",
    )
    return worst


def without_a_meter(cpu_reason: str | None, gpu_reason: str | None) -> list[str]:
    """Return lines on why no meter is available, and what would provide one."""
    lines = []
    if cpu_reason is not None:
        lines += [
            f"CPU: {cpu_reason}",
            "  to measure it: a physical machine (not a virtual one) with an Intel or AMD processor, and " + GRANT,
        ]
    if gpu_reason is not None:
        lines += [
            f"GPU: {gpu_reason}",
            "  to measure it: an NVIDIA GPU, Volta or newer, whole (no MIG, no vGPU), and its driver",
        ]
    lines.append("until then energy is modelled from CPU time (~, grade E); fronts and verdicts use latency")
    return lines
