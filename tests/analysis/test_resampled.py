"""Intervals of metrics by resampling: the right value by scikit-learn, and no interval where resampling knows none."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compress.analysis import metrics
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.resampled import interval
from compress.base.config import InputError
from compress.data.tasks.classes import SAMPLE_OUTCOMES
from compress.records import stats
from compress.records.result import Accuracy

OWN = """
import datasets
import evaluate
import numpy as np
{extra}
class Own(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=datasets.Features(
            {{"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}}))

    def _compute(self, predictions, references):
        p, r = np.array(predictions), np.array(references)
        return {{"own": {value}}}
"""


def classes(predictions: Sequence[float], references: Sequence[float], outputs: int | None = None) -> Evaluation:
    return Evaluation({"prediction": predictions, "reference": references}, True, 32, outputs=outputs)


def drawn(n: int, weights: Sequence[float], seed: int = 3) -> tuple[list[float], list[float]]:
    """Answers that are right for seven in ten, and labels of so many classes."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(weights), n, p=weights)
    noise = generator.choice(len(weights), n)
    answers = np.where(generator.random(n) < 0.7, labels, noise)
    return answers.astype(float).tolist(), labels.astype(float).tolist()


def accuracy_of(ours: Evaluation, metric: str, reference: Evaluation | None = None) -> Accuracy:
    return summarise(ours, metric, reference, None if reference is None else "fp32 eager", 0)


@pytest.mark.parametrize(
    ("weights", "outputs", "variant"),
    [
        ((0.9, 0.1), 2, "of class 1"),
        ((0.48, 0.48, 0.04), 3, "the mean over 3 classes"),
        ((0.5, 0.5), 3, "the mean over 2 classes"),
    ],
    ids=["binary", "a rare third class", "a model of three classes on labels of two"],
)
def test_f1_has_the_same_form_on_the_whole_split_and_on_every_resample(
    weights: tuple[float, ...], outputs: int, variant: str
) -> None:
    from sklearn.metrics import f1_score

    answers, labels = drawn(40, weights)
    found = accuracy_of(classes(answers, labels, outputs), "f1")
    p, r = np.array(answers), np.array(labels)
    chosen = [1.0] if variant == "of class 1" else sorted(set(labels))

    def f1(index: np.ndarray) -> float:
        return float(f1_score(r[index], p[index], labels=chosen, average="macro", zero_division=0))

    generator = np.random.default_rng(0)
    resampled = [f1(generator.integers(0, 40, 40)) for _ in range(200)]
    assert found.variant == variant
    assert found.estimate.value == pytest.approx(f1(np.arange(40)))
    assert (found.estimate.low, found.estimate.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())


def test_matthews_correlation_and_its_interval_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import matthews_corrcoef

    answers, labels = drawn(50, (0.6, 0.4))
    found = accuracy_of(classes(answers, labels), "matthews_correlation").estimate
    p, r = np.array(answers), np.array(labels)
    generator = np.random.default_rng(0)
    indices = [generator.integers(0, 50, 50) for _ in range(200)]
    assert found.value == pytest.approx(matthews_corrcoef(r, p))
    assert (found.low, found.high) == pytest.approx(
        np.quantile([matthews_corrcoef(r[i], p[i]) for i in indices], [0.025, 0.975]).tolist()
    )


@pytest.mark.parametrize(
    ("answers", "labels"),
    [([0.0, 1.0] * 20, [1.0] * 40), ([1.0] * 40, [0.0, 1.0] * 20)],
    ids=["labels of one class", "answers of one class"],
)
def test_a_metric_that_is_the_same_on_every_resample_has_no_interval_and_says_why(
    answers: list[float], labels: list[float]
) -> None:
    reference = classes(labels, labels)
    found = accuracy_of(classes(answers, labels), "matthews_correlation", reference)
    assert found.estimate.value == 0
    assert not found.estimate.bounded
    assert found.reasons["interval"] == "no interval: the same on all 200 resamples of the examples"
    assert found.delta is None or not found.delta.bounded or found.delta.low < found.delta.high


def test_a_metric_that_is_undefined_on_some_resamples_counts_them_as_any_value() -> None:
    values = np.linspace(0, 1, 200)
    few, many = values.copy(), values.copy()
    few[[7, 90, 150]] = math.nan
    many[50:60] = math.nan
    found, why = interval(0.5, few.tolist(), 30)
    rest = np.sort(few[np.isfinite(few)])
    assert (found.low, found.high) == (rest[1], rest[-2])  # ranks 4 of 200 with three below, or above, all others
    assert "undefined on 3 of 200" in why
    found, why = interval(0.5, many.tolist(), 30)
    assert not found.bounded
    assert why == "no interval: undefined on 10 of 200 resamples of the examples"


@pytest.mark.parametrize(
    "value", ["float(np.corrcoef(p, r)[0, 1])", "1.0 / (r.min() != r.max())"], ids=["nan", "raises"]
)
def test_an_own_metric_may_be_undefined_on_resamples_but_not_on_the_whole_split(tmp_path: Path, value: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN.format(extra="np.seterr(all='ignore')\nscale = 1", value=value.replace("1.0 /", "1 // int")))
    labels = [1.0] + [0.0] * 29
    answers = [1.0, 1.0] + [0.0] * 28
    found = accuracy_of(classes(answers, labels), str(path))
    assert math.isfinite(found.estimate.value)
    assert not found.estimate.bounded  # a third of the resamples lacks the one label of its class
    assert "undefined on" in found.reasons["interval"]
    metrics.check(str(path), SAMPLE_OUTCOMES, [0, 1, 1])
    with pytest.raises(InputError, match=r"on this test split, for any predictions .3 labels of 1 classes."):
        metrics.check(str(path), SAMPLE_OUTCOMES, [1, 1, 1])


def blocks(nll: Sequence[float], tokens: Sequence[float]) -> Evaluation:
    return Evaluation({"nll": nll, "tokens": tokens, "bytes": [3 * t for t in tokens]}, True, 32, outputs=1000)


def test_perplexity_of_one_block_has_no_interval_and_neither_has_its_difference() -> None:
    found = accuracy_of(blocks([20.0], [10.0]), "perplexity", blocks([19.0], [10.0]))
    assert found.estimate.value == pytest.approx(math.exp(2))
    assert found.delta is not None
    assert found.delta.value == pytest.approx(math.exp(0.1) - 1)
    assert not found.estimate.bounded
    assert not found.delta.bounded
    assert found.reasons["interval"] == found.reasons["delta_interval"] == "no interval: one example has no spread"
    assert found.chance == 1000


def test_a_perplexity_beyond_a_double_is_unknown_and_never_clipped() -> None:
    hopeless, good = blocks([8000.0, 8100.0], [10.0, 10.0]), blocks([20.0, 22.0], [10.0, 10.0])
    found = accuracy_of(hopeless, "perplexity", good)
    assert math.isnan(found.estimate.value)
    assert found.delta is None
    assert found.reasons["estimate"] == "it is beyond what a double can hold on this test split"
    against = accuracy_of(good, "perplexity", hopeless)
    assert against.delta is None
    assert against.reasons["delta"] == "the reference's is beyond what a double can hold on this test split"


def test_the_same_outcomes_have_the_same_perplexity_exactly() -> None:
    found = accuracy_of(blocks([20.0, 23.0], [10.0, 10.0]), "perplexity", blocks([20.0, 23.0], [10.0, 10.0])).delta
    assert found is not None
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("extra", "unit", "delta"),
    [("", "percent", 0.75 / 0.5 - 1), ("scale = 1", "points", 0.25), ("scale = 100", "points", 0.25)],
    ids=["no scale", "fraction", "of a hundred"],
)
def test_the_unit_of_an_own_metric_is_the_one_that_its_module_states(
    tmp_path: Path, extra: str, unit: str, delta: float
) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN.format(extra=extra, value="float((p == r).mean())"))
    labels = [0.0, 1.0] * 20
    ours, reference = ([label if i % 4 < right else 1 - label for i, label in enumerate(labels)] for right in (3, 2))
    found = accuracy_of(classes(ours, labels), str(path), classes(reference, labels))
    assert found.unit == unit
    assert found.delta is not None
    assert found.delta.value == pytest.approx(delta)
    assert found.scale == (100 if "100" in extra else 1)


def test_a_relative_difference_to_a_reference_of_zero_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN.format(extra="higher_is_better = False", value="float(abs(p - r).mean())"))
    labels = [0.0, 1.0] * 10
    found = accuracy_of(classes([1.0] * 20, labels), str(path), classes(labels, labels))
    assert found.delta is None
    assert "the reference's is 0: a relative difference is undefined; state `scale`" in found.reasons["delta"]


@pytest.mark.parametrize(
    ("name", "extra", "said"),
    [
        ("own.py", "scale = 0", "scale is 0; expected a positive number"),
        ("own.py", "scale = 'points'", "scale is 'points'"),
        ("own.py", "higher_is_better = 'False'", "higher_is_better is 'False'; expected True or False"),
        ("accuracy.py", "", "accuracy is a built-in metric"),
        ("own.py", "import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_module_with_an_invalid_statement_is_refused(tmp_path: Path, name: str, extra: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(OWN.format(extra=extra, value="0.5"))
    with pytest.raises(InputError, match=said):
        metrics.trial(str(path), SAMPLE_OUTCOMES)


def test_one_round_one_pair_and_nothing_at_all_have_no_interval() -> None:
    assert stats.paired_ratio([1.0], [2.0]).high == math.inf
    assert stats.paired_difference(0, 0, 1).bounded  # right or wrong: the score interval holds for a single pair
    for nothing in (lambda: stats.paired_difference(0, 0, 0), lambda: stats.wilson(0, 0)):
        with pytest.raises(ValueError, match="no examples"):
            nothing()
    zero, one = stats.Estimate(0.0, 0.0, 0.1, 5), stats.Estimate(1.0, 0.9, 1.1, 5)
    for pair in ((one, zero), (zero, one), (one, stats.Estimate(math.nan, 0.9, 1.1, 5))):
        with pytest.raises(ValueError, match="expected positive numbers"):
            stats.quotient(*pair)
