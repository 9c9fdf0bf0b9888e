"""The gate passes what is shown to be within its limits, and nothing that it cannot see or compare."""

import random
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import NormalDist
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from benchmarks.study.gates import gated
from compress.analysis.gate import Check, Limits, check, growth
from compress.analysis.sentence import assumption, spread_percent
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import stats
from compress.records.result import Result, Verdict
from compress.records.stats import Estimate
from compress.report import junit, print_checks
from tests import factory
from tests.helpers import compress

ENERGY = Limits(energy=0.03)
LATENCY = Limits(latency=0.03)
LOSS = Limits(loss=(0.005, "points"))


def one(now: Result, then: Result, limits: Limits) -> Check:
    (found,) = check([now], [then], limits)
    return found


def metered_result(cost: float, **fields: Any) -> Result:
    return factory.result("bert_int8", cost, energy_source="nvml", **fields)


def apart(spread: float) -> list[Result]:
    """The same cost in two sessions."""
    return [metered_result(0.5, spread=spread, session=session) for session in ("s2", "s1")]


@pytest.mark.parametrize(
    ("now", "spread", "state"),
    [
        (0.5, 0.002, "passed"),
        (0.4, 0.002, "passed"),
        (0.51, 0.002, "passed"),
        (0.53, 0.002, "FAILED"),
        (0.53, 0.1, "undecided"),
        (0.501, 0.1, "undecided"),
    ],
)
def test_a_cost_that_grows_beyond_limit_and_noise_shuts_the_gate(now: float, spread: float, state: str) -> None:
    found = one(metered_result(now, spread=spread), metered_result(0.5, spread=spread), ENERGY)
    assert (found.state, found.what) == (state, "energy")
    assert (found.shuts(), found.shuts(allow_undecided=True)) == (state != "passed", state == "FAILED")
    assert ("would decide it" in found.detail) == (state == "undecided")
    plain = [factory.result("bert_int8", cost, spread=spread) for cost in (now, 0.5)]
    assert one(*plain, LATENCY).state == state


def test_energy_that_nobody_measured_has_not_passed() -> None:
    found = one(factory.result(), factory.result(), ENERGY)
    assert found.state == "UNKNOWN" and found.shuts(allow_undecided=True)
    assert "--max-latency" in found.detail
    assert one(metered_result(0.5), factory.result(), ENERGY).detail.startswith("energy is unknown in the baseline")


def test_another_reference_another_machine_and_no_result_do_not_pass() -> None:
    other = factory.result(references=(factory.reference(factory.BF16),))
    assert one(other, factory.result(), LATENCY).state == "UNKNOWN"
    elsewhere = factory.result(machine=replace(factory.machine(), device_name="Another CPU"))
    found = check([elsewhere], [factory.result()], LATENCY)
    assert [(c.state, c.shuts()) for c in found] == [("MISSING", True), ("new", False)]
    assert "only on Another CPU" in found[0].detail
    limited = check([factory.result(limit=50)], [factory.result()], LATENCY)
    assert limited[0].state == "MISSING" and "--limit" in limited[0].detail


def test_a_board_of_the_same_kind_is_compared_and_only_the_newest_result_counts() -> None:
    there = factory.machine(id="m2")
    assert one(factory.result(machine=there), factory.result(), LATENCY).state == "passed"
    old = factory.result(cost=0.9, created="2025-01-01T10:00:00+00:00")
    (found,) = check([old, factory.result()], [factory.result()], LATENCY)
    assert found.state == "passed"


def test_a_new_failure_fails_the_gate_and_a_failed_baseline_passes_nothing() -> None:
    found = one(factory.failed("bert_int8", error="no kernel\nTraceback"), factory.result(), LATENCY)
    assert (found.state, found.detail) == ("FAILED", "failed: no kernel")
    assert one(factory.result(delta=-0.35), factory.result(), LATENCY).detail == "BROKEN now, but not in the baseline"
    assert check([factory.result()], [factory.failed("bert_int8")], LATENCY) == []


def right(bits: list[bool]) -> str:
    return format(sum(1 << i for i, bit in enumerate(bits) if bit), "x")


def answered_result(bits: list[bool]) -> Result:
    made = factory.result()
    assert made.accuracy is not None
    n, good = len(bits), sum(bits)
    return replace(made, accuracy=replace(made.accuracy, estimate=stats.wilson(good, n), right=right(bits)))


def test_accuracy_is_compared_on_the_same_examples() -> None:
    then = [i % 10 != 0 for i in range(872)]
    assert one(answered_result(then), answered_result(then), LOSS).state == "passed"
    worse = [bit and i % 20 != 1 for i, bit in enumerate(then)]  # 44 more wrong answers, none more right
    found = one(answered_result(worse), answered_result(then), LOSS)
    assert found.state == "FAILED" and "+5.05 points lost" in found.detail
    few = [bit and i not in (1, 2, 3, 4, 5) for i, bit in enumerate(then)]
    assert one(answered_result(few), answered_result(then), LOSS).state == "undecided"  # 0.57 points by five answers


def test_a_joint_interval_of_few_changed_answers_is_tangos() -> None:
    """Scaled from the 95 % interval, +-0.21 points would pass a loss of at most 0.25 points."""
    then = [i % 10 != 0 for i in range(2819)]
    family = {f"r{i}": answered_result(then) for i in range(9)}
    both = [replace(result, name=name) for name, result in family.items()]
    limits = Limits(latency=0.5, loss=(0.0025, "points"))
    found = [each for each in check(both, both, limits) if each.what == "accuracy"]
    exact = stats.paired_difference(0, 0, 2819, 1 - 0.05 / 18)
    squared = NormalDist().inv_cdf(1 - 0.025 / 18) ** 2
    assert exact.high == pytest.approx(squared / (2819 + squared), rel=1e-6)  # of no change, that is Tango's
    assert {each.state for each in found} == {"undecided"} and len(found) == 9
    assert f"({100 * exact.low:+.2f} to {100 * exact.high:+.2f})" in found[0].detail


def test_without_answers_the_differences_to_the_reference_are_compared() -> None:
    assert one(factory.result(delta=-0.05, half=0.001), factory.result(half=0.001), LOSS).state == "FAILED"
    assert one(factory.result(delta=-0.05, half=0.1), factory.result(half=0.1), LOSS).state == "undecided"
    perplexity = [
        factory.result(accuracy=factory.accuracy(12.0, delta, 0.001, metric="perplexity")) for delta in (0.05, 0.01)
    ]
    assert one(*perplexity, Limits(loss=(0.02, "percent"))).state == "FAILED"
    assert one(*reversed(perplexity), Limits(loss=(0.02, "percent"))).state == "passed"
    assert "change --max-loss" in one(*perplexity, LOSS).detail


def test_noise_shuts_the_gate_as_seldom_as_promised() -> None:
    """500 gates of five equal recipes each: any one of them shuts in at most 5 % even at a limit of nothing."""
    draw = random.Random(1)

    def measured(name: str) -> Result:
        logs = [draw.gauss(0, 0.02) for _ in range(6)]
        ratio = stats.paired_ratio([0.5 * stats.math.exp(x) for x in logs], [1.0] * 6)
        made = factory.result(name)
        (point,) = made.points
        return replace(made, points=(replace(point, ratios=(replace(point.ratios[0], latency=ratio),)),))

    names = [f"r{i}" for i in range(5)]
    shut = 0
    for _ in range(500):
        found = check([measured(n) for n in names], [measured(n) for n in names], Limits(latency=0.0))
        shut += any(c.state == "FAILED" for c in found)
    assert shut <= 0.05 * 500


@pytest.mark.parametrize("recipes", [1, 14])
def test_a_gate_that_cannot_see_does_not_pass(recipes: int) -> None:
    """A true growth of 5 % passes a limit of 3 % in at most 2.5 % of 400 gates of 5 rounds with 5 % of noise."""
    draw = random.Random(2)

    def measured(name: str, cost: float) -> Result:
        ratio = stats.paired_ratio([cost * stats.math.exp(draw.gauss(0, 0.05)) for _ in range(5)], [1.0] * 5)
        made = factory.result(name)
        return replace(
            made, points=(replace(made.points[0], ratios=(replace(made.points[0].ratios[0], latency=ratio),)),)
        )

    passed = 0
    for _ in range(400):
        names = [f"r{index}" for index in range(recipes)]
        found = check([measured(n, 0.525) for n in names], [measured(n, 0.5) for n in names], LATENCY)
        passed += found[0].state == "passed"
    assert passed <= 0.025 * 400


def in_session(session: str, cost: float = 0.5, estimated: float | None = None, **fields: Any) -> Result:
    """A result of another session; `estimated` makes it one of three sessions that differ by so much."""
    made = factory.result("bert_int8", cost, session=session, **fields)
    (point,) = made.points
    ratio = replace(point.ratios[0], session_spread=estimated)
    rounds = tuple(replace(r, session=i % 3 if estimated is not None else 0) for i, r in enumerate(point.rounds))
    return replace(made, points=(replace(point, ratios=(ratio,), rounds=rounds),))


def test_single_sessions_are_compared_under_the_assumed_spread_and_the_sentence_says_so() -> None:
    now, then = in_session("s2", 0.51, spread=0.002), in_session("s1", spread=0.002)
    found = one(now, then, LATENCY)
    assert found.state == "undecided" and "assuming that sessions differ by 2 %; only more sessions" in found.detail
    # log 1.02 +- 1.96 x sqrt(2) x 2 %, and the rounds' own 0.2 % on both sides
    half = stats.math.hypot(1.959964 * 0.02, 0.002) * stats.math.sqrt(2)
    low, high = (100 * (1.02 * stats.math.exp(sign * half) - 1) for sign in (-1, 1))
    assert f"({low:+.1f}% to {high:+.1f}%)" in found.detail
    assert one(now, then, replace(LATENCY, session_spread=0.001)).state == "passed"
    assert "differ by 0.1 %" in one(now, then, replace(LATENCY, session_spread=0.001)).detail
    certain = one(now, then, replace(LATENCY, session_spread=0.0))
    assert certain.state == "passed" and "assuming" not in certain.detail
    assert one(replace(now, session_spread=0.05), replace(then, session_spread=0.05), LATENCY).state == "undecided"
    assert "differ by 5 %" in one(replace(now, session_spread=0.05), then, LATENCY).detail


def test_a_result_compared_with_itself_has_no_spread_between_sessions() -> None:
    only = in_session("s1", spread=0.002)
    found = one(only, only, LATENCY)
    assert found.state == "passed" and "assuming" not in found.detail


@pytest.mark.parametrize("limit", [0.0, 0.03])
def test_the_same_measurement_differs_from_itself_by_exactly_0_however_noisy_it_is(limit: float) -> None:
    only = in_session("s1", spread=0.3)
    found = one(only, only, Limits(latency=limit))
    assert (found.state, found.detail) == (
        "passed",
        f"latency +0.0%, at most {limit:+.1%}: both are the same measurement",
    )
    other = in_session("s2", spread=0.3)
    assert one(other, only, LATENCY).state == "undecided"


def test_checks_that_are_unknown_are_not_counted_as_failed() -> None:
    results = [unreliable("a"), unreliable("b"), factory.result("c")]
    found = check(results, [*results, factory.result("d")], LATENCY)
    assert [each.state for each in found] == ["UNKNOWN", "UNKNOWN", "passed", "MISSING"]
    assert all(each.shuts(allow_undecided=True) for each in found[:2])
    assert found[0].detail.endswith("; measure it again: python -m compress run a --fresh")
    screen = Console(file=StringIO(), width=500)
    print_checks(found, screen, allow_undecided=True)
    last = screen.file.getvalue().splitlines()[-1]
    assert last == "1 of 4 checks are missing (not passed); 2 of 4 checks are unknown (not passed)"


def unreliable(name: str) -> Result:
    return replace(factory.result(name), verdict=Verdict("NOT RELIABLE", "NOT RELIABLE: disturbed"))


def test_rows_of_several_splits_are_told_apart() -> None:
    splits = [_of_split("validation"), _of_split("test")]
    missing = check([], splits, LATENCY)
    assert [each.workload for each in missing] == ["stdlib-bert (split validation)", "stdlib-bert (split test)"]
    assert [each.workload for each in check(splits[:1], splits[:1], LATENCY)] == ["stdlib-bert"]
    limited = check([factory.result(limit=100)], [factory.result()], LATENCY)
    assert [each.workload for each in limited] == ["stdlib-bert (all examples)", "stdlib-bert (100 examples)"]


def _of_split(split: str) -> Result:
    made = factory.result()
    return replace(made, workload={**made.workload, "dataset": {"test": split}})


def test_the_larger_of_the_assumed_and_the_estimated_spread_is_added_to_the_side_of_a_single_session() -> None:
    single, several = in_session("s2", spread=0.002), in_session("s1", spread=0.002, estimated=0.04)
    assert "assuming that sessions differ by 4 %" in one(single, several, LATENCY).detail
    assert (
        "assuming that sessions differ by 2 %"
        in one(single, in_session("s1", spread=0.002, estimated=0.01), LATENCY).detail
    )
    both = one(in_session("s2", spread=0.05, estimated=0.04), several, LATENCY)
    assert "assuming" not in both.detail and "sessions on each side would decide it" in both.detail


def test_with_several_sessions_on_one_side_only_the_other_side_is_to_have_more() -> None:
    single, several = in_session("s2", spread=0.02), in_session("s1", spread=0.02, estimated=0.01)
    for now, then, where in ((single, several, "now"), (several, single, "the baseline")):
        found = one(now, then, LATENCY)
        assert found.state == "undecided"
        assert found.detail.endswith(f"; only more sessions of {where} (measure.sessions), as on the other side, "
                                     "can decide it")  # fmt: skip


@pytest.mark.parametrize(
    ("spread", "estimated", "advised"),
    [
        (0.02, 0.01, "about 5 sessions on each side would decide it, instead of 3: --set measure.sessions=5"),
        (0.08, 0.01, "over 20 sessions on each side would be needed to decide it, and a result has no more"),
        (0.4, None, "over 1000 rounds on each side would be needed to decide it, and a result has no more"),
    ],
    ids=["sessions", "more sessions than a result has", "more rounds than a result has"],
)
def test_no_more_sessions_or_rounds_are_advised_than_a_result_can_have(
    spread: float, estimated: float | None, advised: str
) -> None:
    """Half-width of the growth: about sqrt(2) x spread; of 3 sessions, 3 (1.41 x 0.02 / 0.023)^2 are needed."""
    sides = [in_session(name, spread=spread, estimated=estimated) for name in ("s2", "s1")]
    n = 3 if estimated is not None else 15
    sides = [_counted(side, n) for side in sides]
    found = one(*sides, Limits(latency=0.023, session_spread=0.0))
    assert found.state == "undecided" and found.detail.endswith(advised), found.detail


def _counted(result: Result, n: int) -> Result:
    """The result with a ratio of n observations."""
    (point,) = result.points
    ratio = replace(point.ratios[0], latency=replace(point.ratios[0].latency, n=n))
    return replace(result, points=(replace(point, ratios=(ratio,)),))


@pytest.mark.parametrize(("spread", "words"), [(1.0, "100 %"), (0.125, "12 %"), (0.025, "2.5 %"), (0.995, "100 %")])
def test_the_assumed_spread_is_printed_in_plain_percent(spread: float, words: str) -> None:
    assert assumption(spread) == f"assuming that sessions differ by {words}"
    assert f"{spread_percent(spread)} %" == words


@pytest.mark.parametrize(("spread", "most"), [(0.01, 0.05), (0.02, 0.05)])
def test_equal_recipes_of_sessions_that_differ_fail_seldom(spread: float, most: float) -> None:
    """200 gates of 14 equal recipes at a limit of nothing."""
    failed = gated(np.random.default_rng(8), 200, spread).any_failed
    assert failed <= most


def test_the_number_of_rounds_that_is_stated_decides() -> None:
    """With that many rounds of the same noise, the interval ends at the limit."""
    found = one(*apart(0.05), replace(ENERGY, session_spread=0.0))
    half = Estimate(0.5, 0.475, 0.525, 5)
    grown = stats.quotient(half, half)
    needed = 5 * ((grown.high - 1) / 0.03) ** 2
    rounds = stats.math.ceil(needed)
    advised = f"about {rounds} rounds on each side would decide it, instead of 5: --set measure.rounds={rounds}"
    assert advised in found.detail
    equal = one(metered_result(0.5 * 1.03, spread=0.05), metered_result(0.5, spread=0.05), ENERGY)
    assert equal.state == "undecided"


def test_cost_is_energy_where_both_sides_were_metered_and_latency_elsewhere() -> None:
    limits = Limits(cost=0.03)
    metered, unmetered = metered_result(0.5, spread=0.002), factory.result("bert_int8", 0.5, spread=0.002)
    assert one(metered, metered, limits).what == "energy"
    assert one(metered, unmetered, limits).what == one(unmetered, metered, limits).what == "latency"
    assert one(unmetered, unmetered, limits).state == "passed"


@pytest.mark.parametrize("text", ["3", "3pt", "-1%", "x%", "nan%", "inf%", ""])
def test_a_limit_is_percent(text: str) -> None:
    with pytest.raises(InputError, match="expected a percentage"):
        growth(text, "--max-energy")
    assert growth("+3%", "") == growth(" 3% ", "") == pytest.approx(0.03)


def test_junit_holds_every_check_and_stays_xml() -> None:
    checks = [Check("w", "<b>&", "energy", "FAILED", 'more\x1b "than"'), Check("w", "r", "latency", "passed", "+0 %")]
    suite = ElementTree.fromstring(junit(checks))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["<b>&: energy", "r: latency"]
    (failure,) = suite.iter("failure")
    assert failure.get("message") == 'more  "than"' or failure.get("message") == 'more "than"'


def written(folder: Path, *results: Result) -> Path:
    for result in results:
        result_files.write(folder, result)
    return folder


def test_the_command_ends_with_1_when_the_gate_is_shut(tmp_path: Path) -> None:
    now = written(tmp_path / "now", factory.result("a", 0.9, spread=0.002), factory.result("b", spread=0.002))
    then = written(tmp_path / "then", factory.result("a", 0.5, spread=0.002), factory.result("b", spread=0.002))
    arguments = ("check", now, "--baseline", then, "--max-latency", "+3%", "--max-loss", "1pt")
    for more, failures in (((), "3"), (("--allow-undecided",), "1")):  # 60 examples cannot show a loss below 1 point
        done = compress(*arguments, "--junit", tmp_path / "j.xml", *more, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "1 of 4 checks failed; 2 of 4 checks are undecided" in done.stdout
        assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == failures
    done = compress("check", now, "--baseline", now, "--max-latency", "+3%", cwd=tmp_path)
    assert done.returncode == 0 and "all 2 checks passed" in done.stdout
    undecided = ("check", now, "--baseline", now, "--max-loss", "1pt")
    assert [compress(*undecided, *more, cwd=tmp_path).returncode for more in ((), ("--allow-undecided",))] == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--max-latency", "3%"), "--baseline is not given"),
        (("--baseline", "now"), "no limit is given"),
        (
            ("--baseline", "nowhere", "--max-latency", "3%"),
            "--baseline nowhere: no such folder; expected a folder of results",
        ),
        (("--baseline", "now", "--max-latency", "3"), "expected a percentage"),
        (("--baseline", "now", "--max-loss", "3"), "--max-loss 3: expected points"),
        (("--baseline", "now", "--max-latency", "3%", "--junit", "no/j.xml"), "--junit no/j.xml: cannot be written"),
    ],
)
def test_bad_input_of_the_command_is_one_error(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    written(tmp_path / "now", factory.result())
    done = compress("check", "now", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr


def test_intervals_of_one_comparison_are_those_of_the_results() -> None:
    found = one(*apart(0.02), replace(ENERGY, session_spread=0.0))
    half = Estimate(0.5, 0.49, 0.51, 5)
    both = stats.quotient(half, half)
    assert f"{both.low - 1:+.1%} to {both.high - 1:+.1%}" in found.detail


@pytest.mark.parametrize("out", ["then/stdlib-bert/bert_int8-m1.json", "checks.txt", "link.xml", "folder.xml"])
def test_a_junit_file_never_takes_the_place_of_a_result(out: str, tmp_path: Path) -> None:
    for name in ("now", "then"):
        result_files.write(tmp_path / name, factory.result("bert_int8"))
    (tmp_path / "link.xml").symlink_to("now/stdlib-bert/bert_int8-m1.json")
    (tmp_path / "folder.xml").mkdir()
    before = [path.read_bytes() for path in sorted(tmp_path.rglob("*.json"))]
    found = compress("check", "now", "--baseline", "then", "--max-latency", "5%", "--junit", out, cwd=tmp_path)
    assert found.returncode == 2 and found.stderr.count("\n") == 1 and "--junit" in found.stderr, found.stderr
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*.json"))] == before
