"""Verdicts, break-even, dominance and what is never mixed."""

import math
import random
import re
import statistics
import subprocess
import sys
from dataclasses import replace

import pytest

from compress.analysis.judging import judged, with_margin
from compress.analysis.loss import margin_of
from compress.analysis.pareto import group
from compress.analysis.sentence import accuracy_words, cost_words
from compress.analysis.verdict import breakeven, verdict
from compress.base.config import InputError
from compress.records.result import Round, Transform
from compress.records.stats import Estimate
from compress.report import text
from compress.report.collection import front
from compress.report.notes import footnotes
from tests import factory


def verdict_of(cost=0.6, delta=0.0, *, source="nvml", half=0.01, spread=0.02, **fields):
    """The verdict on a made row."""
    energy = cost if source in ("nvml", "rapl") else None
    accuracy = fields.pop("accuracy", None) or factory.accuracy(0.89 + delta, delta, half)
    return verdict(
        accuracy,
        fields.pop("reference", factory.accuracy()),
        factory.ratio(latency=fields.pop("latency", cost), energy=energy, spread=spread),
        energy_source=source,
        **fields,
    )


def test_a_measured_saving_is_said_of_the_energy_with_the_loss_in_the_same_breath():
    judgement = verdict_of(0.6, -0.062)
    assert judgement.word == "SAVES"
    assert judgement.sentence == (
        "SAVES 40 % of the energy (39 to 41) AND LOSES 6.2 points of accuracy (5.2 to 7.2), against fp32 eager"
    )


def test_modelled_energy_is_never_the_verdict_and_the_sentence_says_so():
    judgement = verdict_of(0.64, source="modelled")
    assert judgement.word == "SAVES"
    assert judgement.sentence.startswith("SAVES 36 % of the latency (")
    assert "energy is only modelled here" in judgement.sentence
    assert "energy is not measured here" in verdict_of(0.64, source=None).sentence


def test_measured_energy_decides_even_where_latency_says_the_opposite():
    assert verdict_of(1.2, latency=0.5).word == "COSTS MORE"
    assert verdict_of(0.8, latency=1.5).word == "SAVES"


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((2.0, 1.04, 3.8), "COSTS MORE: 2.00 times the latency (1.04 to 3.80)"),
        ((2.0, 1.0000001, 3.8), "COSTS MORE: 2.00 times the latency (just over 1 to 3.80)"),
        ((123.0, 110.0, 140.0), "COSTS MORE: 123 times the latency (110 to 140)"),
        ((0.003, 0.002, 0.004), "SAVES 99.7 % of the latency (99.6 to 99.8)"),
        ((0.9, 0.8, 0.9999999), "SAVES 10 % of the latency (under 0.01 to 20)"),
        ((0.6, 0.59, 0.61), "SAVES 40 % of the latency (39 to 41)"),
    ],
)
def test_no_edge_of_a_significant_cost_is_printed_as_no_difference(interval, words):
    assert cost_words("latency", Estimate(*interval, 6), "")[1] == words


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        ((-0.0006, -0.0011, -0.0001), " AND LOSES 0.06 points of accuracy (0.01 to 0.11)"),
        ((-0.06, -0.11, -0.0004), " AND LOSES 6.00 points of accuracy (0.04 to 11.00)"),
        ((-0.062, -0.072, -0.052), " AND LOSES 6.2 points of accuracy (5.2 to 7.2)"),
    ],
)
def test_no_edge_of_a_significant_loss_is_printed_as_0(delta, words):
    assert accuracy_words(replace(factory.accuracy(0.8), delta=Estimate(*delta, 872)), None) == words


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        ((-0.001, -0.003, 0.002), " at accuracy within 0.5 points (-0.1 points, between -0.3 and +0.2)"),
        ((-0.001, -0.005, 0.005), " at accuracy within 0.5 points (-0.1 points, between -0.5 and +0.5)"),
        (
            (-0.003, -0.013, 0.007),
            " at no measurable loss of accuracy, not shown to be within 0.5 points "
            "(-0.3 points, between -1.3 and +0.7)",
        ),
        ((-0.003, -0.004, -0.002), " AND LOSES 0.3 points of accuracy (0.2 to 0.4), within 0.5 points"),
        (
            (-0.004, -0.007, -0.001),
            " AND LOSES 0.4 points of accuracy (0.1 to 0.7), not shown to be within 0.5 points",
        ),
        ((-0.062, -0.072, -0.052), " AND LOSES 6.2 points of accuracy (5.2 to 7.2)"),
        ((0.02, 0.01, 0.03), " AND GAINS 2.0 points of accuracy (1.0 to 3.0)"),
        ((0.003, 0.002, 0.004), " AND GAINS 0.3 points of accuracy (0.2 to 0.4), within 0.5 points"),
        ((0.0, 0.0, 0.0), " at the same accuracy"),
    ],
)
def test_equivalence_is_shown_only_if_the_whole_interval_is_within_the_margin(delta, words):
    assert accuracy_words(replace(factory.accuracy(0.8), delta=Estimate(*delta, 872)), 0.005) == words


def test_the_default_margin_of_a_relative_difference_is_half_a_percent():
    close = factory.accuracy(6.8, 0.002, 0.001, metric="perplexity")
    assert margin_of(close, None) == 0.005
    judgement = verdict_of(accuracy=close, reference=factory.accuracy(6.79, metric="perplexity"))
    assert "AND RAISES perplexity by 0.2 % (0.1 to 0.3), within 0.5 %, against" in judgement.sentence


def test_another_margin_changes_words_and_front_but_no_figure():
    made = factory.result("small", 0.5, -0.008, half=0.001)
    (wider,) = with_margin([made], "1pt")
    assert made.verdict.sentence.endswith("LOSES 0.8 points of accuracy (0.7 to 0.9), against fp32 eager")
    assert wider.verdict.sentence.endswith("(0.7 to 0.9), within 1 points, against fp32 eager")
    assert wider.points[0].ratios == made.points[0].ratios and wider.margin == "1pt"
    assert group([made])[0].front == {"small", factory.FP32}
    assert group([made], margin="1pt")[0].front == {"small"}
    assert group([wider])[0].margin == 0.01
    assert group([wider, factory.result("other", 0.6)])[0].margin == 0.005  # the smallest of the recipes


def test_a_margin_of_another_unit_is_one_clear_error():
    why = re.escape("--margin 1%: accuracy is compared in points, not in percent; change --margin, such as 1pt")
    with pytest.raises(InputError, match=why):
        group([factory.result("one"), factory.result("two")], margin="1%")
    with pytest.raises(InputError, match="--margin 5: expected points such as 1pt"):
        with_margin([factory.result()], "5")
    with pytest.raises(InputError, match=r"--margin 100\.1pt: expected at most 100 points"):
        with_margin([factory.result()], "100.1pt")
    assert with_margin([factory.result()], "100pt")[0].margin == "100pt"
    with pytest.raises(ValueError, match=re.escape("margin is 1%; expected points for accuracy")):
        factory.result(margin="1%")


def test_rounding_of_an_export_keeps_no_slower_row_on_the_front():
    """The perplexity of a graph differed from its model's by 2e-8, at an eighth of the latency."""
    graph = factory.accuracy(6.805082, 2.1e-8, 8e-8, metric="perplexity")
    rows = [factory.reference(accuracy=factory.accuracy(6.805082, metric="perplexity"))]
    (table,) = group([factory.result("graph", 0.126, accuracy=graph, references=tuple(rows))])
    assert table.front == {"graph"}


def test_no_measurable_loss_still_states_estimate_and_interval():
    assert (
        "at no measurable loss of accuracy, not shown to be within 0.5 points (-0.3 points, between"
        in verdict_of(0.6, -0.003).sentence
    )


def test_a_gain_of_accuracy_is_a_gain():
    assert "AND GAINS 2.0 points of accuracy (1.0 to 3.0)" in verdict_of(0.6, 0.02).sentence


def test_equal_answers_are_the_same_accuracy():
    assert "at the same accuracy" in verdict_of(0.6, 0.0, half=0.0).sentence


@pytest.mark.parametrize(
    ("cost", "spread", "word"),
    [
        (0.97, 0.02, "SAVES"),
        (0.99, 0.02, "NO MEASURABLE DIFFERENCE"),
        (1.0, 0.0, "NO MEASURABLE DIFFERENCE"),
        (1.01, 0.02, "NO MEASURABLE DIFFERENCE"),
        (1.03, 0.02, "COSTS MORE"),
        (0.5, 3.0, "NO MEASURABLE DIFFERENCE"),
    ],
    ids=str,
)
def test_the_word_follows_the_interval_not_the_estimate(cost, spread, word):
    judgement = verdict_of(cost, spread=spread)
    assert judgement.word == word
    assert judgement.sentence.startswith(word)
    assert "accuracy" in judgement.sentence


def test_one_round_says_that_there_is_no_interval():
    ratio = replace(factory.ratio(latency=0.5), latency=Estimate(0.5, 0.0, float("inf"), 1))
    judgement = verdict(factory.accuracy(), factory.accuracy(), ratio)
    assert judgement.word == "NO MEASURABLE DIFFERENCE"
    assert "too few rounds" in judgement.sentence


def test_twice_the_cost_is_said_in_times():
    assert "COSTS MORE: 2.40 times the energy" in verdict_of(2.4).sentence
    assert "COSTS MORE: 31 % more energy" in verdict_of(1.31).sentence


def test_a_wide_interval_is_said_in_whole_percents_and_never_with_an_exponent():
    ratio = replace(factory.ratio(latency=0.76), latency=Estimate(0.76, 0.28, 2.05, 8))
    judgement = verdict(factory.accuracy(), factory.accuracy(), ratio).sentence
    assert "of latency (-24 %, between -72 and +105" in judgement


@pytest.mark.parametrize(
    ("ours", "broken"), [(0.71, False), (0.699, True), (0.51, True), (0.95, False)], ids=str
)  # fmt: skip
def test_broken_is_more_than_half_of_the_margin_above_the_majority_class(ours, broken):
    accuracy = factory.accuracy(ours, ours - 0.89)  # margin 0.89 - 0.51 = 0.38, half of it gone at 0.70
    assert (verdict_of(accuracy=accuracy).word == "BROKEN") is broken


def test_against_a_reference_no_better_than_chance_nothing_saves_and_nothing_is_broken():
    worse, chance = factory.accuracy(0.48, -0.02), factory.accuracy(0.50, chance=0.51)
    judgement = verdict_of(accuracy=worse, reference=chance)
    assert judgement.word == "NO VERDICT"
    assert "fp32 eager is not measurably better than chance at this task: accuracy 0.500 (0.480 to 0.520)" in (
        judgement.sentence
    )


def test_outputs_that_are_not_finite_are_broken_whatever_they_save():
    judgement = verdict_of(0.1, accuracy=factory.accuracy(0.89, 0.0, finite=False))
    assert judgement.word == "BROKEN" and "not finite" in judgement.sentence
    assert verdict_of(accuracy=factory.accuracy(float("nan"), 0.0)).word == "BROKEN"


def test_perplexity_over_twice_the_references_is_broken_and_a_rise_is_a_loss():
    reference = factory.accuracy(8.0, metric="perplexity")
    assert verdict_of(accuracy=factory.accuracy(16.1, 1.01, metric="perplexity"), reference=reference).word == "BROKEN"
    judgement = verdict_of(accuracy=factory.accuracy(8.4, 0.05, metric="perplexity"), reference=reference)
    assert judgement.word == "SAVES"
    assert "AND RAISES perplexity by 5.0 % (4.0 to 6.0)" in judgement.sentence
    better = verdict_of(accuracy=factory.accuracy(7.6, -0.05, metric="perplexity"), reference=reference)
    assert "AND LOWERS perplexity by 5.0 %" in better.sentence


def test_the_cause_names_what_the_kernels_do():
    assert "dequantized to floating point" in verdict_of(1.3, kernel=factory.kernel("dequantized")).cause
    assert verdict_of(1.05, kernel=factory.kernel("masked")).cause == "zeros are stored and multiplied"
    assert verdict_of(0.5, kernel=factory.kernel("real")).cause == ""


def test_the_cause_names_what_the_compression_does_alone():
    runtime = factory.ratio(factory.ONNX, 0.48)
    judgement = verdict_of(0.4, source="modelled", runtime=runtime)
    assert judgement.cause == "compression alone takes 0.48 times the latency of fp32 onnxruntime (0.47 to 0.49)"


def test_judging_finds_the_runtimes_own_reference():
    int8 = next(r for r in factory.family() if r.name == "bert_int8")
    assert "compression alone takes 0.48 times the latency of fp32 onnxruntime" in int8.verdict.cause
    dense = next(r for r in factory.family() if r.name == "bert_dense")
    assert dense.verdict.cause == ""


def test_judging_a_failed_recipe_changes_nothing():
    failed = factory.failed()
    assert judged(failed) == failed


def even(cost=0.5, *, source="nvml", spent_j=300.0, spread=0.02, seconds=12.0):
    point = factory.point(
        factory.ratio(latency=cost, energy=cost if source == "nvml" else None, spread=spread),
        latency_s=0.05 * cost, energy_j=0.1 * cost, energy_source=source,
    )  # fmt: skip
    reference = factory.point(latency_s=0.05, energy_j=0.1, energy_source=source)
    spent = Transform(seconds, spent_j, source, "why", 0, (), energy_uuid="a")
    return breakeven(spent, point, reference, factory.FP32, meter="a")


def test_breakeven_is_joules_spent_over_joules_saved():
    found = even(0.5)  # 300 J / (0.1 J * (1 - 0.5))
    assert found.unit == "joules"
    assert found.inferences.value == pytest.approx(6000)
    # saved: 0.05 J +- t(4) x 0.05 x sd of BUSY / sqrt(5), and +- 1.96 x 2 % of our 0.05 J in another session
    half = math.hypot(2.7764451 * 0.05 * math.sqrt(0.001 / 4 / 5), 1.959964 * 0.02 * 0.05)
    low, high = (
        6000 * math.exp(-math.hypot(math.log(1 + half / 0.05), 1.959964 * 0.02)),
        6000 * math.exp(math.hypot(math.log(1 - half / 0.05), 1.959964 * 0.02)),
    )
    assert (found.inferences.low, found.inferences.high) == pytest.approx((low, high))
    assert (found.inferences.n, found.session_spread) == (len(factory.BUSY), 0.02)


def test_breakeven_of_several_sessions_has_their_spread_in_its_interval_and_assumes_it_for_compressing():
    noise = [(0.97, 1.03), (1.0, 1.01), (1.02, 1.06), (0.99, 1.0), (1.01, 1.02), (0.98, 0.99)]  # ours, the reference's

    def rounds(base, side):
        return tuple(
            Round(i, 0, 0.0, 1.0, 10, 0.0, 10 * 8 * base * pair[side], 1.0, session=i // 2)
            for i, pair in enumerate(noise)
        )

    ratio = replace(factory.ratio(latency=0.5, energy=0.5), session_spread_energy=0.03)
    mine, reference = (
        replace(factory.point(ratio, energy_source="nvml"), rounds=rounds(base, side))
        for side, base in enumerate((0.05, 0.1))
    )
    spent = Transform(1.0, 300.0, "nvml", None, 0, (), energy_uuid="a")
    found = breakeven(spent, mine, reference, factory.FP32, meter="a")
    saved = [0.1 * theirs - 0.05 * ours for ours, theirs in noise]
    sessions = [(a + b) / 2 for a, b in zip(saved[::2], saved[1::2], strict=True)]
    between = 4.3026527 * statistics.stdev(sessions) / math.sqrt(3)  # t of 2 degrees of freedom
    within = 3.1824463 * math.sqrt(sum((a - b) ** 2 / 4 for a, b in zip(saved[::2], saved[1::2], strict=True))) / 3
    mean, half = statistics.fmean(saved), max(between, within)
    up = math.hypot(math.log(mean / (mean - half)), 1.959964 * 0.03)
    assert found.inferences.value == pytest.approx(300 / mean)
    assert found.inferences.high == pytest.approx(300 / mean * math.exp(up))
    assert (found.inferences.n, found.session_spread) == (3, 0.03)


def test_a_saving_below_what_sessions_may_differ_by_has_no_breakeven_and_says_so():
    found = even(0.97, spread=0.001)
    assert found.inferences is None
    assert found.reason == "no measurable saving of energy, assuming that sessions differ by 2 %"


def test_the_interval_of_breakeven_covers_what_it_says():
    """600 sessions that differ by 2 %, after compressing in sessions that do so too."""
    draw = random.Random(5)
    covered = 0
    for _ in range(600):
        spent, session = (math.exp(draw.gauss(0, 0.02)) for _ in range(2))
        theirs, ours = ([m * (1 + draw.gauss(0, 0.03)) for _ in range(6)] for m in (0.10, 0.05 * session))
        ratio = factory.ratio(latency=0.5, energy=0.5)
        points = [factory.point(ratio, energy_j=sum(ours) / 6, energy_source="nvml") for _ in range(2)]
        mine, reference = (
            replace(p, rounds=tuple(Round(i, 0, 0.0, 1.0, 10, 0.0, 10 * 8 * j, 1.0) for i, j in enumerate(joules)))
            for p, joules in zip(points, (ours, theirs), strict=True)
        )
        paid = Transform(1.0, 300.0 * spent, "nvml", None, 0, (), energy_uuid="a")
        found = breakeven(paid, mine, reference, factory.FP32, meter="a").inferences
        covered += found.low <= 6000 <= found.high
    assert 0.93 <= covered / 600 <= 0.97


def test_breakeven_counts_seconds_per_example_without_a_meter():
    found = even(0.5, source="modelled")  # 12 s / (0.05 s / 8 examples * 0.5)
    assert found.unit == "seconds"
    assert found.inferences.value == pytest.approx(12 / (0.05 / 8 * 0.5))


def test_work_too_short_to_meter_breaks_even_by_its_bound():
    point = factory.point(factory.ratio(latency=0.5, energy=0.5), latency_s=0.025, energy_j=0.05, energy_source="nvml")
    reference = factory.point(latency_s=0.05, energy_j=0.1, energy_source="nvml")
    short = Transform(0.4, None, "nvml", "0.4 s are under 20 movements", 0, (), energy_at_most_j=120.0, energy_uuid="a")
    found = breakeven(short, point, reference, factory.FP32, meter="a")
    half = math.hypot(2.7764451 * 0.05 * math.sqrt(0.001 / 4 / 5), 1.959964 * 0.02 * 0.05)
    high = 120 / 0.05 * math.exp(math.hypot(math.log(1 - half / 0.05), 1.959964 * 0.02))
    assert (found.inferences, found.unit, found.reason) == (None, "joules", None)
    assert found.at_most == pytest.approx(high)
    assert text.joined(text.breakeven(found)).startswith("at most 2")
    slower = replace(point, ratios=(factory.ratio(latency=1.3, energy=1.3),))
    assert breakeven(short, slower, reference, factory.FP32).at_most is None


@pytest.mark.parametrize(
    ("cost", "spread", "spent_j", "reason"),
    [(1.3, 0.02, 300.0, "never: costs more"), (0.99, 0.02, 300.0, "no measurable saving"), (0.5, 0.02, None, "why")],
    ids=["costs more", "no measurable saving", "spending unknown"],
)
def test_no_breakeven_says_why(cost, spread, spent_j, reason):
    found = even(cost, spread=spread, spent_j=spent_j)
    assert found.inferences is None
    assert reason in found.reason


def test_energy_of_grade_d_gives_a_verdict_on_latency_that_says_so():
    told = verdict(
        factory.accuracy(),
        factory.accuracy(),
        replace(factory.ratio(latency=0.8, energy=0.5), grade="D"),
        energy_source="nvml",
    )
    assert "of the latency" in told.sentence
    assert "energy is of grade D here" in told.sentence


def test_energies_of_different_boundaries_are_in_different_tables():
    whole, riser = factory.result("a", energy_source="nvml"), factory.result("b", energy_source="nvml")

    def covering(result, boundary):
        return replace(result, points=tuple(replace(p, energy_boundary=boundary) for p in result.points))

    tables = group([covering(whole, "the whole computer"), covering(riser, "one GPU's riser")])
    assert [[r.name for r in table.results] for table in tables] in ([["a"], ["b"]], [["b"], ["a"]])
    assert len(group([covering(whole, "one"), covering(riser, "one")])) == 1


def test_a_broken_model_never_breaks_even():
    broken = factory.result(cost=0.3, delta=-0.35)
    assert broken.verdict.word == "BROKEN"
    assert broken.breakeven.inferences is None and "broken" in broken.breakeven.reason


def test_the_front_of_the_family_has_every_row_that_may_be_better_by_over_the_margin():
    """bert_prune, 0.9 points below bert_int8, is not shown to be worse: its interval is 1.4 points to either side."""
    assert front(factory.family()) == ["bert_prune_distill_int8", "bert_int8", "bert_prune"]
    assert front(factory.family(), margin="3pt") == ["bert_prune_distill_int8", "bert_int8"]


def test_a_recipe_that_the_dense_model_beats_is_not_on_the_front():
    worse = factory.result("worse", 1.2, -0.03)
    assert front([worse]) == []
    assert group([worse])[0].front == {factory.FP32}


def test_broken_and_failed_recipes_are_never_on_the_front():
    results = [factory.result("cheapest", 0.05, -0.38), factory.failed("none"), factory.result("good", 0.5, 0.0)]
    assert front(results) == ["good"]


@pytest.mark.parametrize(
    "other",
    [
        {"workload": {"name": "sst2-bert"}},
        {"workload": {"name": "stdlib-bert", "model": "another folder"}},
        {"machine": factory.machine("m2")},
        {"machine": factory.machine("m1", "cuda:0")},
        {"limit": 64},
        {"energy_source": "rapl"},
        {"references": (replace(factory.reference(), name=factory.FP32, verdict_reference=False),)},
    ],
    ids=["workload", "data of the same name", "machine", "device", "limit", "meter", "reference"],
)
def test_incomparable_results_are_in_separate_tables(other):
    cheap = factory.result("cheap", 0.2, 0.01, half=0.0)
    costly = factory.result("costly", 0.9, -0.01, half=0.0)
    assert front([cheap, costly]) == ["cheap"]
    apart = factory.result("costly", 0.9, -0.01, half=0.0, **other)
    tables = group([cheap, apart])
    assert len(tables) == 2
    assert all(len(table.results) == 1 for table in tables)


def test_sessions_are_joined_by_ratios_not_by_milliseconds():
    slow_day = factory.result("cheap", 0.3, 0.0, half=0.0, session="s2")
    slow_day = replace(slow_day, points=(replace(slow_day.points[0], latency_s=factory.near(9.0)),))
    table = group([factory.result("costly", 0.6, -0.01, half=0.0), slow_day])[0]
    assert [r.name for r in table.results] == ["cheap", "costly"]
    assert table.front == {"cheap"}


def test_a_failed_recipe_goes_into_the_table_of_its_workload_and_machine():
    tables = group([factory.result(), factory.failed("bad"), factory.failed("alone", machine=factory.machine("m9"))])
    assert [[r.name for r in t.failed] for t in tables] == [["bad"], ["alone"]]


def test_of_two_results_of_one_recipe_the_newest_counts():
    old = factory.result(cost=0.9, created="2025-01-01T00:00:00+00:00")
    new = factory.result(cost=0.5, created="2025-06-01T00:00:00+00:00")
    table = group([new, old])[0]
    assert table.results == (new,)
    assert table.superseded == ("bert_int8",)


def test_a_lower_perplexity_is_better_on_the_front():
    reference = factory.reference(accuracy=factory.accuracy(8.0, metric="perplexity"))

    def row(name, cost, delta):
        accuracy = factory.accuracy(8 * (1 + delta), delta, 0.001, metric="perplexity")
        return factory.result(name, cost, delta, accuracy=accuracy, references=(reference,))

    assert front([row("good", 0.5, -0.1), row("bad", 0.5, 0.2)]) == ["good"]


def test_reading_and_judging_never_imports_torch_or_matplotlib():
    heavy = "{'torch', 'matplotlib', 'transformers'}"
    code = f"import sys, compress.analysis.pareto, compress.report; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_energy_below_the_asked_grade_is_on_no_front_and_named() -> None:
    good, poor = (
        factory.result("good", cost=0.6, energy_source="nvml"),
        factory.result("poor", cost=0.3, energy_source="nvml"),
    )
    lowered = tuple(replace(p, grade="C") for p in poor.points)
    both = [good, replace(poor, points=lowered)]
    (strict,), (lax,) = group(both), group(both, "C")
    assert "poor" not in strict.front
    assert strict.unranked == ("poor",)
    assert "poor" in lax.front
    assert lax.unranked == ()


def test_where_no_energy_is_good_enough_the_front_is_of_latency_and_the_table_says_why() -> None:
    made = factory.result("only", cost=0.3, energy_source="rapl")
    only = replace(made, points=tuple(replace(p, grade="C") for p in made.points))
    (strict,), (lax,) = group([only]), group([only], "C")
    assert (strict.axis, strict.unranked) == ("latency", ())
    assert "only" in strict.front
    assert any("no recipe's energy is of grade B or better" in note for note in footnotes(strict))
    assert any("pareto --grade C ranks it by energy" in note for note in footnotes(strict))
    assert lax.axis == "energy"
    hopeless = replace(made, points=tuple(replace(p, grade="D") for p in made.points))
    assert not any("--grade C" in note for note in footnotes(group([hopeless])[0]))


def test_a_workload_is_told_by_content_not_by_where_it_lies():
    def at(place: str, content: str) -> dict[str, object]:
        return {
            "name": "my",
            "model": f"{place}/model",
            "dataset": {"path": f"{place}/data"},
            "resolved": {"model": place, "model_content": content, "dataset_content": "d"},
        }

    def tables(*workloads: dict[str, object]) -> int:
        return len(group(factory.result(f"r{i}", workload=w) for i, w in enumerate(workloads)))

    assert tables(at("/a", "1"), at("/b", "1")) == 1
    assert tables(at("/a", "1"), at("/a", "2")) == 2


def test_the_newest_result_is_the_later_moment_not_the_later_text():
    old = factory.result("a", 0.9, created="2025-05-05T23:00:00+09:00", session="old")
    new = factory.result("a", 0.5, created="2025-05-05T20:00:00+00:00", session="new")
    for order in ([old, new], [new, old]):
        (table,) = group(order)
        assert table.results == (new,) and table.newest is new and table.superseded == ("a",)


def _of_file(name, higher, content=None, **fields):
    """A result that a user's metric file judged, which has this digest."""
    accuracy = factory.accuracy(metric="m", unit="points", higher_is_better=higher, chance=None, **fields)
    contents = {"model_content": "1", "dataset_content": "2", **({"metric_content": content} if content else {})}
    workload = {"name": "w", "metric": f"{name}/m.py", "dataset": {"path": "d"}, "resolved": contents}
    return factory.result(
        name, accuracy=accuracy, workload=workload, references=(factory.reference(accuracy=accuracy),)
    )


def test_an_edited_metric_makes_another_table_and_a_moved_one_does_not():
    assert len(group([_of_file("a", True, "x"), _of_file("b", True, "x")])) == 1
    assert len(group([_of_file("a", True, "x"), _of_file("b", True, "y")])) == 2


@pytest.mark.parametrize("other", [{"higher": False}, {"higher": True, "scale": 100.0}])
def test_directions_and_scales_of_a_metric_share_no_table(other):
    def one(name, **fields):
        made = _of_file(name, **fields)
        return replace(made, workload={**made.workload, "metric": "m.py"})

    tables = group([one("a", higher=True), one("b", **other)])
    assert [[r.name for r in table.results] for table in tables] in ([["a"], ["b"]], [["b"], ["a"]])
