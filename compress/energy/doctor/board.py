"""Whether a board's meter can be believed: what its counter does, against instant power, at idle and under load.

    identity and cost of a call -> update period -> idle -> load: counter against integrated power, repeatability
    -> does reading faster change the count -> square waves near the update period -> linearity over load

At most three minutes; `quick` takes a third of that. The load is handed in, so that a simulator can take its place.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from compress.analysis.agreement import AGREE, TOLERABLE
from compress.analysis.joules import EVENTS, events, window_energy
from compress.energy.meters import Meter
from compress.energy.nvml import HARM, NvmlCounter
from compress.energy.profile import Profile
from compress.energy.rapl import GRANT
from compress.energy.sampler import Sampler

DUTIES = (0.25, 0.5, 0.75, 1.0)
Load = Callable[[float, float, float], None]
"""load(seconds, duty, period_s): keeps the device busy for a part `duty` of every period."""
POLL_S = 0.002
CALLS = 200
OFF_BEAT_S = 0.037  # no simple fraction of any update period


@dataclass
class Report:
    """What was found, as lines for people, and the profile that sessions use; None when the board cannot be used."""

    lines: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    profile: Profile | None = None

    def say(self, what: str, value: str, bad: str | None = None) -> None:
        """One line; `bad` says what to do about it."""
        self.lines.append(f"{'!' if bad else ' '} {what}: {value}")
        if bad:
            self.advice.append(bad)


def examine(meter: NvmlCounter, load: Load, uuid: str, driver: str, scale: float = 1.0) -> Report:
    """Examines a board. `scale` multiplies every duration: 1 takes about two minutes."""
    report = Report()
    report.say("meter", f"{meter.source}, {meter.boundary}, driver {driver}")
    call_s = cost_of_a_call(meter, report)
    step_s = _update_period(meter, report, 6 * scale)
    if step_s is None:
        return report
    meter.step_s, meter.harmed_by_reading = step_s, False  # whether that holds is among what is found out
    _state(meter, report)
    _power(meter, report, "idle", 8 * scale, time.sleep)
    busy: Callable[[float], None] = lambda seconds: load(seconds, 1.0, 1.0)  # noqa: E731
    agreement, _ = _power(meter, report, "load", 10 * scale, busy)
    repeatability = _repeatability(meter, report, 3 * scale, busy)
    harm = _reading_faster(meter, report, 4 * scale, busy)
    meter.harmed_by_reading = harm is None or abs(harm) > HARM  # not found out is not harmless
    misread = _square_waves(meter, report, 5 * scale, load, step_s)
    nonlinearity = _linearity(meter, report, 4 * scale, load)
    report.profile = Profile(
        uuid=uuid,
        driver=driver,
        name=meter.boundary,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        step_s=step_s,
        agreement=agreement,
        reading_harm=harm,
        repeatability=repeatability,
        misread=misread,
        nonlinearity=nonlinearity,
        call_s=call_s,
    )
    return report


def cost_of_a_call(meter: Meter, report: Report) -> float:
    start, busy = time.perf_counter(), time.thread_time()
    for _ in range(CALLS):
        meter.read_uj()
    spent, busy = (time.perf_counter() - start) / CALLS, (time.thread_time() - busy) / CALLS
    core = f"{1e6 * busy:.0f} us of them on the processor, {100 * busy / 0.1:.2g} % of a core at 10 Hz"
    report.say("one reading takes", f"{1e6 * spent:.0f} us ({core})")
    return spent


def _update_period(meter: Meter, report: Report, seconds: float) -> float | None:
    """95th percentile of the time between movements of the counter, read every 2 ms."""
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
            "the energy counter stands still: use another board, or check for vGPU or MIG",
        )
        return None
    most = gaps[min(len(gaps) - 1, math.ceil(0.95 * len(gaps)) - 1)]
    told = f"{1e3 * statistics.median(gaps):.0f} ms (median), 95 % within {1e3 * most:.0f} ms; {_histogram(gaps)}"
    report.say("counter moves every", told)
    return most


def _histogram(gaps: Sequence[float]) -> str:
    counts: dict[int, int] = {}
    for gap in gaps:
        counts[round(100 * gap)] = counts.get(round(100 * gap), 0) + 1
    return ", ".join(f"{10 * tens} ms: {counts[tens]}" for tens in sorted(counts))


def _state(meter: NvmlCounter, report: Report) -> None:
    state, processes = meter.state(), meter.processes()
    seen = [EVENTS[bit] for bit in EVENTS if int(state.get("events") or 0) & bit]
    report.say(
        "temperature, clocks", f"{state['temperature_c']} C, SM {state['sm_mhz']} MHz, memory {state['memory_mhz']} MHz"
    )
    if state.get("power_mw") is None:
        report.say(
            "instant power",
            "not told",
            "without field 186 nothing checks the counter: grades stay at C; update the driver",
        )
    if seen:
        report.say(
            "throttled", ", ".join(seen), "wait until the board is cool, or lift its power cap, before measuring"
        )
    if processes is not None and len(processes) > 1:
        report.say("processes", f"{len(processes)} on the board", "end the other processes: a shared board is grade D")


def _window(meter: Meter, seconds: float, busy: Callable[[float], None], close: bool = False) -> Any:
    """Energy of one window of a load that runs on at both edges; `close` reads every 2 ms all along."""
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
    """Counter over integrated instant power minus 1, and mean watts."""
    energy, lasted, samples = _window(meter, seconds, busy)
    if energy.joules is None:
        report.say(f"power at {what}", f"not measured: {energy.reason}", "look at the reason above; run doctor again")
        return None, None
    watts = energy.joules / lasted
    if energy.integrated_j is None:
        report.say(f"power at {what}", f"{watts:.1f} W by the counter")
        return None, watts
    apart = energy.joules / energy.integrated_j - 1
    bad = None
    if what == "load" and abs(apart) > AGREE:
        grade = "C" if abs(apart) <= TOLERABLE else "D"
        bad = f"counter and instant power differ by {100 * apart:+.1f} % under load: energy here is of grade {grade}"
    report.say(
        f"power at {what}", f"{watts:.1f} W by the counter, {100 * apart:+.1f} % from integrated instant power", bad
    )
    seen = events(samples, samples[0].time_ns, samples[-1].time_ns)
    named = [EVENTS[bit] for bit in EVENTS if seen & bit]
    if named and what == "load":
        report.say("under load", ", ".join(named), "the board throttles under load: clocks will wander")
    return apart, watts


def _repeatability(meter: Meter, report: Report, seconds: float, busy: Callable[[float], None]) -> float | None:
    watts = []
    for _ in range(5):
        energy, lasted, _ = _window(meter, seconds, busy)
        if energy.joules is not None:
            watts.append(energy.joules / lasted)
    if len(watts) < 3:
        return None
    spread = statistics.stdev(watts) / statistics.mean(watts)
    bad = "equal loads differ by over 1 %: more rounds, or a quieter machine" if spread > 0.01 else None
    report.say("repeatability", f"cv {100 * spread:.2f} % over {len(watts)} equal loads", bad)
    return spread


def _reading_faster(meter: Meter, report: Report, seconds: float, busy: Callable[[float], None]) -> float | None:
    """Whether reading every 2 ms changes what the counter counts."""
    slow: list[float] = []
    fast: list[float] = []
    for _ in range(2):
        for close, into in ((False, slow), (True, fast)):
            energy, lasted, _ = _window(meter, seconds, busy, close)
            if energy.joules is not None:
                into.append(energy.joules / lasted)
    if not slow or not fast:
        return None
    harm = statistics.mean(fast) / statistics.mean(slow) - 1
    bad = (
        "reading the counter often changes it on this board; nothing to do: sessions read at 10 Hz"
        if abs(harm) > AGREE
        else None
    )
    report.say("reading every 2 ms instead of 100", f"{100 * harm:+.1f} % of power", bad)
    return harm


def _at(load: Load, duty: float, period_s: float) -> Callable[[float], None]:
    return lambda seconds: load(seconds, duty, period_s)


def _square_waves(meter: Meter, report: Report, seconds: float, load: Load, step_s: float) -> float | None:
    """Loads that beat with the update period: a counter that looks at only part of it is fooled by them."""
    found = []
    for factor in (0.75, 1.0, 1.25):
        period = factor * step_s
        energy, lasted, _ = _window(meter, seconds, _at(load, 0.5, period))
        if energy.joules is not None:
            found.append(energy.joules / lasted)
    if len(found) < 2:
        return None
    spread = (max(found) - min(found)) / statistics.mean(found)
    bad = None
    if spread > TOLERABLE:
        bad = (
            "loads that beat with the update period are misread by over 5 %: the counter sees only part of each period"
        )
    report.say("square waves at 0.75, 1 and 1.25 update periods", f"{100 * spread:.1f} % apart", bad)
    return spread


def _linearity(meter: Meter, report: Report, seconds: float, load: Load) -> float | None:
    """Mean power over duty, against the straight line from the lowest to the highest."""
    found = []
    for duty in DUTIES:
        energy, lasted, _ = _window(meter, seconds, _at(load, duty, OFF_BEAT_S))
        if energy.joules is None:
            return None
        found.append((duty, energy.joules / lasted))
    return say_linearity(report, found)


def say_linearity(report: Report, found: Sequence[tuple[float, float]]) -> float:
    """One line on (duty, watts): how far they are from a straight line from the first to the last, relative."""
    (low, first), (high, last) = found[0], found[-1]
    slope = (last - first) / (high - low)
    worst = max(abs(watts - first - slope * (duty - low)) / last for duty, watts in found)
    told = ", ".join(f"{100 * duty:.0f} %: {watts:.1f} W" for duty, watts in found)
    report.say(
        "linearity",
        f"{told}; at most {100 * worst:.1f} % from a line (clocks rise with load, so a few percent are usual)",
    )
    return worst


def without_a_meter(cpu_reason: str | None, gpu_reason: str | None) -> list[str]:
    """What is missing here, and what would give a meter."""
    lines = []
    if cpu_reason is not None:
        lines += [
            f"CPU: {cpu_reason}",
            "  what would give one: a machine of your own (not a virtual one) with an Intel or AMD processor, and "
            + GRANT,
        ]
    if gpu_reason is not None:
        lines += [
            f"GPU: {gpu_reason}",
            "  what would give one: an NVIDIA GPU, Volta or newer, whole (no MIG, no vGPU), and its driver",
        ]
    lines.append("until then energy is modelled from CPU time (~, grade E), and fronts and verdicts go by latency")
    return lines
