"""Rounds in which the processor was slower are left out, whatever their latencies, if enough others remain."""

from dataclasses import replace

import numpy as np
import pytest

from compress.analysis.full_speed import at_full_speed, full_speed, slow_rounds, unfounded
from compress.records.session import RunnerPoint, Shape
from compress.records.window import Disturbance, Window

FULL, SHARED = 200, 106


def window(index: int, speed: int | None, batch_ns: int = 10) -> Window:
    """A window of round `index` at this speed of the processor."""
    return Window(0, batch_ns, (batch_ns,), 0, None, None, index=index, disturbance=Disturbance(cpu_ops=speed))


def rounds(*speeds: tuple[int | None, int | None]) -> dict[str, list[Window]]:
    """Two runners whose windows of round 1, 2 ... had these speeds."""
    return {
        name: [window(index, speed[of]) for index, speed in enumerate(speeds, start=1)]
        for of, name in enumerate(("a", "b"))
    }


def kept(used: dict[str, list[Window]], *others: Window) -> list[int]:
    """The rounds that are used."""
    return sorted(at_full_speed(used, every(used, *others))[0])


def every(used: dict[str, list[Window]], *others: Window) -> list[Window]:
    """All windows."""
    return [*others, *(each for group in used.values() for each in group)]


FAST, SLOW = (FULL, FULL), (SHARED, SHARED)


def test_a_slow_beginning_is_left_out() -> None:
    assert kept(rounds(*[SLOW] * 8, *[FAST] * 15)) == list(range(9, 24))


def test_a_round_with_one_slow_window_is_left_out_for_all_runners() -> None:
    used = rounds(*[FAST] * 3, (FULL, SHARED), *[FAST] * 3, (SHARED, FULL))
    assert kept(used) == [1, 2, 3, 5, 6, 7]


def test_latencies_play_no_part() -> None:
    used = rounds(*[FAST] * 8)
    slow = {name: [replace(each, batch_ns=(10**9,), ended_ns=10**9) for each in group] for name, group in used.items()}
    assert kept(slow) == kept(used) == list(range(1, 9))


@pytest.mark.parametrize("slow", [SLOW, (SHARED, FULL)], ids=["both", "one"])
def test_all_rounds_count_where_fewer_than_six_would_remain(slow: tuple[int, int]) -> None:
    assert kept(rounds(*[FAST] * 5, *[slow] * 3)) == list(range(1, 9))
    assert kept(rounds(*[FAST] * 6, *[slow] * 3)) == list(range(1, 7))


def test_all_rounds_count_where_less_than_a_quarter_would_remain() -> None:
    assert kept(rounds(*[FAST] * 7, *[SLOW] * 22)) == list(range(1, 30))
    assert kept(rounds(*[FAST] * 7, *[SLOW] * 21)) == list(range(1, 8))


def test_ten_percent_are_no_change_of_speed_and_a_single_high_reading_is_none() -> None:
    assert kept(rounds(*[FAST] * 6, (180, 180), (179, FULL))) == [1, 2, 3, 4, 5, 6, 7]
    assert kept(rounds(*[FAST] * 8), *[window(0, 300)] * 5) == list(range(1, 9))
    assert kept(rounds(*[FAST] * 8), *[window(0, 300)] * 6) == list(range(1, 9))  # none of these rounds reached it
    assert kept(rounds(*[SLOW] * 8), *[window(0, FULL)] * 6) == list(range(1, 9))


def test_traces_without_speeds_keep_all_rounds() -> None:
    used = rounds(*[(None, None)] * 8)
    assert full_speed(used["a"]) is None
    assert kept(used) == list(range(1, 9))
    assert slow_rounds([point(used["a"])]) == ()


def test_whether_slow_rounds_are_among_those_to_use_is_stated() -> None:
    for used, mixed in (
        (rounds(*[FAST] * 5, *[SLOW] * 10), True),
        (rounds(*[FAST] * 6, *[SLOW] * 10), False),
        (rounds(*[FAST] * 15), False),
        (rounds(*[SLOW] * 15), False),
    ):
        assert at_full_speed(used, every(used))[1] is mixed


@pytest.mark.parametrize(("noise", "dwell"), [(0.01, 8), (0.03, 8), (0.05, 30)])
def test_the_limit_is_wider_where_readings_are_noisy(noise: float, dwell: int) -> None:
    """Windows at one speed are hardly ever slow, and those of a state at half of it always."""
    draw = np.random.default_rng(dwell)
    states = np.repeat(draw.integers(0, 2, 400 // dwell), dwell)
    speeds = np.where(states == 1, 1.0, 0.5) * (1 + noise * draw.standard_normal(len(states)))
    windows = [window(i, round(1e9 * speed)) for i, speed in enumerate(speeds, start=1)]
    full = full_speed(windows)
    assert full is not None
    slow = np.array([full.is_slow(each) for each in windows])
    assert slow[states == 0].all()
    assert slow[states == 1].mean() < 0.01
    assert full.slower == pytest.approx(max(0.1, 6 * noise), rel=0.35)


def point(used: list[Window], unused: tuple[Window, ...] = ()) -> RunnerPoint:
    """A runner at a point, with these windows."""
    return RunnerPoint(Shape(1, 8), windows=tuple(used), unused=unused)


def test_rounds_that_were_not_slow_cannot_be_left_out() -> None:
    used = rounds(*[SLOW] * 3, *[FAST] * 7)
    honest = [point(group[3:], tuple(group[:3])) for group in used.values()]
    assert unfounded(honest) is None
    chosen = [point(group[5:], tuple(group[:5])) for group in used.values()]
    assert unfounded(chosen) == "left out are the rounds 4, 5, in which the processor was not slow"
    partly = [point(group[1:], tuple(group[:1])) for group in used.values()]
    assert unfounded(partly) == "other rounds are left out than 2, 3, in which the processor was slow too"
    silent = [point(group[1:], tuple(group[:1])) for group in rounds(*[(None, None)] * 8).values()]
    assert unfounded(silent) == "left out are the rounds 1, in which the processor was not slow"
    assert unfounded([point(group) for group in used.values()]) is None


def test_the_note_counts_the_rounds_left_out_or_slow() -> None:
    used = rounds(*[SLOW] * 3, *[FAST] * 7)
    first = (window(0, SHARED),)
    repeated = window(5, SHARED)
    apart = [point(group[3:], (*first, repeated, *group[:3])) for group in used.values()]
    why = " (its cores were shared or far apart, or its clock lower)"
    assert slow_rounds(apart) == (f"3 of 10 rounds are left out: the processor was over 10 % slower in them{why}",)
    together = [point(group, first) for group in rounds(*[SLOW] * 3, *[FAST] * 5).values()]
    assert slow_rounds(together) == (f"in 3 of 8 rounds the processor was over 10 % slower than at its best{why}",)
    assert slow_rounds([point(group, (*first, repeated)) for group in rounds(*[FAST] * 8).values()]) == ()
