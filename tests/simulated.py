"""Whole sessions on a simulated board and a clock of its own: what a real session's process would hand over."""

import bisect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress.energy import nvml, sampler
from compress.energy.meters import Absent, Gpu, Meter, MeterError
from compress.energy.sampler import NEAR_EDGE_S, PERIOD_S, Sampler, facts
from compress.records.sample import Sample
from compress.records.session import Idle, IdleTime, JudgedBy, Runner, RunnerPoint, Session, Shape
from compress.records.window import Window
from tests.simulator import Board, Simulator
from tests.virtual_time import VirtualTime

START_S = 1000.0
IDLE_W = 80.0
PREROLL_S = 0.5


@dataclass(frozen=True)
class Load:
    """What a runner does to the board: watts while it runs, seconds per batch; noise and growth of watts per round."""

    watts: float
    batch_s: float
    noise: float = 0.0
    growth: float = 0.0


class Clock:
    """A clock that moves when told."""

    def __init__(self, now: float = START_S):
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Timeline:
    """True watts over time, as pieces."""

    starts: list[float]
    watts: list[float]

    def __call__(self, now: float) -> float:
        index = bisect.bisect_right(self.starts, now) - 1
        return self.watts[index] if index >= 0 else IDLE_W


def slow_reads(monkeypatch: Any, clock: VirtualTime, meter: Meter) -> list[float]:
    """Make each reading of the meter as slow as on an H200 in a virtual machine; return [processor seconds spent]."""
    spent, read = [0.0], meter.read_uj

    def slowly() -> int:
        clock.sleep(0.0042)
        spent[0] += 0.0034
        return read()

    monkeypatch.setattr(meter, "read_uj", slowly)
    monkeypatch.setattr(sampler.time, "thread_time", lambda: spent[0])
    return spent


def window_of(clock: VirtualTime, meter: Meter, seconds: float) -> tuple[Sampler, int, int]:
    """A window on a board: the sampler whose thread watched it and its two edges in nanoseconds."""
    with Sampler(meter) as sampler:
        sampler.near_edge()
        clock.sleep(sampler.edge_s)
        start = clock.monotonic_ns()
        clock.sleep(seconds)
        end = clock.monotonic_ns()
        sampler.near_edge()
        clock.sleep(sampler.edge_s)
    return sampler, start, end


def session(
    monkeypatch: Any,
    loads: Mapping[str, Load],
    *,
    rounds: int = 6,
    window_s: float = 5.0,
    seed: int = 0,
    foreign: int | None = 0,
    faults: Mapping[str, int] | None = None,
    **board: Any,
) -> Session:
    """A session over these runners (batch size 1), with what `Raw` needs to judge it.

    Keywords are the board's. The first runner is the reference.
    """
    draw, clock = random.Random(seed), Clock()
    timeline = Timeline([START_S - 10], [IDLE_W])
    made = Board("GPU-a", watts=timeline, **board)
    simulator = Simulator([made], clock)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", simulator)
    edge_s = 2 * nvml.STEP_S
    windows: dict[str, list[Window]] = {name: [] for name in loads}
    edges: list[tuple[float, float]] = []
    now = START_S + 1.0
    for index in range(rounds):
        for order, name in enumerate(draw.sample(list(loads), len(loads))):
            load = loads[name]
            factor = 1 + load.noise * draw.gauss(0, 1) + load.growth * index
            timeline.starts.append(now)
            timeline.watts.append(load.watts * factor)
            now += PREROLL_S + draw.random() * nvml.STEP_S  # a phase that the board does not know
            batches = max(2, round(window_s / load.batch_s))
            start, end = now + edge_s, now + edge_s + batches * load.batch_s
            edges += [(now, start), (end, end + edge_s)]
            start_ns, end_ns, each = round(start * 1e9), round(end * 1e9), round(load.batch_s * 1e9)
            windows[name].append(Window(start_ns, end_ns, (each,) * batches, 0, None, None, index, order))
            now = end + edge_s
    timeline.starts.append(now)
    timeline.watts.append(IDLE_W)
    meter = nvml.find(Gpu("a"))
    simulator.faults.update(faults or {})
    samples, error = ([], None) if isinstance(meter, Absent) else _sampled(meter, clock, edges, now + 0.5)
    reference = next(iter(loads))
    return Session(
        runners=tuple(_runner(name, windows[name]) for name in loads),
        meter=replace(facts(meter), sampling_error=error, sampling_cpu_s=0.0),
        idle=Idle(loaded=_idle()),
        foreign_processes=foreign,
        samples=tuple(samples),
        judged_by=JudgedBy((reference,), reference, "accuracy", seed),
    )


def with_outcomes(session: Session, outcomes: Mapping[str, Mapping[str, Sequence[float]]]) -> Session:
    """The session with other outcomes of these runners."""
    runners = (replace(each, outcomes=outcomes.get(each.name, each.outcomes)) for each in session.runners)
    return replace(session, runners=tuple(runners))


def with_points(session: Session, change: Callable[[Runner, RunnerPoint], RunnerPoint]) -> Session:
    """The session with every point of every runner changed."""
    runners = (replace(r, points=tuple(change(r, point) for point in r.points)) for r in session.runners)
    return replace(session, runners=tuple(runners))


def _idle() -> IdleTime:
    """Two seconds at idle power, read every 100 ms."""
    samples = tuple(Sample(i * 10**8, 0, round(IDLE_W * i * 1e5)) for i in range(31))
    return IdleTime(5 * 10**8, 25 * 10**8, 0, 0, samples)


def _sampled(
    meter: nvml.NvmlCounter, clock: Clock, edges: Sequence[tuple[float, float]], end: float
) -> tuple[list[Sample], str | None]:
    """Samples at 10 Hz, closely near every edge until the counter has moved, as the sampler's thread takes them."""
    samples: list[Sample] = []
    done: set[float] = set()
    while clock.now < end:
        near = next((e for e in edges if e[0] <= clock.now < e[1] and e[0] not in done), None)
        try:
            counter = meter.read_uj()
        except MeterError as error:
            return samples, str(error)
        moved = bool(samples) and samples[-1].counter_uj != counter
        close = bool(samples) and clock.now * 1e9 - samples[-1].time_ns < 2e9 * NEAR_EDGE_S
        samples.append(Sample(round(clock.now * 1e9), 0, counter, **meter.state()))
        if near is not None and moved and close:
            done.add(near[0])
            near = None
        coming = min((e[0] for e in edges if e[0] > clock.now), default=end)
        clock.now = clock.now + NEAR_EDGE_S if near else min(clock.now + PERIOD_S, coming)
    return samples, None


def _runner(name: str, windows: Sequence[Window]) -> Runner:
    point = RunnerPoint(Shape(1, 64), tuple(windows), steady=True, foreign_cores=0.0)
    outcomes = {"prediction": [0.0, 1.0, 1.0, 0.0], "reference": [0.0, 1.0, 0.0, 0.0]}
    return Runner(name, outcomes, True, 1, "by length", None, (point,))
