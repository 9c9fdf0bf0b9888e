"""Disturbances of a window: what else ran meanwhile, read at both edges, and the limits beyond which it is repeated.

The limits never look at the latency or the energy of a window. Reading takes about 0.1 ms before and after a window.
"""

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from operator import or_
from pathlib import Path
from statistics import quantiles

from compress.analysis.full_speed import FullSpeed, full_speed
from compress.analysis.joules import HARD
from compress.base.devices import foreign_cpu_s, stolen_cpu_s
from compress.records.sample import Sample
from compress.records.window import Disturbance, Window

TICK_S = 0.01
"""Resolution of the kernel's CPU times."""
LISTED = 16  # cores whose frequency is read: more would take longer than a millisecond


@dataclass(frozen=True)
class Reading:
    """Counters of the system at one moment. None: not reported."""

    stolen_s: float | None
    foreign_s: float | None
    switches: int


def reading() -> Reading:
    """Return the counters now."""
    return Reading(stolen_cpu_s(), foreign_cpu_s(), resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def between(before: Reading, after: Reading) -> Disturbance:
    """Return the disturbance of the CPU between two readings, with the CPU frequency now."""
    return Disturbance(
        stolen_ns=_passed_ns(before.stolen_s, after.stolen_s),
        foreign_ns=_passed_ns(before.foreign_s, after.foreign_s),
        switches=after.switches - before.switches,
        cpu_khz=cpu_khz(),
    )


def _passed_ns(before_s: float | None, after_s: float | None) -> int | None:
    """Return the nanoseconds between two counts; 0 where the ticks of one's own process ran ahead of the system's."""
    return None if before_s is None or after_s is None else max(0, round(1e9 * (after_s - before_s)))


def cpu_khz(root: Path = Path("/sys/devices/system/cpu")) -> int | None:
    """Return the mean frequency of the first cores in kHz; None if the system does not report it."""
    values = [int(text) for file in _frequency_files(root) if (text := file.read_text().strip()).isdigit()]
    return round(sum(values) / len(values)) if values else None


@cache
def _frequency_files(root: Path) -> Sequence[Path]:
    return sorted(root.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))[:LISTED]


def with_device(window: Window, samples: Sequence[Sample]) -> Window:
    """Return a window with the mean GPU clock and the reasons for reduced clocks, from the meter's samples in it."""
    inside = [sample for sample in samples if window.started_ns <= sample.time_ns <= window.ended_ns]
    clocks = [sample.sm_mhz for sample in inside if sample.sm_mhz is not None]
    reasons = [sample.events for sample in inside if sample.events is not None]
    disturbance = replace(
        window.disturbance,
        device_mhz=round(sum(clocks) / len(clocks)) if clocks else None,
        device_events=reduce(or_, reasons) if reasons else None,
    )
    return replace(window, disturbance=disturbance)


@dataclass(frozen=True)
class Usual:
    """What a window is compared with. None: not reported, or not known yet."""

    cpu_khz: int | None = None
    """Highest CPU frequency of the runner's windows so far."""
    device_mhz: int | None = None
    """Highest GPU clock of the runner's windows so far."""
    full_speed: FullSpeed | None = None
    """Speed of the processor in all windows so far."""
    switches_per_s: float = 0.0
    """Involuntary switches by the system itself: the lower quartile of all windows so far, of eight or more."""


UNKNOWN = Usual()
KNOWN_FROM = 8  # windows


def usual(own: Sequence[Window], everyone: Sequence[Window]) -> Usual:
    """Return what the next window of a runner is compared with: its own windows so far, and those of all runners."""
    seen = [window.disturbance for window in own]
    rates = [w.disturbance.switches / w.duration_s for w in everyone if w.disturbance.switches is not None]
    return Usual(
        cpu_khz=max((d.cpu_khz for d in seen if d.cpu_khz is not None), default=None),
        device_mhz=max((d.device_mhz for d in seen if d.device_mhz is not None), default=None),
        full_speed=full_speed(everyone),
        switches_per_s=quantiles(rates, n=4)[0] if len(rates) >= KNOWN_FROM else 0.0,
    )


@dataclass(frozen=True)
class Limit:
    """A limit of one kind of disturbance, and the reason for it."""

    value: Callable[[Window, Usual], float | None]
    """Value of a window, given what is usual; None if it is not reported."""
    most: float
    reason: str


def _core_share(nanoseconds: int | None, window: Window) -> float | None:
    """Return CPU time as a share of all cores, less the two ticks by which two readings can be wrong."""
    if nanoseconds is None:
        return None
    return max(0.0, nanoseconds / 1e9 - 2 * TICK_S) / window.duration_s / (os.cpu_count() or 1)


def _beyond(switches: int | None, usual_per_s: float, window: Window) -> float | None:
    return None if switches is None else max(0.0, switches / window.duration_s - usual_per_s)


def _shortfall(now: int | None, highest: int | None) -> float | None:
    return None if now is None or not highest else 1 - now / highest


LIMITS: Mapping[str, Limit] = {
    "steal": Limit(
        lambda w, _: _core_share(w.disturbance.stolen_ns, w),
        0.05,
        "a tenth of one of two cores moves a latency by several percent",
    ),
    "other processes": Limit(
        lambda w, _: _core_share(w.disturbance.foreign_ns, w), 0.05, "the same; on many cores few of them run a model"
    ),
    "involuntary switches": Limit(
        lambda w, now: _beyond(w.disturbance.switches, now.switches_per_s, w),
        50.0,
        "per second above the usual: each lets another process run for about 3 ms, together 15 % of a core",
    ),
    "CPU frequency": Limit(
        lambda w, now: _shortfall(w.disturbance.cpu_khz, now.cpu_khz), 0.1, "below the runner's highest"
    ),
    "processor speed": Limit(
        lambda w, now: None if now.full_speed is None else now.full_speed.severity(w),
        1.0,
        "below the highest of all windows by 10 %, or the noise: shared cores, or cores far apart, take 15 to 50 %",
    ),
    "GPU clock": Limit(
        lambda w, now: _shortfall(w.disturbance.device_mhz, now.device_mhz), 0.1, "below the runner's highest"
    ),
    "GPU processes": Limit(lambda w, _: w.disturbance.device_processes, 0.5, "any other process competes"),
    "GPU throttling": Limit(
        lambda w, _: float(bool((w.disturbance.device_events or 0) & HARD)), 0.5, "any protective slowdown"
    ),
}
"""Kind of disturbance -> its limit."""


def severity(window: Window, now: Usual = UNKNOWN) -> float:
    """Return the largest value of a window in units of its limit: above 1 the window is disturbed."""
    values = ((limit.value(window, now), limit.most) for limit in LIMITS.values())
    return max((value / most for value, most in values if value is not None), default=0.0)


def least_disturbed(attempts: Sequence[Window], now: Usual = UNKNOWN) -> Window:
    """Return the attempt of the lowest severity; the last of equals, so that one within the limits is the last."""
    return min(reversed(attempts), key=lambda window: severity(window, now))


@dataclass(frozen=True)
class Allowance:
    """How often disturbed windows are repeated at most."""

    in_a_row: int
    """Repeats without an undisturbed window between them: what lasts longer is no burst, and repeating is no help."""
    share: float
    """Share of all windows that are repeats."""

    def permits(self, disturbed: int, repeats: int, windows: int, quiet: int) -> bool:
        """Return whether a window may be repeated: the last of so many `disturbed` ones in a row.

        `repeats` and `quiet` (undisturbed) windows are those so far, among `windows` in total. Where less than a
        quarter was quiet, the load is no burst.
        """
        helps = windows < TRIED or quiet >= LEAST_QUIET * windows
        return helps and disturbed <= self.in_a_row and repeats + 1 <= self.share * (windows + 1)


LEAST_QUIET, TRIED = 0.25, 20  # share of the windows, and the windows after which it is looked at
FIXED_ROUNDS = Allowance(2, 0.25)
UNTIL_PRECISE = Allowance(20, 0.6)
"""Repeats cost rounds there, but no time. 20 windows of `quick` outlast bursts of 5 s; beside bursts that take half of
the time, somewhat over half of all windows are disturbed."""


def allowance(precision: float | None) -> Allowance:
    """Return the repeats that are allowed where rounds end by this precision, or after a fixed number."""
    return FIXED_ROUNDS if precision is None else UNTIL_PRECISE
