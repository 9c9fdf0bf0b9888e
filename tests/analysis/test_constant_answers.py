"""The floor of a metric is its best constant answer, and a reference must beat it on the same examples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.analysis.verdict import verdict
from compress.records.result import Accuracy, Ratio, Verdict
from compress.records.stats import Estimate

RATIO = Ratio("fp32 eager", Estimate(0.5, 0.45, 0.55, 8), None, None)
METRICS = ("accuracy", "f1", "matthews_correlation")


def evaluation(answers: Sequence[int] | np.ndarray, labels: Sequence[int] | np.ndarray, classes: int = 2) -> Evaluation:
    columns = {"prediction": [float(a) for a in answers], "reference": [float(label) for label in labels]}
    return Evaluation(columns, True, 32, outputs=classes)


def reference(answers: np.ndarray, labels: np.ndarray, metric: str, classes: int = 2) -> Accuracy:
    return summarise(evaluation(answers, labels, classes), metric, None, None, 0)


def verdict_of(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray, metric: str) -> Verdict:
    against = evaluation(theirs, labels)
    found = summarise(evaluation(ours, labels), metric, against, "fp32 eager", 0)
    return verdict(found, reference(theirs, labels, metric), RATIO)


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("counts", [(52, 48), (90, 10), (10, 90), (20, 50, 30), (0, 40), (30, 0, 30)], ids=str)
def test_the_floor_is_the_metric_of_the_best_constant_answer(counts: tuple[int, ...]) -> None:
    labels, classes = labels_of(*counts), len(counts)

    def f1(answer: int) -> float:
        always = np.full(len(labels), answer)
        if classes == 2:
            return float(f1_score(labels, always, zero_division=0))
        return float(f1_score(labels, always, labels=np.unique(labels), average="macro", zero_division=0))

    found = {metric: reference(labels, labels, metric, classes).chance for metric in METRICS}
    assert found["accuracy"] == max(accuracy_score(labels, np.full(len(labels), c)) for c in range(classes))
    assert found["f1"] == pytest.approx(max(f1(c) for c in range(classes)))
    assert found["matthews_correlation"] == 0 == matthews_corrcoef(labels, np.full(len(labels), 1))
    if classes == 2:
        share = counts[1] / sum(counts)
        assert found["f1"] == pytest.approx(2 * share / (1 + share))


def test_a_model_that_always_answers_the_rarer_class_saves_nothing_and_judges_nothing() -> None:
    labels = np.tile(labels_of(52, 48), 4)
    generator = np.random.default_rng(0)
    good = np.where(generator.random(400) < 0.95, labels, 1 - labels)
    ones = np.ones(400, int)
    for metric in METRICS:
        assert verdict_of(ones, good, labels, metric).word == "BROKEN"
        assert verdict_of(ones, ones, labels, metric).word == "NO VERDICT"
    said = verdict_of(ones, good, labels, "f1").sentence
    assert "f1 0.649 against" in said and "the best constant answer gives 0.649" in said
    assert "not measurably better than chance" in verdict_of(ones, ones, labels, "f1").sentence


@pytest.mark.parametrize(
    ("negatives", "positives", "found", "false", "word"),
    [
        (900, 100, 18, 0, "SAVES"),  # 18:0, p 8e-6, though its own interval holds the majority's share
        (900, 100, 6, 0, "SAVES"),  # 6:0, p .031
        (900, 100, 5, 0, "NO VERDICT"),  # 5:0, p .063
        (900, 100, 18, 18, "NO VERDICT"),
        (900, 100, 5, 18, "NO VERDICT"),
        (97, 3, 3, 0, "NO VERDICT"),
        (2, 3, 3, 0, "NO VERDICT"),
        (10, 10, 10, 0, "SAVES"),
    ],
    ids=str,
)
def test_a_reference_is_compared_with_the_majority_class_on_the_same_examples(
    negatives: int, positives: int, found: int, false: int, word: str
) -> None:
    labels = labels_of(negatives, positives)
    answers = np.concatenate([labels_of(negatives - false, false), 1 - labels_of(found, positives - found)])
    accuracy = reference(answers, labels, "accuracy")
    right, constant = answers == labels, labels == np.bincount(labels).argmax()
    gained, lost = int((right & ~constant).sum()), int((constant & ~right).sum())
    assert accuracy.over_chance is not None
    assert accuracy.over_chance.value == pytest.approx(right.mean() - constant.mean())
    if 0 < gained + lost < 10:
        assert bool(binomtest(gained, gained + lost).pvalue <= 0.05) is (accuracy.over_chance.low > 0)
    assert verdict_of(answers, answers, labels, "accuracy").word == word


def test_a_perfect_model_on_too_few_minority_examples_gets_a_reason() -> None:
    labels = labels_of(97, 3)
    for metric in METRICS:
        said = unsound_reference(reference(labels, labels, metric), "fp32 eager")
        assert said is not None and "no better" not in said and "not measurably" not in said
        assert "only 3 of 100 examples are not of the most frequent class: too few to show" in said
    for metric in METRICS:  # 6:0 is the least that is shown
        assert unsound_reference(reference(labels_of(14, 6), labels_of(14, 6), metric), "fp32 eager") is None


def test_a_result_that_compared_nothing_with_a_constant_answer_is_judged_by_its_own_interval() -> None:
    labels = labels_of(900, 100)
    answers = np.concatenate([np.zeros(900, int), 1 - labels_of(18, 82)])
    new = reference(answers, labels, "accuracy")
    assert unsound_reference(new, "fp32 eager") is None
    old = unsound_reference(replace(new, over_chance=None), "fp32 eager")
    assert old is not None and "not measurably better than chance" in old


@pytest.mark.parametrize("lost", [4, 5, 6], ids=["p .125", "p .063", "p .031"])
def test_few_lost_answers_are_a_loss_of_every_metric_or_of_none(lost: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    theirs = np.where(generator.random(400) < 0.92, labels, 1 - labels)
    ours = theirs.copy()
    ours[np.flatnonzero((theirs == labels) & (labels == 1))[:lost]] = 0
    shown = bool(binomtest(0, lost).pvalue <= 0.05)
    for metric in ("accuracy", "f1", "matthews_correlation"):
        said = verdict_of(ours, theirs, labels, metric).sentence
        assert ("LOSES" in said) is shown, said
        assert ("no measurable loss" in said) is not shown


@pytest.mark.parametrize("blocks", [5, 6])
def test_few_blocks_that_all_rise_are_a_rise_of_perplexity_where_their_sign_test_is(blocks: int) -> None:
    nll = [20.0 + i for i in range(blocks)]
    ours, theirs = (
        Evaluation({"nll": [v + more for v in nll], "tokens": [10.0] * blocks}, True, 32, outputs=1000)
        for more in (0.5, 0.0)
    )
    delta = summarise(ours, "perplexity", theirs, "fp32 eager", 0).delta
    assert delta is not None and delta.value > 0
    assert (delta.low > 0) is bool(binomtest(blocks, blocks).pvalue <= 0.05)
