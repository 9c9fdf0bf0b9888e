"""Energy of any block of code or any command, with the same honesty as a recipe's.

    with compress.energy.meter() as spent:
        work()
    print(spent)

Load does not run on after an arbitrary block, so a counter that moves in steps is read off at its movements before and
after it, idling in between is taken off, and what was surely counted bounds what the block can have used.
"""

import itertools
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from compress.analysis.agreement import AGREE, WINDOW_S, agreement
from compress.analysis.joules import (
    EVENTS,
    FELL_BACK,
    GAIN,
    HARD,
    UNCERTAINTY_FACTOR,
    by_board,
    counted_j,
    events,
    integrated_power,
    movements,
)
from compress.base.console import beating, duration, interactive
from compress.base.devices import foreign_cpu_s
from compress.base.interrupts import handed_on
from compress.energy import modelled
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Gpu, Meter, MeterError
from compress.energy.sampler import Sampler, facts, idle_w
from compress.records.result import Grade
from compress.records.sample import Sample

IDLE_S = 2.0
BUSY = 0.1  # cores of others that show in a processor's energy
FINE_STEP_S = 0.001  # RAPL's counters move about every millisecond


@dataclass
class Spent:
    """What a block used; complete once it has ended. Unknown energy is None with a reason."""

    seconds: float = 0.0
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    source: str | None = None
    boundary: str | None = None
    reason: str | None = None
    grade: Grade | None = None
    """As a recipe's, but for what takes rounds to see: B both sources agree, C one source or short, D disturbed, E
    modelled."""
    grade_reasons: tuple[str, ...] = ()
    idle_w: float | None = None
    """Watts before the block, when nothing of it ran."""
    gain: float | None = None
    """Relative error of a board's own meter, beside the bounds."""

    @property
    def net_j(self) -> float | None:
        """Joules beyond what idling as long would have used."""
        if self.energy_j is None or self.idle_w is None:
            return None
        return self.energy_j - self.idle_w * self.seconds

    def __str__(self) -> str:
        if self.energy_j is None or self.low_j is None or self.high_j is None:
            return f"{self.seconds:.3g} s; energy not known: {self.reason}"
        mark = "~" if self.source == "modelled" else ""
        digits = 2 if mark else 4
        said = (
            f"{self.seconds:.3g} s; {mark}{self.energy_j:.{digits}g} J "
            f"({self.low_j:.{digits}g} to {self.high_j:.{digits}g}), {self.source}: {self.boundary}"
        )
        if self.net_j is not None and self.idle_w is not None:
            said += f"; {self.net_j:.4g} J beyond idling at {self.idle_w:.3g} W"
        if self.gain is not None:
            said += f"; the board's own error of up to {100 * self.gain:g} % comes beside that"
        why = f" ({'; '.join(self.grade_reasons)})" if self.grade_reasons else ""
        return said + (f"; {self.reason}" if self.reason else "") + f"; grade {self.grade}{why}"


@contextmanager
def meter(device: str = "auto") -> Iterator[Spent]:
    """Meters the block on the meter of `auto`, `cpu`, `cuda`, `cuda:N` or several such. Child processes count too."""
    with metered(command_meter(device)) as spent:
        yield spent


@contextmanager
def metered(found: Meter | Absent) -> Iterator[Spent]:
    """The same on a meter at hand."""
    _finish_queued()
    there, ours = _processes(found), holds_gpu()
    idle = [None] if isinstance(found, Absent) else [idle_w(board, IDLE_S) for board in found.boards]
    known = [watts for watts in idle if watts is not None]
    spent = Spent(idle_w=math.fsum(known) if len(known) == len(idle) else None)
    stated = facts(found)
    spent.source, spent.boundary = stated.source, stated.boundary
    spent.gain = GAIN if spent.source == "nvml" else None
    with Sampler(found, sparing=False) as sampler:  # bounds come from movements inside the block
        _wait_for_movement(sampler)
        _finish_queued()
        foreign = foreign_cpu_s()
        start_uj = _read(found, spent)
        start = time.monotonic_ns()
        try:
            yield spent
        finally:
            _finish_queued()
            end = time.monotonic_ns()
            end_uj = _read(found, spent)
            foreign = None if foreign is None else max(0.0, (foreign_cpu_s() or 0.0) - foreign)
            _wait_for_movement(sampler)
            spent.seconds = (end - start) / 1e9
    if isinstance(found, Absent):
        spent.reason = found.reason
    elif found.step_s is not None:
        parts = by_board(sampler.samples)
        for samples, watts in zip(parts, idle if len(parts) == len(idle) else [None] * len(parts), strict=True):
            _add(spent, samples, start, end, watts or 0.0, sampler.error)
    elif spent.reason is None:
        joules, spent.reason = counted_j(start_uj, end_uj, spent.seconds, None, found.measured)
        if joules is not None and found.measured:
            edges = 2 * FINE_STEP_S / spent.seconds
            spent.energy_j, spent.low_j, spent.high_j = joules, joules * max(0.0, 1 - edges), joules * (1 + edges)
        elif joules is not None:
            factor = UNCERTAINTY_FACTOR
            spent.energy_j, spent.low_j, spent.high_j = joules, joules / factor, joules * factor
            spent.reason = f"modelled from CPU time, {stated.basis}: {stated.why_modelled}"
    if spent.energy_j is not None:
        beside = _beside(found, there, ours) if spent.source == "nvml" else _beside_cpu(foreign, spent.seconds)
        spent.grade, spent.grade_reasons = _graded(spent, found, sampler.samples, start, end, beside)


def _processes(found: Meter | Absent) -> tuple[int, ...] | None:
    return None if isinstance(found, Absent) else found.processes()


def _beside(found: Meter | Absent, before: tuple[int, ...] | None, ours: bool) -> list[tuple[Grade, str]]:
    """Who else was on the device before the block began; who came since may be the block's own.

    `ours`: whether this process used it then.
    """
    after = _processes(found)
    if before is None or after is None:
        return [("C", "other processes on the device cannot be told from here (a container?)")]
    own = os.getpid() in before or ours  # in a container this process has another number there
    others = len(before) - own
    return [("D", f"{others} other process{'es' if others > 1 else ''} on the device")] if others > 0 else []


def _beside_cpu(foreign_s: float | None, seconds: float) -> list[tuple[Grade, str]]:
    if foreign_s is None:
        return [("C", "other processes' use of the processor cannot be told")]
    cores = foreign_s / seconds
    return [("D", f"other processes, or children still running, kept {cores:.1f} cores busy")] if cores > BUSY else []


def _graded(
    spent: Spent,
    found: Meter | Absent,
    samples: Sequence[Sample],
    start: int,
    end: int,
    beside: list[tuple[Grade, str]],
) -> tuple[Grade, tuple[str, ...]]:
    """The grade of a block's joules and what lowers it."""
    if spent.source == "modelled":
        return "E", ()
    lowered = [*beside]
    integrated = [integrated_power(part, start, end) for part in by_board(samples)]
    known = [joules for joules in integrated if joules is not None]
    if (not isinstance(found, Absent) and found.integrated) or not known or len(known) < len(integrated):
        lowered.append(("C", "one source only, without a second one to check it"))
    elif (apart := agreement([spent.energy_j or 0.0], known)) is not None:
        lowered.append(apart)
    if spent.seconds < WINDOW_S:
        lowered.append(("C", f"{spent.seconds:.2g} s; grade B takes {WINDOW_S:g} s"))
    if spent.energy_j and ((spent.high_j or 0.0) - (spent.low_j or 0.0)) / spent.energy_j > 2 * AGREE:
        lowered.append(("C", "the counter's movements at the edges leave over 2 % open"))
    seen = events(samples, start, end)
    lowered += [("D", f"the device throttled: {EVENTS[bit]}") for bit in EVENTS if seen & bit & HARD]
    if spent.source == "nvml" and not any(s.events is not None for s in samples):
        lowered.append(("C", "the driver does not tell whether the device throttled"))
    marks: list[Grade] = ["B", *(mark for mark, _ in lowered)]
    return max(marks), tuple(why for _, why in lowered)


def command_meter(device: str) -> Meter | Absent:
    """The meter of a device, or of several; on a CPU without one, the CPU time of this process and its children."""
    if device == "cpu":
        found = find_meter("cpu")
    else:
        from compress.base.devices import identity, pick_all

        picked = pick_all(device)
        gpus = [identity(each) for each in picked if each.type == "cuda"]
        found = find_meter(picked[0].type, [Gpu(**gpu) for gpu in gpus])
    return WithChildren(found.why_modelled) if isinstance(found, modelled.CpuTime) else found


def run(command: Sequence[str], found: Meter | Absent) -> tuple[int, Spent]:
    """Exit code of a command (128 + N after signal N), and what it used.

    Raises FileNotFoundError or PermissionError when it cannot start.
    """
    said = nullcontext() if interactive() else beating(lambda passed_s: f"{command[0]}: {duration(passed_s)} so far")
    with metered(found) as spent, said, subprocess.Popen(command) as child, handed_on(child):
        code = child.wait()
    return code if code >= 0 else 128 - code, spent


def _finish_queued() -> None:
    """Waits until the GPUs have done what this process queued: it belongs to the block it was queued in."""
    for index in _used_gpus():
        sys.modules["torch"].cuda.synchronize(index)


def _used_gpus() -> list[int]:
    """The GPUs on which this process holds memory; to ask one of the others would open it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]


def holds_gpu() -> bool:
    """Whether the driver lists this process: it has a context on a GPU. To have asked for its properties makes none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    has_context = getattr(torch._C, "_cuda_hasPrimaryContext", lambda _: True)
    return any(has_context(index) for index in range(torch.cuda.device_count()))


def _read(found: Meter | Absent, spent: Spent) -> int | None:
    try:
        return None if isinstance(found, Absent) else found.read_uj()
    except MeterError as error:
        spent.reason = str(error)
        return None


def _wait_for_movement(sampler: Sampler) -> None:
    sampler.near_edge()
    time.sleep(sampler.edge_s)


def _add(spent: Spent, samples: Sequence[Sample], start: int, end: int, idle: float, error: str | None) -> None:
    """Adds a board's joules from its counter's movement before the block to the one after it, less idling in between.

    The bounds need no idle power: what was surely counted inside, and what was surely counted from before to after.
    """
    found = movements(samples)
    counts = [m.counter_uj for m in found]
    before = [m for m in found if m.time_ns + m.within_ns / 2 <= start]
    after = [m for m in found if m.time_ns - m.within_ns / 2 >= end]
    if any(b < a for a, b in itertools.pairwise(counts)):
        spent.reason = FELL_BACK
    elif not before or not after:
        spent.reason = error or "the energy counter did not move before and after the block"
    if spent.reason:
        spent.energy_j = spent.low_j = spent.high_j = None
        return
    first, last = min(before, key=lambda m: m.within_ns), after[0]
    high = (last.counter_uj - before[-1].counter_uj) / 1e6
    begun = [m.counter_uj for m in found if m.time_ns - m.within_ns / 2 >= start]
    ended = [m.counter_uj for m in found if m.time_ns + m.within_ns / 2 <= end]
    low = max(0.0, (ended[-1] - begun[0]) / 1e6)
    outside_s = (start - first.time_ns + last.time_ns - end) / 1e9
    energy = min(max((last.counter_uj - first.counter_uj) / 1e6 - idle * outside_s, low), high)
    spent.energy_j, spent.low_j, spent.high_j = (
        (known or 0.0) + more
        for known, more in zip((spent.energy_j, spent.low_j, spent.high_j), (energy, low, high), strict=True)
    )


class WithChildren(modelled.CpuTime):
    """CPU time of this process and of its children that have ended."""

    boundary = "CPU time of this process and its children"

    def read_uj(self) -> int:
        """CPU time so far times watts per core."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return super().read_uj() + round(1e6 * (used.ru_utime + used.ru_stime) * self.watts_per_core)
