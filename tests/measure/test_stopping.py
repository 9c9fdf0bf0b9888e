"""Rounds end after a fixed number, or once every ratio is precise or the budget is spent."""

import math
from typing import Any

import pytest

from compress.analysis.precision import half_width, needed_s, shortfall, widest_shortfall
from compress.base.config import InputError
from compress.measure.stopping import finished, latency_ratios
from compress.records.stats import Estimate
from compress.records.window import Window
from compress.spec.measure import PROFILES, Measure

QUICK = PROFILES["quick"]
WIDE, NARROW = Estimate(0.5, 0.4, 0.625, 20), Estimate(0.5, 0.49, 0.51, 20)

CASES = {
    "precise": (20, 50.0, [NARROW], True),
    "one ratio is wide": (20, 50.0, [NARROW, WIDE], False),
    "the budget is over": (20, 90.0, [NARROW, WIDE], True),
    "precise, but 14 rounds": (14, 50.0, [NARROW], False),
    "the budget is over after 5 rounds": (5, 200.0, [WIDE], False),
    "the budget is over after 6 rounds": (6, 200.0, [WIDE], True),
}


@pytest.mark.parametrize(("rounds", "elapsed_s", "ratios", "expected"), CASES.values(), ids=CASES)
def test_quick_ends_by_precision_or_budget(
    rounds: int, elapsed_s: float, ratios: list[Estimate], expected: bool
) -> None:
    assert finished(QUICK, rounds, elapsed_s, ratios) is expected


def test_rounds_end_at_the_most_that_a_result_file_holds() -> None:
    assert [finished(QUICK, n, 0.0, [WIDE]) for n in (999, 1000)] == [False, True]


def test_a_fixed_number_of_rounds_is_kept_however_precise() -> None:
    fixed = Measure(profile="quick", rounds=8).resolved(metered=False)
    assert (fixed.precision, fixed.budget_s, fixed.window_s) == (None, None, QUICK.window_s)
    assert [finished(fixed, n, 1e6, [NARROW]) for n in (7, 8)] == [False, True]
    assert [finished(fixed, n, 0.0, [WIDE]) for n in (7, 8)] == [False, True]


RESOLVED: dict[str, tuple[dict[str, Any], bool, tuple[int, float | None, float | None, float]]] = {
    "auto without a meter is quick": ({}, False, (15, 0.03, 90, 0.2)),
    "auto with a meter is standard": ({}, True, (6, None, None, 5)),
    "a budget for quick": ({"budget_s": 300}, False, (15, 0.03, 300, 0.2)),
    "precision with a meter": ({"precision": 0.01}, True, (15, 0.01, 300, 5)),
    "more rounds at least": ({"precision": 0.01, "rounds": 40}, False, (40, 0.01, 90, 0.2)),
    "rounds and windows": ({"rounds": 5, "window_s": 1.5}, False, (5, None, None, 1.5)),
    "windows alone": ({"window_s": 0.4}, False, (15, 0.03, 90, 0.4)),
}


@pytest.mark.parametrize(("fields", "metered", "expected"), RESOLVED.values(), ids=RESOLVED)
def test_settings_follow_from_profile_and_fields(
    fields: dict[str, Any], metered: bool, expected: tuple[int, float | None, float | None, float]
) -> None:
    found = Measure(**fields).resolved(metered)
    assert (found.rounds, found.precision, found.budget_s, found.window_s) == expected


def test_fewer_than_15_rounds_with_a_precision_are_refused() -> None:
    with pytest.raises((ValueError, InputError), match="got 8 with precision or budget_s; expected at least 15"):
        Measure(precision=0.03, rounds=8)


def test_ratios_are_of_every_runner_to_every_other_reference() -> None:
    def windows(*seconds: float) -> list[Window]:
        return [Window(0, round(2e9 * s), (1, 1), 0, None, None) for s in seconds]

    costs = {"fp32": windows(1, 2, 4), "bf16": windows(1, 1, 1), "ours": windows(0.5, 1, 2)}
    found = latency_ratios(costs, ["fp32", "bf16"])
    assert set(found) == {("bf16", "fp32"), ("ours", "fp32"), ("fp32", "bf16"), ("ours", "bf16")}
    assert found["ours", "fp32"].value == pytest.approx(0.5)
    assert found["bf16", "fp32"].value == pytest.approx(0.5)  # the geometric mean of 1, 1/2 and 1/4


def test_the_time_needed_grows_with_the_square_of_the_half_width() -> None:
    wide = Estimate(0.5, 0.5 * math.exp(-0.12), 0.5 * math.exp(0.12), 60)
    assert half_width(wide) == pytest.approx(0.12)
    assert needed_s(wide, 0.03, 90) == pytest.approx(16 * 90)
    assert needed_s(Estimate(0.5, 0.5, 0.5, 6), 0.03, 90) == pytest.approx(90 * 15 / 6)
    assert needed_s(Estimate(0.5, 0.0, math.inf, 1), 0.03, 90) is None


def test_a_shortfall_states_half_width_rounds_and_minutes() -> None:
    wide = Estimate(0.5, 0.5 * math.exp(-0.12), 0.5 * math.exp(0.12), 60)
    sentence = shortfall({"fp32 eager": NARROW, "bf16 eager": wide}, 0.03, 90)
    assert sentence is not None
    for words in ("its latency ratio to bf16 eager is known to +-12 %", "60 rounds", "+-3 %", "about 24 minutes"):
        assert words in sentence
    assert "--set measure.budget_s=1590" in sentence  # 1440 s and a tenth
    assert shortfall({"fp32 eager": NARROW}, 0.03, 90) is None
    assert shortfall({"fp32 eager": wide}, None, 90) is None
    few = shortfall({"fp32 eager": Estimate(0.5, 0.5, 0.5, 6)}, 0.03, 90)
    assert few is not None and "after 6 rounds" in few and "at least 15 rounds" in few


def within(half_width: float) -> Estimate:
    """A ratio after 60 rounds with this half-width of its logarithm."""
    return Estimate(0.5, 0.5 * math.exp(-half_width), 0.5 * math.exp(half_width), 60)


def pairs(**widths: float) -> dict[tuple[str, str], Estimate]:
    """Ratios named `row_reference`; those of two references in both directions."""
    named = {tuple(key.split("_")): within(width) for key, width in widths.items()}
    return {(name, reference): ratio for (name, reference), ratio in named.items()}


def test_only_recipes_are_named_and_the_widest_of_them_with_the_number_of_others() -> None:
    ratios = pairs(fp32_bf16=0.3, bf16_fp32=0.3, int8_fp32=0.02, int8_bf16=0.05, int4_fp32=0.12, int4_bf16=0.01)
    line = widest_shortfall(ratios, ["fp32", "bf16"], 0.03, 90)
    assert line is not None and line.startswith("int4: its latency ratio to fp32 is known to +-12 % after 60 rounds, ")
    assert line.endswith("--set measure.budget_s=1590; 1 more model misses it too")
    ratios |= pairs(nf4_fp32=0.04)
    assert str(widest_shortfall(ratios, ["fp32", "bf16"], 0.03, 90)).endswith("; 2 more models miss it too")
    precise = {pair: ratio for pair, ratio in ratios.items() if pair[0] in ("fp32", "bf16")} | pairs(int8_fp32=0.02)
    assert widest_shortfall(precise, ["fp32", "bf16"], 0.03, 90) is None
    assert widest_shortfall(ratios, ["fp32", "bf16"], None, 90) is None


def test_a_session_of_references_names_one_direction_of_the_pair() -> None:
    ratios = pairs(fp32_bf16=0.12, bf16_fp32=0.12)
    line = widest_shortfall(ratios, ["fp32", "bf16"], 0.03, 90)
    assert line is not None and line.startswith("bf16: its latency ratio to fp32 is known to +-12 %")
    assert "more" not in line
    assert widest_shortfall({}, [], 0.03, 90) is None
