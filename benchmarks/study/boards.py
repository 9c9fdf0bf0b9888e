"""Rows on boards that measure badly.

Every window goes through the code that measures real boards (`window_energy`, `log_mean_estimate`, `paired_ratio`).
Only the board is simulated (`tests.simulator.Board`). Its counter moves every 100 ms and averages the last quarter of
each period, with a gain error within 5 %. Power varies from round to round, from period to period and within a period.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.study import SEED, Bound
from compress.analysis.joules import window_energy
from compress.energy.sampler import NEAR_EDGE_S
from compress.records import serial, stats
from compress.records.sample import Sample
from compress.records.stats import Estimate
from tests.simulator import Board

STEP_S = 0.1
GAIN = 0.05
SEEN_S = 0.025  # part of each period that the counter averages
GRAIN_S = 0.005  # true power is constant within a grain
WITHIN = 0.01  # noise of true power from period to period
FAST = 0.05  # noise from grain to grain: the part that the counter misses adds 2 % of noise per period


def samples(
    generator: np.random.Generator,
    watts: float,
    gain: float,
    start: float,
    end: float,
    phase: float | None = None,
    closely: bool = True,
) -> list[Sample]:
    """Return the sampler's readings of one window whose load draws `watts`: every 100 ms, more often near both edges.

    `closely=False`: no extra readings near the edges, as on a board that `doctor` has not examined.
    """
    first, last = start - 0.6 - generator.uniform(0, STEP_S), end + 0.6
    origin = first - 1
    grains = round((last + 1 - origin) / GRAIN_S)
    slow = np.repeat(generator.standard_normal(grains // 20 + 1), 20)[:grains]
    power = (watts * (1 + WITHIN * slow + FAST * generator.standard_normal(grains))).tolist()
    board = Board(
        "GPU-a",
        watts=lambda now: power[max(0, int((now - origin) / GRAIN_S))],
        period_s=STEP_S,
        averaged_s=SEEN_S,
        gain=gain,
        phase_s=generator.uniform(0, STEP_S) if phase is None else phase,
    )
    moves = board.phase_s + STEP_S * np.arange(board.moves(origin + STEP_S) + 1, board.moves(last) + 1)
    counter = np.array([1000 * board.counter_mj(at + STEP_S / 2) for at in moves.tolist()])  # uJ
    close = [np.arange(edge, edge + 2 * STEP_S, NEAR_EDGE_S) for edge in (start - 2 * STEP_S, end)]
    times = np.unique(np.concatenate([np.arange(first, last, STEP_S), *(close if closely else [])]))
    index = np.searchsorted(moves, times, side="right") - 1
    return [
        Sample(int(t), counter_uj=int(c))
        for t, c in zip(np.round(times * 1e9).astype(np.int64), counter[index], strict=True)
    ]


def session(
    generator: np.random.Generator,
    watts: tuple[float, ...],
    rounds: int,
    window_s: float,
    cv: float,
    closely: bool = True,
) -> tuple[float, list[list[float]]]:
    """Return (gain of the board, joules of every runner per round). Runners share part of a round's noise."""
    gain = 1 + GAIN * generator.uniform(-1, 1)
    joules: list[list[float]] = [[] for _ in watts]
    for _ in range(rounds):
        shared = 0.02 * generator.standard_normal()  # temperature, voltage: cancels in paired ratios
        for runner_joules, mean_watts in zip(joules, watts, strict=True):
            load_watts = mean_watts * math.exp(shared + cv * generator.standard_normal())
            start = 10 + generator.uniform(0, STEP_S)
            energy = window_energy(
                samples(generator, load_watts, gain, start, start + window_s, closely=closely),
                round(start * 1e9),
                round((start + window_s) * 1e9),
                STEP_S,
            )
            assert energy.joules is not None, energy.reason
            runner_joules.append(energy.joules)
    return gain, joules


def coverage(sessions: int) -> Iterator[Bound]:
    """Yield coverage of ratios and of absolute energy at 6 rounds of 5 s, with the width that it takes."""
    generator = np.random.default_rng(SEED)
    covered = {"ratio": 0, "board": 0, "true": 0, "unexamined": 0}
    widths, plain_widths = 0.0, 0.0
    true_ratio, window_s, rounds = 200 / 300, 5.0, 6
    for _ in range(sessions):
        gain, joules = session(generator, (200.0, 300.0, 250.0), rounds, window_s, cv=0.01)
        found = ratio(joules)
        covered["ratio"] += found.low <= true_ratio <= found.high
        widths += _width(found)
        plain_widths += _plain_width(joules)
        energy, board = absolute(joules), gain * 200 * window_s
        covered["board"] += energy.low <= board <= energy.high
        true = stats.widened(energy, GAIN)
        covered["true"] += true.low <= board / gain <= true.high
        _, joules = session(generator, (200.0, 300.0, 250.0), rounds, window_s, cv=0.01, closely=False)
        found = ratio(joules)
        covered["unexamined"] += found.low <= true_ratio <= found.high
    yield Bound("coverage of the ratio, 3 runners, 6 rounds", covered["ratio"] / sessions, 0.935)
    yield Bound("width over that of plain t intervals", widths / plain_widths, 0, 2.5, "times")
    yield Bound("coverage of the ratio, board read at 10 Hz only", covered["unexamined"] / sessions, 0.935)
    yield Bound("coverage of the energy that the board reports", covered["board"] / sessions, 0.935)
    yield Bound("coverage of the true energy by intervals widened by 5 % gain", covered["true"] / sessions, 0.95)


def differences(sessions: int) -> Iterator[Bound]:
    """Yield false alarms, and the share of small differences found, of 4 runners at 10 rounds of 5 s."""
    generator = np.random.default_rng(SEED)
    false_alarms, found_3_percent, found_2_percent = 0, 0, 0
    for _ in range(sessions):
        _, joules = session(generator, (250.0, 250.0, 242.5, 245.0), 10, 5.0, cv=0.01)
        same = ratio(joules)
        false_alarms += not same.low <= 1 <= same.high
        found_3_percent += ratio(joules, 2).high < 1
        found_2_percent += ratio(joules, 3).high < 1
    yield Bound("A against A called different, 10 rounds, cv 1 %", false_alarms / sessions, 0, 0.065)
    yield Bound("a true difference of 3 % found at 10 rounds, cv 1 %", found_3_percent / sessions, 0.8)
    yield Bound("a true difference of 2 % found at 10 rounds, cv 1 %", found_2_percent / sessions, 0.8)


def ratio(joules: Sequence[Sequence[float]], ours: int = 0, reference: int = 1) -> Estimate:
    """Return the paired ratio of two runners, widened by the correlation of all. [runners][rounds]"""
    correlation = serial.pooled(np.log(joules))
    assert correlation is not None
    return stats.paired_ratio(joules[ours], joules[reference], correlation.upper)


def absolute(joules: Sequence[Sequence[float]]) -> Estimate:
    """Return the energy of the first runner, widened by the correlation of absolute costs. [runners][rounds]"""
    correlation = serial.pooled(np.log(joules), shared=False)
    assert correlation is not None
    return stats.log_mean_estimate(joules[0], correlation.upper)


def _width(estimate: Estimate) -> float:
    return math.log(estimate.high / estimate.low)


def _plain_width(joules: Sequence[Sequence[float]]) -> float:
    """Return the width of the plain t interval of the same log-ratio."""
    logs = np.log(joules[0]) - np.log(joules[1])
    return float(2 * stats.t_quantile(len(logs)) * logs.std(ddof=1) / math.sqrt(len(logs)))


def reading(sessions: int) -> Iterator[Bound]:
    """Yield the bias of long windows and the cost of sampling, which need no sessions."""
    generator = np.random.default_rng(SEED)
    yield Bound("bias of a window of 200 counter movements, worst of 20 phases", bias(generator), 0, 0.005)
    yield Bound("CPU time of sampling at 10 Hz, of a core", sampling_cost(), 0, 0.003)
    yield Bound("the same with both edges of a window of 5 s looked at closely", sampling_cost(edges=True), 0, 0.003)


def bias(generator: np.random.Generator) -> float:
    """Return the largest mean relative error of windows of 20 s, over phases of the counter."""
    worst = 0.0
    for phase in np.linspace(0, STEP_S, 20, endpoint=False):
        start = 10.0
        errors = []
        for _ in range(20):
            readings = samples(generator, 300.0, 1.0, start, start + 20, float(phase))
            energy = window_energy(readings, round(start * 1e9), round((start + 20) * 1e9), STEP_S)
            errors.append((energy.joules or 0.0) / 6000 - 1)
        worst = max(worst, abs(float(np.mean(errors))))
    return worst


def sampling_cost(seconds: float = 10.0, edges: bool = False) -> float:
    """Return the CPU time of the sampler's thread over wall time, on a simulated board without the real NVML calls.

    `edges`: read the counter more often near two edges every five seconds, as in a session.
    """
    from compress.energy import nvml
    from compress.energy.meters import Gpu
    from compress.energy.sampler import Sampler
    from tests.simulator import Board, Simulator

    sys.modules["pynvml"] = Simulator([Board("GPU-a")], time.monotonic)  # type: ignore[assignment]
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = False
    with Sampler(meter) as sampler:
        for _ in range(round(seconds / 5)):
            for _ in range(2):
                if edges:
                    sampler.near_edge()
                time.sleep(2.5)
    return sampler.cpu_s / seconds
