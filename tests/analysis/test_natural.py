"""Figures of natural points, computed by hand: per example, per correct answer, and in the verdict's sentence."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis import costs, figures
from compress.analysis.judging import judged
from compress.analysis.natural import deployed
from compress.analysis.verdict import point_name, same_point
from compress.base.config import InputError
from compress.records import trace
from compress.records.natural import Texts
from compress.records.session import Runner, RunnerPoint, Session, Shape, Window
from tests import factory
from tests.simulated import IDLE_W, Load, session

LOADS = {factory.FP32: Load(300.0, 0.020), "ours": Load(200.0, 0.010)}
SIZE, PASS, TOKENS = 4, 5, 25.5


def _with_natural(measured: Session) -> Session:
    """The session with every runner's windows recorded as those of a natural point too, in passes of 5 batches of 4."""

    def both(runner: Runner) -> Runner:
        (headline,) = runner.points
        whole = tuple(replace(w, batch_ns=_in_passes(w)) for w in headline.windows)
        shape = Shape(SIZE, None, natural="as_they_come")
        return replace(
            runner, points=(headline, replace(headline, point=shape, windows=whole, texts=Texts(PASS, TOKENS)))
        )

    return replace(measured, runners=tuple(map(both, measured.runners)))


def _in_passes(window: Window) -> tuple[int, ...]:
    count = len(window.batch_ns) // PASS * PASS
    return (*window.batch_ns[: count - 1], sum(window.batch_ns[count - 1 :]))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Session:
    return _with_natural(session(monkeypatch, LOADS, rounds=6, window_s=5.0))


def test_costs_per_example_and_per_correct_answer_by_hand(measured: Session) -> None:
    raw = costs.from_trace(measured)
    headline, point = figures.points(raw, "ours")
    windows = measured.runner("ours").points[1].windows
    examples = [len(w.batch_ns) / PASS * (PASS * SIZE) for w in windows]
    each_s = math.fsum(w.duration_s / n for w, n in zip(windows, examples, strict=True)) / len(windows)
    each_j = math.fsum(200.0 * w.duration_s / n for w, n in zip(windows, examples, strict=True)) / len(windows)
    accuracy = 3 / 4  # of the simulated runners
    assert point.natural is not None
    assert point.natural.texts == Texts(PASS, TOKENS)
    assert point.natural.latency_per_example_s.value == pytest.approx(each_s, rel=1e-9)
    assert point.energy_j is not None
    assert point.energy_j.value == pytest.approx(each_j, rel=0.01)
    assert point.natural.latency_per_correct_s is not None
    assert point.natural.latency_per_correct_s.value == pytest.approx(each_s / accuracy, rel=1e-9)
    assert point.natural.energy_per_correct_j is not None
    assert point.natural.energy_per_correct_j.value == pytest.approx(each_j / accuracy, rel=0.01)
    assert point.energy_per_token_j is not None
    assert point.energy_per_token_j.value == pytest.approx(each_j / TOKENS, rel=0.01)
    assert point.energy_idle_j == pytest.approx(IDLE_W * each_s, rel=0.01)
    assert (headline.natural, headline.headline, point.headline) == (None, True, False)
    assert point.reasons["sequence_length"] == "texts have their own lengths"


def test_a_metric_that_counts_no_answers_gives_no_cost_of_a_correct_one(measured: Session) -> None:
    judged_by = measured.judged_by
    assert judged_by is not None
    raw = costs.from_trace(replace(measured, judged_by=replace(judged_by, metric="f1")))
    natural = figures.points(raw, "ours")[1].natural
    assert natural is not None
    assert (natural.latency_per_correct_s, natural.energy_per_correct_j) == (None, None)


def test_a_trace_of_a_natural_point_is_read_back(measured: Session, tmp_path: Path) -> None:
    trace.write(tmp_path / "t", measured)
    stored = trace.read(tmp_path / "t")
    assert figures.points(costs.from_trace(stored), "ours") == figures.points(costs.from_trace(measured), "ours")


def _without_texts(point: RunnerPoint) -> RunnerPoint:
    return replace(point, texts=None)


def _other_pass(point: RunnerPoint) -> RunnerPoint:
    return replace(point, texts=Texts(len(point.windows[0].batch_ns) - 1, TOKENS))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(_without_texts, "texts without being natural, or lacks them"), (_other_pass, "does not run its texts in whole")],
)
def test_a_trace_whose_windows_are_no_whole_passes_is_refused(
    measured: Session, change: Callable[[RunnerPoint], RunnerPoint], sentence: str, tmp_path: Path
) -> None:
    runners = tuple(replace(r, points=(r.points[0], change(r.points[1]))) for r in measured.runners)
    trace.write(tmp_path / "t", replace(measured, runners=runners))
    with pytest.raises(InputError, match=sentence):
        trace.read(tmp_path / "t")


@pytest.mark.parametrize(
    ("source", "energy", "words"),
    [
        ("modelled", None, "; on the test split's own texts: 0.700 times the latency (0.686 to 0.714)"),
        ("nvml", 0.6, "; on the test split's own texts: 0.600 times the energy (0.588 to 0.612)"),
        ("nvml", None, "; on the test split's own texts: 0.700 times the latency (0.686 to 0.714)"),
    ],
)
def test_the_sentence_ends_with_the_ratio_on_own_texts(source: str, energy: float | None, words: str) -> None:
    made = factory.result(energy_source=source)
    (headline,) = made.points
    result = judged(replace(made, points=(headline, factory.natural(headline, energy=energy))))
    assert made.verdict is not None
    assert result.verdict is not None
    assert result.verdict.sentence == made.verdict.sentence + words
    assert result.verdict == result.points[0].verdict
    assert result.verdict.word == made.verdict.word
    assert result.breakeven == made.breakeven  # which is for the headline


def test_a_model_that_is_broken_has_no_cost_on_own_texts() -> None:
    made = factory.result(accuracy=factory.accuracy(0.5, -0.39))
    result = judged(replace(made, points=(*made.points, factory.natural(made.points[0]))))
    assert made.verdict is not None
    assert made.verdict.word == "BROKEN"
    assert result.verdict == made.verdict


def test_points_of_one_batch_size_are_told_apart_by_name_and_shape() -> None:
    packed = factory.point()
    own = factory.natural(packed)
    assert own.natural is not None
    in_order = replace(own, natural=replace(own.natural, order="sorted"))
    assert [point_name(point) for point in (packed, own, in_order)] == [
        "batch 8 x length 64",
        "batch 8, own lengths",
        "batch 8, own lengths, sorted",
    ]
    shapes = (packed, own, in_order, replace(packed, sequence_length=None))
    assert [[same_point(a, b) for b in shapes] for a in shapes] == [[a is b for b in shapes] for a in shapes]


def test_costs_of_answers_are_those_of_own_texts_or_of_images_and_never_of_packed_texts() -> None:
    packed = factory.point()
    own, image = factory.natural(packed), replace(packed, sequence_length=None)
    assert deployed((packed, own)) is own
    assert deployed((image,)) is image
    assert deployed((packed,)) is None
