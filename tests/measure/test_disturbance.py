"""Windows know their disturbance, and are repeated by a rule that never looks at their latency or energy."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from compress.analysis.full_speed import FullSpeed
from compress.measure import disturbance
from compress.measure.disturbance import (
    Reading,
    allowance,
    between,
    cpu_khz,
    least_disturbed,
    severity,
    usual,
    with_device,
)
from compress.records.sample import Sample
from compress.records.window import Disturbance, Window

WINDOW = Window(0, 200_000_000, (1,), 0, None, None)
MS = 1_000_000


def of(**fields: int) -> Window:
    """A window of 0.2 s with this disturbance."""
    return replace(WINDOW, disturbance=Disturbance(**fields))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are shares of two cores."""
    monkeypatch.setattr(disturbance.os, "cpu_count", lambda: 2)


CASES = {
    "nothing known": ({}, 0.0),
    "quiet": ({"stolen_ns": 0, "foreign_ns": 0, "switches": 0}, 0.0),
    "two ticks of others": ({"foreign_ns": 20 * MS}, 0.0),
    "others on a tenth of one of two cores": ({"foreign_ns": 40 * MS}, 1.0),
    "others on one core": ({"foreign_ns": 200 * MS}, 9.0),
    "steal of half a core": ({"stolen_ns": 100 * MS}, 4.0),
    "switches 100 times a second": ({"switches": 20}, 2.0),
    "another process on the GPU": ({"device_processes": 1}, 2.0),
    "a thermal slowdown": ({"device_events": 0x40}, 2.0),
    "the power cap": ({"device_events": 0x4}, 0.0),
}


@pytest.mark.parametrize(("fields", "expected"), CASES.values(), ids=CASES)
def test_severity_is_the_largest_value_over_its_limit(fields: dict[str, int], expected: float) -> None:
    assert severity(of(**fields)) == pytest.approx(expected)


def test_clocks_are_compared_with_the_runners_highest() -> None:
    now = usual([of(cpu_khz=3_000_000, device_mhz=1500), of(cpu_khz=2_000_000), WINDOW], [])
    assert (now.cpu_khz, now.device_mhz) == (3_000_000, 1500)
    assert severity(of(cpu_khz=2_850_000), now) == pytest.approx(0.5)
    assert severity(of(device_mhz=1200), now) == pytest.approx(2.0)
    assert severity(of(cpu_khz=3_300_000), now) <= 0


def test_speed_is_compared_with_what_six_windows_of_any_runner_reached() -> None:
    speeds = [250, *[200] * 5, 198, 120]
    assert usual([], [of(cpu_ops=speed) for speed in speeds[:5]]).full_speed is None
    now = usual([], [*(of(cpu_ops=speed) for speed in speeds), WINDOW])
    assert now.full_speed == FullSpeed(200, 0.1)  # a single high reading is none
    assert severity(of(cpu_ops=190), now) == pytest.approx(0.5)
    assert severity(of(cpu_ops=100), now) == pytest.approx(5.0)


def test_switches_count_above_those_of_the_system_itself() -> None:
    burst = of(switches=20)  # 100 per second
    assert usual([], [of(switches=8)] * 7).switches_per_s == 0.0
    assert severity(burst, usual([], [of(switches=8)] * 7)) == pytest.approx(2.0)
    now = usual([], [*[of(switches=8)] * 6, burst, burst, WINDOW])
    assert now.switches_per_s == pytest.approx(40.0)
    assert severity(burst, now) == pytest.approx((100 - 40) / 50)
    assert severity(of(switches=2), now) == 0.0


def test_the_rule_never_looks_at_latency_or_energy() -> None:
    slow = replace(of(foreign_ns=0), batch_ns=(10**12,), cpu_ns=10**12, start_uj=0, end_uj=10**15)
    assert severity(slow) == severity(of(foreign_ns=0)) == 0
    attempts = [of(foreign_ns=100 * MS), slow, of(foreign_ns=50 * MS)]
    assert least_disturbed(attempts) is slow
    assert least_disturbed([of(), attempts[1], WINDOW]) is WINDOW  # the last of equals


@pytest.mark.parametrize(("precision", "most", "in_a_hundred"), [(None, 2, 25), (0.03, 20, 60)])
def test_repeats_end_after_some_in_a_row_and_at_a_share_of_all_windows(
    precision: float | None, most: int, in_a_hundred: int
) -> None:
    allowed = allowance(precision)
    assert allowed.permits(most, 0, 100, 50) and not allowed.permits(most + 1, 0, 100, 50)
    assert allowed.permits(1, in_a_hundred - 1, 99, 50) and not allowed.permits(1, in_a_hundred, 99, 50)
    assert allowed.permits(1, 0, 100, 25) and not allowed.permits(1, 0, 100, 24) and allowed.permits(1, 0, 19, 0)


def chosen(load: Iterator[bool], windows: int) -> tuple[int, int]:
    """Measure so many windows one after the other; return how many kept ones are disturbed, and all attempts."""
    disturbed, repeats, made, busy, quiet = 0, 0, 0, 0, 0
    for _ in range(windows):
        while True:
            made += 1
            disturbed = disturbed + 1 if next(load) else 0
            quiet += disturbed == 0
            if not disturbed or not allowance(0.03).permits(disturbed, repeats, made, quiet):
                break
            repeats += 1
        busy += disturbed > 0
    return busy, made


def test_bursts_are_waited_out_and_a_lasting_load_is_not() -> None:
    draw = random.Random(0)

    def bursts() -> Iterator[bool]:
        busy = False
        while True:
            yield from [busy] * draw.randint(1, 15)  # as long as the pauses
            busy = not busy

    busy, made = chosen(bursts(), 1000)
    assert busy < 0.05 * 1000 and made < 2.5 * 1000
    busy, made = chosen(repeat(True), 1000)
    assert busy == 1000 and made <= 1000 + 20


def test_readings_are_subtracted_and_never_negative() -> None:
    found = between(Reading(1.0, 5.0, 3), Reading(1.25, 4.99, 8))
    assert (found.stolen_ns, found.foreign_ns, found.switches) == (250 * MS, 0, 5)
    assert between(Reading(None, None, 0), Reading(None, None, 0)).foreign_ns is None


def test_frequency_is_the_mean_of_the_cores(tmp_path: Path) -> None:
    assert cpu_khz(tmp_path) is None
    for core, khz in enumerate((2_000_000, 3_000_000)):
        (tmp_path / "more" / f"cpu{core}" / "cpufreq").mkdir(parents=True)
        (tmp_path / "more" / f"cpu{core}" / "cpufreq" / "scaling_cur_freq").write_text(f"{khz}\n")
    assert cpu_khz(tmp_path / "more") == 2_500_000


def test_the_device_is_seen_through_the_samples_inside_the_window() -> None:
    samples = [
        Sample(t * MS, sm_mhz=mhz, events=bits) for t, mhz, bits in ((-1, 9, 8), (1, 1000, 4), (199, 1500, 0x40))
    ]
    found = with_device(WINDOW, samples).disturbance
    assert (found.device_mhz, found.device_events) == (1250, 0x44)
    assert with_device(WINDOW, []) == WINDOW
