"""One loss for every comparison: direction, unit and interval come from the metric; what is unknown never passes."""

import math
from dataclasses import replace
from typing import Any

import pytest

from compress.analysis import loss, odds
from compress.analysis.gate import Check, Limits, check, spread
from compress.analysis.loss import lost, lost_since
from compress.analysis.odds import front_odds
from compress.analysis.pareto import group
from compress.analysis.resampled import difference, relative_difference
from compress.analysis.soundness import unsound_reference
from compress.base.config import InputError
from compress.records.result import Accuracy, Result, Unit
from compress.records.stats import Estimate
from compress.report.charts.panel import panels
from compress.report.describe import describe
from compress.report.page import page_html
from compress.report.sheet import csv_text
from compress.report.text import difference as difference_text
from tests import factory

# metric, higher is better, unit, scale, the reference's value, ours, the loss by hand
CASES: dict[str, tuple[str, bool, Unit, float, float, float, float]] = {
    "fraction": ("own", True, "points", 1.0, 0.981, 0.8625, 0.981 - 0.8625),
    "of a hundred": ("bleu", True, "points", 100.0, 32.0, 30.0, 0.02),
    "error rate": ("wrong", False, "points", 1.0, 0.10, 0.12, 0.02),
    "without a scale": ("own", True, "percent", 1.0, 0.981, 0.8625, 1 - 0.8625 / 0.981),
    "perplexity": ("perplexity", False, "percent", 1.0, 10.0, 10.5, 0.05),
    "below zero": ("likelihood", True, "percent", 1.0, -1.2, -1.5, 0.25),
    "below zero, less is better": ("energy", False, "percent", 1.0, -1.5, -1.2, 0.2),
    "more is gained": ("own", True, "points", 1.0, 0.8, 0.9, -0.1),
    "less error": ("mae", False, "percent", 1.0, 2.0, 1.5, -0.25),
}


def accuracy_of(case: str, ours: float | None = None, half: float = 1e-6) -> Accuracy:
    """Our accuracy in a case, or that of a model with another value."""
    metric, higher, unit, scale, reference, own, _ = CASES[case]
    value = own if ours is None else ours
    subtract = relative_difference if unit == "percent" else difference
    delta = subtract(value, reference, reference)
    return Accuracy(
        metric, Estimate(value, value - 0.001, value + 0.001, 500), higher, None, True, factory.FP32,
        Estimate(delta, delta - half, delta + half, 500), unit=unit, scale=scale,
    )  # fmt: skip


def row(case: str, ours: float | None = None, name: str = "bert_int8", cost: float = 0.5, half: float = 1e-6) -> Result:
    reference = factory.reference(accuracy=replace(accuracy_of(case, CASES[case][4]), delta=None, reference=None))
    return factory.result(name, cost, accuracy=accuracy_of(case, ours, half), references=(reference,))


def gate_check(case: str, limit: float) -> Check:
    (found,) = check([row(case)], [row(case, CASES[case][4])], Limits(loss=(limit, CASES[case][2])))
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_positive_where_ours_is_worse_and_every_command_reads_the_same_one(case: str) -> None:
    metric, higher, unit, _, _, _, expected = CASES[case]
    found = lost(accuracy_of(case))
    assert found is not None
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    since = lost_since(accuracy_of(case), accuracy_of(case, CASES[case][4]))
    assert isinstance(since, Estimate)
    assert since.value == pytest.approx(expected, rel=1e-4)
    if expected > 0:
        assert gate_check(case, 0.9 * expected).state == "FAILED"
        assert gate_check(case, 1.1 * expected).state == "passed"
    else:
        assert gate_check(case, 0.0).state == "passed"
    (table,) = group([row(case)])
    for limit in (0.9 * abs(expected), 1.1 * abs(expected)):
        within = odds.cheapest_within(table, limit, unit)
        assert (within.estimated is not None) is (within.confident is not None) is (expected <= limit)
    sentence = row(case).verdict.sentence  # type: ignore[union-attr]
    verb = {(True, True): "LOSES", (True, False): "GAINS", (False, True): "RAISES", (False, False): "LOWERS"}
    assert verb[higher, expected > 0] in sentence
    size = f"{100 * abs(expected):.1f} {'points' if unit == 'points' else '%'}"
    assert size in sentence
    sign = "-" if higher == (expected > 0) else "+"
    assert difference_text(accuracy_of(case))[0] == f"{sign}{size}"
    assert f"{sign}{size}" in "\n".join(describe(row(case)))
    (panel,) = panels([table])
    mark = next(m for m in panel.marks if m.name == "bert_int8")
    assert mark.y[0] == pytest.approx((-100 if higher else 100) * expected)
    assert f"({'up' if higher else 'down'} is better)" in panel.beside
    page = page_html([table], None).decode()
    assert f'"label":"{metric} ' in page or f'"label":"{metric} \\u2212' in page


@pytest.mark.parametrize("case", CASES)
def test_of_two_that_cost_the_same_the_better_one_is_on_the_front(case: str) -> None:
    higher = CASES[case][1]
    reference = CASES[case][4]
    step = 0.01 * abs(reference)
    good, bad = (reference + step, reference - step) if higher else (reference - step, reference + step)
    (table,) = group([row(case, good, "good"), row(case, bad, "bad")])
    assert "good" in table.front
    assert "bad" not in table.front


@pytest.mark.parametrize(
    ("case", "text"), [("fraction", "2%"), ("perplexity", "2pt"), ("without a scale", "2pt"), ("error rate", "2%")]
)
def test_a_limit_in_a_unit_that_the_metric_has_not_never_passes(case: str, text: str) -> None:
    asked = loss.parse_limit(text, "--max-loss")
    (found,) = check([row(case)], [row(case)], Limits(loss=asked))
    assert (found.state, found.shuts()) == ("UNKNOWN", True)
    assert f"{CASES[case][0]} is compared in {CASES[case][2]}, not in {asked[1]}" in found.detail
    (table,) = group([row(case)])
    with pytest.raises(InputError, match=f"--within: {CASES[case][0]} is compared in {CASES[case][2]}"):
        odds.cheapest_within(table, *asked)


@pytest.mark.parametrize("text", ["0.02", "2", "2 points", "-1pt", "nan%", "infpt"])
def test_a_limit_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--max-loss .*: expected points such as 1pt"):
        loss.parse_limit(text, "--max-loss")


def test_an_assumed_spread_above_100_percent_is_refused() -> None:
    assert spread("100%", "--session-spread") == 1.0
    with pytest.raises(InputError, match=r"--session-spread 100\.5%: expected at most 100%"):
        spread("100.5%", "--session-spread")


def test_the_meaning_of_a_limit_is_stated() -> None:
    assert loss.meaning((0.02, "points"), accuracy_of("of a hundred")) == "bleu down by at most 2"
    assert loss.meaning((0.02, "points"), accuracy_of("error rate")) == "wrong up by at most 0.02"
    assert loss.meaning((0.02, "percent"), accuracy_of("perplexity")) == (
        "perplexity up by at most 2 % of the reference's value"
    )
    assert "own down by at most 0.02" in gate_check("fraction", 0.02).detail


def test_an_own_metric_of_an_older_version_has_no_unit_and_passes_no_limit() -> None:
    old = replace(row("fraction"), accuracy=replace(factory.accuracy(0.86, -0.12, metric="own"), chance=None))
    assert old.accuracy is not None and old.accuracy.unit is None
    for unit in ("points", "percent"):
        (found,) = check([old], [old], Limits(loss=(0.5, unit)))  # type: ignore[arg-type]
        assert found.state == "UNKNOWN"
        assert "older version" in found.detail


def test_a_value_that_changes_its_sign_has_no_relative_loss() -> None:
    found = lost_since(accuracy_of("below zero", 0.3), accuracy_of("below zero"))
    assert isinstance(found, str) and "not of one sign" in found


NAN = math.nan
BAD: dict[str, dict[str, Any]] = {
    "value": {"estimate": Estimate(NAN, NAN, NAN, 500)},
    "infinite value": {"estimate": Estimate(math.inf, 1.0, math.inf, 500)},
    "difference": {"delta": Estimate(NAN, NAN, NAN, 500)},
    "infinite difference": {"delta": Estimate(math.inf, 0.0, math.inf, 500)},
    "outputs": {"finite": False},
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("case", ["fraction", "perplexity"])
def test_figures_that_are_not_finite_pass_no_limit_and_are_on_no_front(case: str, what: str) -> None:
    good = row(case, CASES[case][4], "good", 0.9)
    bad = row(case, CASES[case][4], "bad", 0.1)
    assert bad.accuracy is not None
    bad = replace(bad, accuracy=replace(bad.accuracy, **BAD[what]), verdict=None)
    (table,) = group([good, bad])
    assert "bad" not in table.front
    assert "bad" not in front_odds(table)
    within = odds.cheapest_within(table, 5.0, CASES[case][2])
    assert [c.name for c in (within.estimated, within.confident) if c] == ["good", "good"]
    limits = Limits(loss=(5.0, CASES[case][2]))
    for now, then in ((bad, replace(good, name="bad")), (replace(good, name="bad"), bad)):
        (found,) = check([now], [then], limits)
        assert found.shuts(), found
    lines = csv_text([table]).splitlines()
    assert not any("nan" in cell.lower() for line in lines for cell in line.split(","))


def test_a_ratio_that_is_not_a_number_passes_no_limit_and_has_no_place_on_the_front() -> None:
    good, bad = factory.result("good", 0.5), factory.result("bad", 0.1)
    (point,) = bad.points
    ratio = replace(point.ratios[0], latency=Estimate(NAN, NAN, NAN, 5))
    bad = replace(bad, points=(replace(point, ratios=(ratio,)),))
    (table,) = group([bad, good])
    assert table.front == {"good"} or "bad" not in table.front
    assert [r.name for r in table.results] == ["good", "bad"]
    (found,) = check([bad], [replace(good, name="bad")], Limits(latency=5.0))
    assert (found.state, found.shuts()) == ("UNKNOWN", True)


def test_without_an_interval_nothing_is_confident_and_the_front_has_no_odds() -> None:
    alone = row("perplexity", 10.0, "alone", half=math.inf)
    (table,) = group([alone])
    within = odds.cheapest_within(table, 0.01, "percent")
    assert within.estimated is not None and within.confident is None
    assert front_odds(table) == {}
    assert "(no interval)" in difference_text(alone.accuracy)[1]
    assert alone.verdict is not None
    assert "at an unknown difference of perplexity (no interval)" in alone.verdict.sentence


def test_a_difference_without_an_interval_beats_nobody_has_no_star_and_passes_no_gate() -> None:
    known = row("perplexity", 10.0, "known", half=0.01)
    endless = replace(row("perplexity", 9.0, "endless", half=math.inf), points=known.points)
    (table,) = group([known, endless])
    assert "endless" not in table.front
    assert "known" in table.front
    assert set(front_odds(table)) == {"known", "fp32 eager"}
    from compress.report.notes import footnotes

    notes = footnotes(table)
    assert "Kept off the front, because the interval of their loss is unknown: endless." in notes
    assert any(note.startswith("Percentages: ") for note in notes)
    (alone,) = group([endless])
    assert not any(note.startswith("Percentages: ") for note in footnotes(alone))
    (found,) = check([replace(endless, name="known")], [known], Limits(loss=(0.5, "percent")))
    assert (found.state, found.shuts()) == ("UNKNOWN", True)


def about(metric: str, value: float, half: float, chance: float | None, **fields: Any) -> Accuracy:
    found = Estimate(value, value - half, value + half, 900)
    return Accuracy(metric, found, metric != "perplexity", chance, fields.pop("finite", True), **fields)


@pytest.mark.parametrize(
    ("accuracy", "sound"),
    [
        (about("matthews_correlation", -0.065, 0.06, 0.0), False),
        (about("matthews_correlation", 0.03, 0.06, 0.0), False),
        (about("matthews_correlation", 0.5, 0.06, 0.0), True),
        (about("accuracy", 0.52, 0.03, 0.51), False),
        (about("accuracy", 0.89, 0.02, 0.51), True),
        (about("f1", 0.67, 0.02, 0.67), False),
        (about("perplexity", 33000.0, 500.0, 32000.0), False),
        (about("perplexity", 30.0, 1.0, 32000.0), True),
        (about("perplexity", 30.0, math.inf, 32000.0), True),
        (about("perplexity", 40000.0, math.inf, 32000.0), False),
        (about("own", 0.1, 0.01, 0.9), True),
        (about("own", NAN, 0.01, None), False),
        (about("accuracy", 0.89, 0.02, 0.51, finite=False), False),
    ],
    ids=str,
)
def test_a_reference_must_be_better_than_chance_beyond_noise(accuracy: Accuracy, sound: bool) -> None:
    assert (unsound_reference(accuracy, "fp32 eager") is None) is sound


def test_against_a_model_that_guesses_no_row_has_a_star_or_a_verdict_and_the_table_says_so_first() -> None:
    guess = about("matthews_correlation", -0.065, 0.06, 0.0)
    reference = factory.reference(accuracy=guess)
    made = factory.result(
        "cheap",
        0.3,
        accuracy=replace(guess, delta=Estimate(0, -0.01, 0.01, 900), reference="fp32 eager"),
        references=(reference,),
    )
    (table,) = group([made])
    assert made.verdict is not None and made.verdict.word == "NO VERDICT"
    assert made.breakeven is not None and made.breakeven.inferences is None
    assert not table.front
    assert front_odds(table) == {}
    from compress.report.heading import heading
    from compress.report.page.headline import headline

    assert heading(table)[0].startswith("WARNING: fp32 eager is not measurably better than chance at this task: matth")
    assert headline(table)[0].startswith("No verdict is possible: fp32 eager is not")
    assert any(line.startswith("WARNING") for line in describe(made))
    assert "no recipe can be judged" in odds.answers(table, 0.01, "points", "1pt")[0]
