"""Properties that hold for every input: energy between movements, the front, adjusted intervals."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.analysis.dominance import front
from compress.analysis.joules import READINGS, integrated_power, interpolated_power, window_energy
from compress.energy.sampler import NEAR_EDGE_S
from compress.records import stats
from compress.records.sample import Sample


@settings(deadline=None, max_examples=60)
@given(
    watts=st.floats(20, 700),
    step_s=st.floats(0.02, 0.1),
    phase=st.floats(0, 1),
    window_s=st.floats(1, 10),
)
def test_constant_power_is_found_at_any_step_phase_and_window(
    watts: float, step_s: float, phase: float, window_s: float
) -> None:
    start, end = 5.0, 5.0 + window_s
    close = [np.arange(edge, edge + 2 * step_s, NEAR_EDGE_S) for edge in (start - 2 * step_s, end)]
    times = np.unique(np.concatenate([np.arange(start - 0.5, end + 0.5, 0.1), *close]))
    moves = np.floor((times - phase * step_s) / step_s)
    counter = np.floor(1000 * watts * moves * step_s) * 1000
    samples = [Sample(round(t * 1e9), counter_uj=int(c)) for t, c in zip(times, counter, strict=True)]
    found = window_energy(samples, round(start * 1e9), round(end * 1e9), step_s)
    assert found.joules is not None
    allowed = found.edge_error + 0.002 / (watts * window_s)  # edges, and a millijoule at either
    assert abs(found.joules / (watts * window_s) - 1) <= allowed + 1e-9
    assert found.edge_error <= 2 * NEAR_EDGE_S / window_s


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 700_000)), min_size=3, max_size=60))
def test_power_between_readings_lies_between_the_lowest_and_the_highest(gaps: list[tuple[int, int]]) -> None:
    time_ns, samples = 0, []
    for gap, power in gaps:
        time_ns += gap * 1000
        samples.append(Sample(time_ns, counter_uj=0, power_mw=power))
    start, end = samples[0].time_ns, samples[-1].time_ns
    powers = [p for _, p in gaps]
    straight = interpolated_power(samples, start, end)
    assert (straight is None) == (max(gap for gap, _ in gaps[1:]) * 1000 > (end - start) / READINGS)
    for joules in filter(None, (integrated_power(samples, start, end), straight)):
        mean_mw = joules * 1e12 / (end - start)
        assert min(powers) * (1 - 1e-9) - 1e-6 <= mean_mw <= max(powers) * (1 + 1e-9) + 1e-6
    assert interpolated_power(samples, start - 1, end) is None


@st.composite
def dominances(draw: st.DrawFn) -> np.ndarray:
    """Which of up to 7 rows dominates which, in any pattern without mutual dominance, also in circles."""
    n = draw(st.integers(1, 7))
    chosen = np.array(draw(st.lists(st.integers(0, 2), min_size=n * n, max_size=n * n))).reshape(n, n)
    upper = np.triu(chosen, 1)
    return (upper == 1) | (upper == 2).T


@settings(deadline=None, max_examples=300)
@given(dominances())
def test_the_front_is_never_empty_and_dominates_every_row_outside(dominates: np.ndarray) -> None:
    on = front(dominates)
    assert on.any()
    assert all(dominates[on][:, row].any() for row in np.flatnonzero(~on))


@settings(deadline=None, max_examples=300)
@given(dominances())
def test_without_circles_no_row_of_the_front_dominates_another(dominates: np.ndarray) -> None:
    power, circles = dominates, False
    for _ in range(len(dominates)):
        circles = circles or bool(np.diagonal(power).any())
        power = power @ dominates
    on = front(dominates)
    assert circles or not dominates[on][:, on].any()
    assert (front(np.stack([dominates, dominates]))[1] == on).all()  # alone and among others


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_never_stricter_than_bonferroni_nor_laxer_than_no_adjustment(p_values: list[float]) -> None:
    levels = stats.holm(p_values)
    assert all(0.05 / len(p_values) - 1e-9 <= level <= 0.05 + 1e-9 for level in levels)
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [levels[i] for i in ranked] == sorted(levels)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=12), st.floats(0.5, 0.999))
def test_an_interval_at_a_higher_confidence_holds_the_narrower_one(logs: list[float], confidence: float) -> None:
    found = stats.log_mean_estimate([math.exp(v) for v in logs])
    one, two = stats.at_confidence(found, confidence), stats.at_confidence(found, (1 + confidence) / 2)
    assert two.low <= one.low * (1 + 1e-9)
    assert two.high >= one.high * (1 - 1e-9)
