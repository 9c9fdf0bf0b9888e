"""The load of the benchmark beside which sessions are measured: bursts of 0.1 to 5 s, half of the time."""

import random

from benchmarks.bursts import LONGEST_S, SHORTEST_S, duration_s, load


def test_the_load_computes_half_of_the_time_in_bursts() -> None:
    now, slept = [0.0], [0.0]
    pauses: list[float] = []

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        slept[0] += seconds
        pauses.append(seconds)

    load(random.Random(0), lambda: now[0] < 4000, sleep, clock)
    assert 0.47 < slept[0] / now[0] < 0.53
    assert SHORTEST_S <= min(pauses) < 0.12 and 4.5 < max(pauses) <= LONGEST_S


def test_durations_lie_within_their_bounds() -> None:
    draw = random.Random(0)
    drawn = [duration_s(draw) for _ in range(2000)]
    assert min(drawn) >= SHORTEST_S and max(drawn) <= LONGEST_S
