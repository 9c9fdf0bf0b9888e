"""Gross, net of idle, and compression alone: paired ratios with intervals; the share of waiting avoided."""

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from compress.analysis import costs, figures
from compress.analysis.joules import idle_watts
from compress.analysis.sentence import net_words
from compress.analysis.verdict import verdict
from compress.records import trace
from compress.records.result import Ratio
from compress.records.stats import Estimate
from tests import factory
from tests.analysis.test_drift import H200
from tests.simulated import Load, session

IDLE_W = 122.16366434595295
NET = {"graphs_student": 0.45, "graphs_bf16": 0.91, "bf16 compile": 0.95, "torchao_int8": 1.49, "fp32 eager": 5.6}


def plainly(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Joules and seconds per example of every round, from the published trace, as its result files hold them."""
    raw = costs.from_trace(trace.read(H200))
    rounds = figures.points(raw, name)[0].rounds
    examples = np.array([32 * r.batches for r in rounds])
    joules, seconds = np.array([r.energy_j for r in rounds]), np.array([r.duration_s for r in rounds])
    return joules / examples, seconds / examples


def ratio_of(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    logs = np.log(ours / theirs)
    half = scipy_stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return [math.exp(logs.mean() + step) for step in (0.0, -half, half)]


def geometric(values: np.ndarray) -> float:
    """Geometric mean: the location of six rounds."""
    return float(np.exp(np.log(values).mean()))


def correlation_upper() -> float:
    """Upper bound of the correlation of the joules of all runners, from the mean over all pairs."""
    raw = costs.from_trace(trace.read(H200))
    logs = [np.log(plainly(runner.name)[0]) for runner in raw.session.runners]
    n, found = len(logs[0]), []
    for one, other in combinations(logs, 2):
        d = one - other
        reach = 3 * 1.4826 * np.median(abs(d - np.median(d)))
        d = np.clip(d, np.median(d) - reach, np.median(d) + reach)
        d = d - d.mean()
        found.append(sum(d[1:] * d[:-1]) / sum(d * d))
    correlation = (n * np.mean(found) + 1) / (n - 4)
    return float(min(max(0, correlation * (1 + 2 / math.sqrt(n * (len(logs) - 1)))), 0.8))


def correlated_ratio(ours: np.ndarray, theirs: np.ndarray, correlation: float) -> list[float]:
    """Geometric mean of the ratios of 6 rounds, with a t interval for rounds of this correlation (AR(1))."""
    n = len(ours)
    rounds = correlation ** abs(np.subtract.outer(np.arange(n), np.arange(n)))
    lost = np.trace((np.eye(n) - 1 / n) @ rounds) / (n - 1)
    value, low, high = np.log(ratio_of(ours, theirs))
    half = (high - low) / 2 * math.sqrt(n * rounds.mean() / lost)
    return [math.exp(value + step) for step in (0.0, -half, half)]


@pytest.mark.parametrize("name", NET)
def test_net_ratios_of_the_published_session_follow_from_its_trace(name: str) -> None:
    raw = costs.from_trace(trace.read(H200))
    assert idle_watts(raw.session.idle.loaded, raw.session.meter.step_s) == pytest.approx(IDLE_W)
    (j, s), (j0, s0) = plainly(name), plainly("bf16 eager")
    net, net0 = j - IDLE_W * s, j0 - IDLE_W * s0
    assert len(net) == 6
    value, low, high = np.log(correlated_ratio(net, net0, correlation_upper()))
    parts = [IDLE_W * geometric(seconds) / geometric(joules) for seconds, joules in ((s, net), (s0, net0))]
    half = math.hypot((high - low) / 2, 1.959964 * 0.01 * (parts[0] - parts[1]))  # 1 % error of the idle power
    expected = [math.exp(value + step) for step in (0.0, -half, half)]
    assert expected[0] == pytest.approx(NET[name], rel=0.012)
    found = figures.points(raw, name)[0].ratio("bf16 eager")
    assert found is not None and found.net is not None
    assert [found.net.value, found.net.low, found.net.high] == pytest.approx(expected)


def test_the_students_own_part_and_the_waiting_it_avoids() -> None:
    (j, s), (dense_j, dense_s), (j0, s0) = map(plainly, ("graphs_student", "graphs_bf16", "bf16 eager"))
    assert round(ratio_of(j, j0)[0], 2) == 0.22
    assert [round(v, 2) for v in ratio_of(j, dense_j)] == [0.59, 0.57, 0.61]
    assert round(ratio_of(j - IDLE_W * s, dense_j - IDLE_W * dense_s)[0], 2) == 0.49
    share = IDLE_W * (geometric(s0) - geometric(s)) / (geometric(j0) - geometric(j))
    ratio = figures.points(costs.from_trace(trace.read(H200)), "graphs_student")[0].ratio("bf16 eager")
    assert ratio is not None and ratio.waiting_share == pytest.approx(share)
    assert share == pytest.approx(0.85, abs=0.01)


def test_on_a_known_board_gross_and_net_are_the_true_ones(monkeypatch: Any) -> None:
    measured = session(monkeypatch, {"fp32 eager": Load(300.0, 0.020), "ours": Load(200.0, 0.010)})
    found = figures.points(costs.from_trace(measured), "ours")[0]
    (ratio,) = found.ratios
    assert ratio.energy is not None and ratio.net is not None
    assert ratio.energy.value == pytest.approx(200 * 0.010 / (300 * 0.020), rel=0.005)
    assert ratio.net.value == pytest.approx((200 - 80) * 0.010 / ((300 - 80) * 0.020), rel=0.005)
    assert ratio.waiting_share == pytest.approx(80 * 0.010 / (300 * 0.020 - 200 * 0.010), rel=0.005)
    assert "ratios.net" not in found.reasons


def test_without_idle_power_or_above_it_there_is_no_net_ratio_but_a_reason(monkeypatch: Any) -> None:
    measured = session(monkeypatch, {"fp32 eager": Load(300.0, 0.020), "ours": Load(75.0, 0.010)})
    found = figures.points(costs.from_trace(measured), "ours")[0]
    assert found.ratios[0].net is None and found.ratios[0].energy is not None
    assert found.energy_net_j is not None and found.energy_net_j.value < 0
    assert found.reasons["ratios.net"] == "the energy of ours is not above idle in every round"
    unknown = replace(measured, idle=replace(measured.idle, loaded=None))
    found = figures.points(costs.from_trace(unknown), "ours")[0]
    assert (found.energy_net_j, found.ratios[0].net, found.ratios[0].waiting_share) == (None, None, None)
    assert found.reasons["ratios.net"] == "idle power could not be measured"


def words(net: tuple[float, float, float] | None, share: float | None, gross: float = 0.22) -> str:
    ratio = factory.ratio(latency=0.2, energy=gross)
    return net_words(replace(ratio, net=None if net is None else Estimate(*net, 6), waiting_share=share))


def test_the_note_states_waiting_and_net() -> None:
    student = words((0.451, 0.438, 0.463), 0.849)
    assert student == "; 85 % of it is waiting avoided; net of idle 55 %, 54 to 56"
    assert words((1.49, 1.45, 1.53), None, 1.2) == "; net of idle 49 % more, 45 to 53"
    assert words((1.07, 1.05, 1.09), 1.2) == "; all of it is waiting avoided; net of idle 7 % more, 5 to 9"
    assert words((0.99, 0.97, 1.02), 0.5) == (
        "; 50 % of it is waiting avoided; net of idle no measurable difference, between -3 and +2 %"
    )
    assert words((5.64, 5.5, 5.78), None, 1.94) == "; net of idle 5.64 times, 5.50 to 5.78"
    assert words(None, None) == "" and words(None, 0.5, 1.0) == ""


def judged_by(ratio: Ratio, **fields: Any) -> Any:
    return verdict(factory.accuracy(), factory.accuracy(), ratio, energy_source="nvml", **fields)


def test_the_sentence_and_the_cause_hold_all_three() -> None:
    ratio = replace(
        factory.ratio(energy=0.22), energy=Estimate(0.218, 0.205, 0.231, 6), net=Estimate(0.451, 0.438, 0.463, 6),
        waiting_share=0.849,
    )  # fmt: skip
    same = replace(factory.ratio("bf16 compile"), energy=Estimate(0.591, 0.573, 0.609, 6), net=None)
    found = judged_by(ratio, runtime=same)
    assert found.sentence.startswith(
        "SAVES 78 % of the energy (77 to 80; 85 % of it is waiting avoided; net of idle 55 %, 54 to 56) at no"
    )
    assert found.cause == "compression alone takes 0.59 times the energy of bf16 compile (0.57 to 0.61)"
    net = replace(same, net=Estimate(0.493, 0.48, 0.506, 6))
    assert judged_by(ratio, runtime=net).cause.endswith("(0.57 to 0.61; net of idle 0.49, 0.48 to 0.51)")
    assert judged_by(ratio, runtime=net, unreliable=["the device throttled"]).cause == ""
