"""Metrics agree with their definitions, go through evaluate's interface, and say what is wrong with a user's module."""

import math
import os
import random
from pathlib import Path

import pytest

from compress.analysis import metrics
from compress.analysis.metrics import own
from compress.base.config import InputError

OWN = """
import datasets
import evaluate
{extra}
class Share(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=datasets.Features(
            {{"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}}))

    def _compute(self, predictions, references):
        return {{"share": sum(p == 1 for p in predictions) / len(predictions)}}
"""


def drawn(classes: int, n: int = 60, seed: int = 3) -> dict[str, list[float]]:
    draw = random.Random(seed)
    references = [float(draw.randrange(classes)) for _ in range(n)]
    predictions = [r if draw.random() < 0.6 else float(draw.randrange(classes)) for r in references]
    return {"prediction": predictions, "reference": references}


def test_accuracy_is_the_fraction_of_right_answers() -> None:
    outcomes = {"prediction": [0.0, 1.0, 2.0, -1.0], "reference": [0.0, 1.0, 1.0, 1.0]}
    assert metrics.compute("accuracy", outcomes) == 0.5


@pytest.mark.parametrize(("classes", "average"), [(2, "binary"), (4, "macro")], ids=["two classes", "four classes"])
def test_f1_agrees_with_scikit_learn(classes: int, average: str) -> None:
    from sklearn.metrics import f1_score

    outcomes = drawn(classes)
    expected = f1_score(outcomes["reference"], outcomes["prediction"], average=average)
    assert metrics.compute("f1", outcomes) == pytest.approx(expected)


def test_an_answer_that_is_no_class_costs_recall_only() -> None:
    outcomes = {"prediction": [1.0, -1.0, 0.0], "reference": [1.0, 1.0, 0.0]}
    assert metrics.compute("f1", outcomes) == pytest.approx(2 / 3)


def test_matthews_correlation_of_a_constant_answer_is_zero_and_of_a_perfect_one_is_one() -> None:
    references = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert metrics.compute("matthews_correlation", {"prediction": [1.0] * 5, "reference": references}) == 0
    assert metrics.compute("matthews_correlation", {"prediction": references, "reference": references}) == 1


def test_perplexity_weighs_blocks_by_their_tokens() -> None:
    outcomes = {"nll": [2.0, 30.0], "tokens": [2.0, 10.0], "bytes": [8.0, 40.0]}
    assert metrics.compute("perplexity", outcomes) == pytest.approx(math.exp(32 / 12))


def test_a_hopeless_perplexity_is_infinite_and_not_an_error() -> None:
    assert metrics.compute("perplexity", {"nll": [1e6], "tokens": [1.0]}) == math.inf


def test_lower_is_better_for_perplexity_and_errors_only() -> None:
    assert [name for name in metrics.NAMES if not metrics.higher_is_better(name)] == ["perplexity", "mse", "wer", "cer"]


def test_a_users_module_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "share.py"
    path.write_text(OWN.format(extra="higher_is_better = False"))
    assert metrics.compute(str(path), {"prediction": [1.0, 0.0, 1.0, 1.0], "reference": [0.0] * 4}) == 0.75
    assert not metrics.higher_is_better(str(path))


def test_an_edited_module_is_loaded_anew_and_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "share.py"
    path.write_text(OWN.format(extra=""))
    before = metrics.digest(str(path)), metrics.higher_is_better(str(path))
    path.write_text(OWN.format(extra="higher_is_better = False"))
    after = metrics.digest(str(path)), metrics.higher_is_better(str(path))
    assert before[0] != after[0]
    assert (before[1], after[1]) == (True, False)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="metric acuracy: unknown; expected one of accuracy, f1"):
        metrics.digest("acuracy")


@pytest.mark.parametrize(
    ("source", "said"),
    [("x = 1", "0 classes derived from evaluate.Metric"), ("import nothing_like_it", "cannot be imported")],
    ids=["no metric", "import fails"],
)
def test_a_module_without_a_metric_is_refused(tmp_path: Path, source: str, said: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(source)
    with pytest.raises(InputError, match=said):
        metrics.compute(str(path), {"prediction": [1.0], "reference": [1.0]})


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(
        InputError, match="metric perplexity: needs nll, tokens; the task gives predictions, references"
    ):
        metrics.compute("perplexity", {"prediction": [1.0], "reference": [1.0]})


def test_a_module_that_is_a_fifo_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"mine.py: is a fifo; expected a Python file"):
        metrics.digest(str(tmp_path / "mine.py"))
    (tmp_path / "long.py").write_text("#" * 101)
    monkeypatch.setattr(own, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=r"101 bytes; a metric has at most 100"):
        metrics.digest(str(tmp_path / "long.py"))
