"""Energy of any block of code or any command, with bounds and a grade like a recipe's.

    with compress.energy.meter() as spent:
        work()
    print(spent)

An arbitrary block has no load that continues past its edges. So a counter that moves in steps is read at its movements
before and after the block, and idle energy outside the block is subtracted. Movements inside and around the block
give the bounds.
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
from compress.base.device import AUTO, Device
from compress.base.devices import foreign_cpu_s, identity, pick, torch_devices
from compress.base.interrupts import handed_on
from compress.energy import modelled
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Gpu, Meter, MeterError
from compress.energy.sampler import Sampler, facts, idle_w
from compress.records.result import Grade
from compress.records.sample import Sample

IDLE_S = 2.0
BUSY = 0.1  # busy cores of other processes that are visible in the CPU's energy
FINE_STEP_S = 0.001  # RAPL's counters move about every millisecond


@dataclass
class Spent:
    """Time and energy of a block, complete once it has ended. Unknown energy is None with a reason."""

    seconds: float = 0.0
    energy_j: float | None = None
    low_j: float | None = None
    high_j: float | None = None
    source: str | None = None
    boundary: str | None = None
    reason: str | None = None
    grade: Grade | None = None
    """As a recipe's, without the checks that need rounds: B both sources agree, C one source or short, D disturbed, E
    modelled."""
    grade_reasons: tuple[str, ...] = ()
    idle_w: float | None = None
    """Idle power in watts, measured before the block."""
    gain: float | None = None
    """Relative error of a board's own meter, not included in the bounds."""

    @property
    def net_j(self) -> float | None:
        """Joules beyond those of idling for the same time."""
        if self.energy_j is None or self.idle_w is None:
            return None
        return self.energy_j - self.idle_w * self.seconds

    def __str__(self) -> str:
        if self.energy_j is None or self.low_j is None or self.high_j is None:
            return f"{self.seconds:.3g} s; energy unknown: {self.reason}"
        prefix = "~" if self.source == "modelled" else ""
        digits = 2 if prefix else 4
        text = (
            f"{self.seconds:.3g} s; {prefix}{self.energy_j:.{digits}g} J "
            f"({self.low_j:.{digits}g} to {self.high_j:.{digits}g}), {self.source}: {self.boundary}"
        )
        if self.net_j is not None and self.idle_w is not None:
            text += f"; {self.net_j:.4g} J beyond idling at {self.idle_w:.3g} W"
        if self.gain is not None:
            text += f"; in addition, the board's own error of up to {100 * self.gain:g} %"
        reasons = f" ({'; '.join(self.grade_reasons)})" if self.grade_reasons else ""
        return text + (f"; {self.reason}" if self.reason else "") + f"; grade {self.grade}{reasons}"


@contextmanager
def meter(device: str | Device = AUTO) -> Iterator[Spent]:
    """Meter the block on a device such as `auto`, `cpu` or `cuda:0,cuda:1`. Child processes are included."""
    with metered(command_meter(device)) as spent:
        yield spent


@contextmanager
def metered(counter: Meter | Absent) -> Iterator[Spent]:
    """Meter the block on a given meter."""
    _finish_queued()
    pids, ours = _processes(counter), holds_gpu()
    idle = [None] if isinstance(counter, Absent) else [idle_w(board, IDLE_S) for board in counter.boards]
    known_idle = [watts for watts in idle if watts is not None]
    spent = Spent(idle_w=math.fsum(known_idle) if len(known_idle) == len(idle) else None)
    meter_facts = facts(counter)
    spent.source, spent.boundary = meter_facts.source, meter_facts.boundary
    spent.gain = GAIN if spent.source == "nvml" else None
    with Sampler(counter, sparing=False) as sampler:  # bounds come from movements inside the block
        _wait_for_movement(sampler)
        _finish_queued()
        others_s = foreign_cpu_s()
        start_uj = _read(counter, spent)
        start_ns = time.monotonic_ns()
        try:
            yield spent
        finally:
            _finish_queued()
            end_ns = time.monotonic_ns()
            end_uj = _read(counter, spent)
            others_s = None if others_s is None else max(0.0, (foreign_cpu_s() or 0.0) - others_s)
            _wait_for_movement(sampler)
            spent.seconds = (end_ns - start_ns) / 1e9
    if isinstance(counter, Absent):
        spent.reason = counter.reason
    elif counter.step_s is not None:
        boards = by_board(sampler.samples)
        for samples, watts in zip(boards, idle if len(boards) == len(idle) else [None] * len(boards), strict=True):
            _add(spent, samples, start_ns, end_ns, watts or 0.0, sampler.error)
    elif spent.reason is None:
        joules, spent.reason = counted_j(start_uj, end_uj, spent.seconds, None, counter.measured)
        if joules is not None and counter.measured:
            edge = 2 * FINE_STEP_S / spent.seconds
            spent.energy_j, spent.low_j, spent.high_j = joules, joules * max(0.0, 1 - edge), joules * (1 + edge)
        elif joules is not None:
            factor = UNCERTAINTY_FACTOR
            spent.energy_j, spent.low_j, spent.high_j = joules, joules / factor, joules * factor
            spent.reason = f"modelled from CPU time, {meter_facts.basis}: {meter_facts.why_modelled}"
    if spent.energy_j is not None:
        limits = _others_on(counter, pids, ours) if spent.source == "nvml" else _foreign_cpu(others_s, spent.seconds)
        spent.grade, spent.grade_reasons = _grade(spent, counter, sampler.samples, start_ns, end_ns, limits)


def _processes(counter: Meter | Absent) -> tuple[int, ...] | None:
    return None if isinstance(counter, Absent) else counter.processes()


def _others_on(counter: Meter | Absent, before: tuple[int, ...] | None, ours: bool) -> list[tuple[Grade, str]]:
    """Return the grade limits due to other processes on the device before the block began.

    Later ones may be the block's own. `ours`: whether this process used the device at that time.
    """
    after = _processes(counter)
    if before is None or after is None:
        return [("C", "other processes on the device are unknown (a container?)")]
    is_listed = os.getpid() in before or ours  # in a container the driver lists this process under another id
    others = len(before) - is_listed
    return [("D", f"{others} other process{'es' if others > 1 else ''} on the device")] if others > 0 else []


def _foreign_cpu(foreign_s: float | None, seconds: float) -> list[tuple[Grade, str]]:
    if foreign_s is None:
        return [("C", "other processes' use of the processor is unknown")]
    cores = foreign_s / seconds
    return [("D", f"other processes, or children still running, kept {cores:.1f} cores busy")] if cores > BUSY else []


def _grade(
    spent: Spent,
    counter: Meter | Absent,
    samples: Sequence[Sample],
    start: int,
    end: int,
    limits: list[tuple[Grade, str]],
) -> tuple[Grade, tuple[str, ...]]:
    """Return the grade of a block's joules and the reasons that lower it."""
    if spent.source == "modelled":
        return "E", ()
    lowered = [*limits]
    integrated = [integrated_power(board_samples, start, end) for board_samples in by_board(samples)]
    known = [joules for joules in integrated if joules is not None]
    if (not isinstance(counter, Absent) and counter.integrated) or not known or len(known) < len(integrated):
        lowered.append(("C", "one source only, without a second one to check it"))
    elif (disagreement := agreement([spent.energy_j or 0.0], [math.fsum(known)])) is not None:
        lowered.append(disagreement)
    if spent.seconds < WINDOW_S:
        lowered.append(("C", f"{spent.seconds:.2g} s; grade B needs {WINDOW_S:g} s"))
    if spent.energy_j and ((spent.high_j or 0.0) - (spent.low_j or 0.0)) / spent.energy_j > 2 * AGREE:
        lowered.append(("C", "the counter's steps at the edges leave an error of over 2 %"))
    event_bits = events(samples, start, end)
    lowered += [("D", f"the device throttled: {EVENTS[bit]}") for bit in EVENTS if event_bits & bit & HARD]
    if spent.source == "nvml" and not any(s.events is not None for s in samples):
        lowered.append(("C", "the driver does not report whether the device throttled"))
    grades: list[Grade] = ["B", *(grade for grade, _ in lowered)]
    return max(grades), tuple(reason for _, reason in lowered)


def command_meter(device: str | Device) -> Meter | Absent:
    """Return the meter of a device; for a CPU without one, a model of the CPU time with children."""
    picked = pick(device)
    gpus = [Gpu(**identity(board)) for board in torch_devices(picked)] if picked.on_gpu else []
    counter = find_meter(picked.kind, gpus)
    return WithChildren(counter.why_modelled) if isinstance(counter, modelled.CpuTime) else counter


def run(command: Sequence[str], counter: Meter | Absent) -> tuple[int, Spent]:
    """Run a command; return its exit code (128 + N after signal N), and its time and energy.

    Raises FileNotFoundError or PermissionError if it cannot start.
    """
    beats = nullcontext() if interactive() else beating(lambda passed_s: f"{command[0]}: {duration(passed_s)} so far")
    with metered(counter) as spent, beats, subprocess.Popen(command) as child, handed_on(child):
        code = child.wait()
    return code if code >= 0 else 128 - code, spent


def _finish_queued() -> None:
    """Wait for the GPU work that this process has queued: it belongs to the block that queued it."""
    for index in _used_gpus():
        sys.modules["torch"].cuda.synchronize(index)


def _used_gpus() -> list[int]:
    """Return the GPUs on which this process holds memory; synchronising another one would create a context there."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]


def holds_gpu() -> bool:
    """Return whether this process has a context on a GPU: then the driver lists it. Reading properties makes none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    has_context = getattr(torch._C, "_cuda_hasPrimaryContext", lambda _: True)
    return any(has_context(index) for index in range(torch.cuda.device_count()))


def _read(counter: Meter | Absent, spent: Spent) -> int | None:
    try:
        return None if isinstance(counter, Absent) else counter.read_uj()
    except MeterError as error:
        spent.reason = str(error)
        return None


def _wait_for_movement(sampler: Sampler) -> None:
    sampler.near_edge()
    time.sleep(sampler.edge_s)


def _add(spent: Spent, samples: Sequence[Sample], start: int, end: int, idle: float, error: str | None) -> None:
    """Add a board's joules between its counter's movements before and after the block, minus idle energy outside it.

    The bounds need no idle power. Low: movements certainly inside the block; high: movements certainly around it.
    """
    moves = movements(samples)
    counts = [m.counter_uj for m in moves]
    before = [m for m in moves if m.time_ns + m.within_ns / 2 <= start]
    after = [m for m in moves if m.time_ns - m.within_ns / 2 >= end]
    if any(b < a for a, b in itertools.pairwise(counts)):
        spent.reason = FELL_BACK
    elif not before or not after:
        spent.reason = error or "the energy counter did not move before and after the block"
    if spent.reason:
        spent.energy_j = spent.low_j = spent.high_j = None
        return
    first, last = min(before, key=lambda m: m.within_ns), after[0]
    high = (last.counter_uj - before[-1].counter_uj) / 1e6
    since_start = [m.counter_uj for m in moves if m.time_ns - m.within_ns / 2 >= start]
    until_end = [m.counter_uj for m in moves if m.time_ns + m.within_ns / 2 <= end]
    low = max(0.0, (until_end[-1] - since_start[0]) / 1e6)
    outside_s = (start - first.time_ns + last.time_ns - end) / 1e9
    energy = min(max((last.counter_uj - first.counter_uj) / 1e6 - idle * outside_s, low), high)
    spent.energy_j, spent.low_j, spent.high_j = (
        (total or 0.0) + part
        for total, part in zip((spent.energy_j, spent.low_j, spent.high_j), (energy, low, high), strict=True)
    )


class WithChildren(modelled.CpuTime):
    """A model from the CPU time of this process and of its children that have ended."""

    boundary = "CPU time of this process and its children"

    def read_uj(self) -> int:
        """Return the CPU time so far times watts per core, in microjoules."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return super().read_uj() + round(1e6 * (used.ru_utime + used.ru_stime) * self.watts_per_core)
