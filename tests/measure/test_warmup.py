"""Warm-up ends by the slope of latency against its noise; temperature and power by the same rule."""

import math
import random
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.study import ramps
from compress.energy import nvml
from compress.energy.meters import Gpu
from compress.measure import latency, warmup
from compress.measure.disturbance import Reading
from compress.measure.trend import trend
from tests.simulator import Board, Simulator
from tests.virtual_time import VirtualTime


def test_the_slope_is_that_of_least_squares_with_its_standard_error() -> None:
    draw = np.random.default_rng(0)
    times = np.sort(draw.uniform(0, 20, 12))
    values = 0.3 - 0.02 * times + 0.01 * draw.standard_normal(12)
    design = np.column_stack([np.ones(12), times])
    coefficients, residual, *_ = np.linalg.lstsq(design, values, rcond=None)
    covariance = residual[0] / 10 * np.linalg.inv(design.T @ design)
    found = trend([list(zip(times.tolist(), values.tolist(), strict=True))])
    assert found.slope == pytest.approx(coefficients[1])
    assert found.error == pytest.approx(math.sqrt(covariance[1, 1]))


def test_runners_share_a_slope_but_not_a_level() -> None:
    draw = np.random.default_rng(1)
    times = [np.arange(6.0), np.arange(6.0) + 0.5]
    values = [1 + 0.1 * times[0] + 0.01 * draw.standard_normal(6), 9 + 0.1 * times[1] + 0.01 * draw.standard_normal(6)]
    design = np.zeros((12, 3))
    design[:6, 0], design[6:, 1], design[:, 2] = 1, 1, np.concatenate(times)
    coefficients, residual, *_ = np.linalg.lstsq(design, np.concatenate(values), rcond=None)
    covariance = residual[0] / 9 * np.linalg.inv(design.T @ design)
    found = trend([list(zip(t.tolist(), v.tolist(), strict=True)) for t, v in zip(times, values, strict=True)])
    assert found.slope == pytest.approx(coefficients[2])
    assert found.error == pytest.approx(math.sqrt(covariance[2, 2]))


@pytest.mark.parametrize("tau_s", ramps.TAUS_S)
@pytest.mark.parametrize("runners", [1, 3])
def test_a_ramp_leaves_less_than_1_percent(tau_s: float, runners: int) -> None:
    seconds, left, found = ramps.warm_up(random.Random(3), 0.5, tau_s, 0.02, runners, cap_s=300)
    assert not found
    assert left < 0.01
    assert seconds < 8 * max(tau_s, 10)  # 0.5 falls to 0.01 in 3.9 tau


@pytest.mark.parametrize("tau_s", [10.0, 30.0])
def test_a_ramp_longer_than_the_cap_is_flagged(tau_s: float) -> None:
    seconds, left, found = ramps.warm_up(random.Random(3), 0.5, tau_s, 0.02, cap_s=15)
    assert left > 0.01
    assert 15 <= seconds < 16
    assert set(found.values()) <= {"own", "all"}
    assert found


def test_a_runner_without_a_ramp_is_steady_before_the_cap() -> None:
    seconds, _, found = ramps.warm_up(random.Random(3), 0.0, 1.0, 0.01, cap_s=60)
    assert not found
    assert seconds < 20


def test_a_cap_too_short_for_five_turns_waits_for_them() -> None:
    seconds, _, found = ramps.warm_up(random.Random(3), 0.0, 1.0, 0.01, 3, cap_s=0.05)
    assert seconds == pytest.approx(15 * ramps.BATCH_S, rel=0.05)
    assert set(found.values()) <= {"own", "all", "unknown"}


def test_one_runner_with_a_ramp_of_its_own_is_flagged_alone() -> None:
    clock, draw = ramps.Clock(), random.Random(3)
    with ramps.on(clock):
        machine = ramps.Wandering(clock, draw, 0.0)
        models = {name: ramps.Ramp(clock, draw, 0.0, 1.0, 0.01, machine) for name in "abcde"}
        models["slow"] = ramps.Ramp(clock, draw, 0.5, 30.0, 0.01, machine)
        warming = warmup.WarmUp(list(models), [{}], lambda: None, 20)
        while not warming.over:
            for name, model in models.items():
                warming.block(name, model)
        found = warming.unsteady()
        assert [name for name, ramp in found.items() if ramp == "own"] == ["slow"]
        warming.keep([name for name in models if name != "slow"])
        assert warming.unsteady() == {}


def test_what_all_runners_share_cancels_in_relative_latencies() -> None:
    blocks = [{"a": 1.0, "b": 2.0, "c": 4.0}, {"a": 1.5, "b": 2.5, "c": 4.5}, {"a": 7.0}]
    turns = [{name: warmup.Block(float(i), log, True) for name, log in turn.items()} for i, turn in enumerate(blocks)]
    found = warmup.relative(turns)
    assert [{name: block.log for name, block in turn.items()} for turn in found] == [{"a": -1, "b": 0, "c": 2}] * 2


@pytest.mark.parametrize("runners", [2, 5])
def test_a_wandering_machine_does_not_make_a_model_unsteady(runners: int) -> None:
    draw = random.Random(5)
    found = [ramps.warm_up(draw, 0.0, 1.0, 0.02, runners, 30, wander=ramps.WANDER).ramps for _ in range(8)]
    assert all(set(each.values()) & {"all", "unknown"} for each in found)  # nor does it pass for steady
    assert sum("own" in each.values() for each in found) <= 1


@pytest.mark.parametrize("runners", [2, 3])
def test_models_that_are_never_quiet_together_are_not_steady_yet(runners: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, foreign, busy = ramps.Clock(), 0.0, False

    def reading() -> Reading:
        nonlocal foreign
        foreign += 1000.0 * busy
        return Reading(0.0, foreign, 0)

    with ramps.on(clock):
        monkeypatch.setattr(warmup, "reading", reading)
        draw = random.Random(3)
        model = ramps.Ramp(clock, draw, 0.0, 1.0, 0.001, ramps.Wandering(clock, draw, 0.0))
        names = [f"model {i}" for i in range(runners)]
        warming = warmup.WarmUp(names, [{}], lambda: None, 1000)
        for turn in range(60):
            for place, name in enumerate(names):
                busy = place != turn * runners // 60  # one after the other: no turn has two quiet ones
                warming.block(name, model)
            assert not warming.over
        assert set(warming.unsteady().values()) == {"unknown"}


def test_disturbed_blocks_do_not_end_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ramps.Clock()
    with ramps.on(clock):
        monkeypatch.setattr(warmup, "reading", lambda: Reading(0.0, 5 * clock.now, 0))  # five other cores are busy
        draw = random.Random(3)
        ramp = ramps.Ramp(clock, draw, 0.0, 1.0, 0.01, ramps.Wandering(clock, draw, 0.0))
        warming = warmup.WarmUp(["a"], [{}], lambda: None, 40)
        while not warming.over:
            warming.block("a", ramp)
        assert clock.now >= 40
        assert warming.unsteady() == {"a": "unknown"}  # of all blocks, since no others are left


@pytest.mark.parametrize("harmed", [True, False], ids=["read seldom", "read often"])
@pytest.mark.parametrize("batch_s", [0.003, 0.0137, 0.05, 0.25])
@pytest.mark.parametrize("watts", [(300.0,), (400.0, 100.0)], ids=["one model", "two models"])
def test_constant_power_settles_whatever_the_phase_of_the_counter(
    monkeypatch: Any, harmed: bool, batch_s: float, watts: tuple[float, ...]
) -> None:
    clock, draw = VirtualTime.install(monkeypatch), random.Random(7)
    for module in (latency, warmup):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, monotonic_ns=clock.monotonic_ns))
    now_w = [80.0]
    board = Board("GPU-a", watts=lambda _: now_w[0], phase_s=draw.uniform(0, 0.1))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = harmed

    def model(load_w: float) -> Any:
        def batch() -> None:
            now_w[0] = load_w
            clock.sleep(batch_s * draw.uniform(0.98, 1.02))

        return batch

    assert warmup.settle([model(load_w) for load_w in watts], [{}], lambda: None, meter, 150) is True
