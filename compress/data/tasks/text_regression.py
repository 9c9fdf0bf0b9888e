"""Text regression: a number for each text or pair of texts, such as the similarity of two sentences.

    sentence1 [SEP] sentence2   ->   logits [batch, 1]   ->   score, compared with the data's number

Scores are the logits themselves, as float64: a sigmoid in low precision gives neighbouring scores the same value, which
changes their ranks. Correlations do not depend on the scale of scores, the mean squared error does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.data.tasks import numbers, text_classification, texts
from compress.data.tasks.columns import TEXT, TEXT_PAIR, Column
from compress.data.tasks.task import Batch, Outcomes
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

CORRELATED = ("spearman", "pearson")
SCORE = Column(
    "label",
    "label",
    ("label", "labels", "score", "similarity_score", "similarity", "rating", "target"),
    described="the score, a number",
)


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor) + texts.end_problems(model, examples)
    return problems + score_problems(model) + label_problems(examples["labels"], workload)


def score_problems(model: Any) -> list[str]:
    """Return why a model's head does not give one score, one sentence each."""
    outputs = int(getattr(model.config, "num_labels", 0))
    kind = getattr(model.config, "problem_type", None)
    if outputs != 1:
        return [f"has {outputs} outputs; expected 1 (num_labels in config.json), the score: set task to fit the model"]
    if kind not in (None, "regression"):
        return [f"is a {kind} model (problem_type in config.json); expected regression, or none"]
    return []


def label_problems(labels: Sequence[float], workload: WorkloadView) -> list[str]:
    """Return why scores cannot be correlated with the data's numbers: all of these are equal."""
    if workload.metric_name not in CORRELATED or len(labels) < 2 or min(labels) < max(labels):
        return []
    return [
        f"cannot be judged by {workload.metric_name}: all {len(labels)} labels are {labels[0]:g}, as in hidden test "
        "sets; expected a split with different scores"
    ]


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, (text_pair), labels (numbers), input_ids, (token_type_ids), truncated at max_length.

    Raises BadRows for rows without a number.
    """
    import datasets

    columns = text_classification.encoded_texts(raw, processor, workload)
    columns["labels"] = numbers.read(raw, workload.dataset.label)
    note = text_classification.padding_note(processor)
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description=note))


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return the score of each row."""
    return {"score": logits[:, 0].double().tolist()}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> Outcomes:
    """Return the score and the reference of each example."""
    return {"score": outcomes["score"], "reference": [float(label) for label in examples["labels"]]}


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] squared errors of scores [batch, 1], and [batch] counts (1 each); float64."""
    import torch

    errors = (logits[:, 0].double() - labels.double()).square()
    return errors, torch.ones_like(errors)


def soft_loss(student: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return the mean squared difference of two models' scores [batch, 1]; scores have no temperature."""
    return (student.float() - teacher.float()).square().mean()


def one_output(config: Mapping[str, Any]) -> bool:
    """Return whether the head has one output: transformers stores one label per output."""
    return len(config.get("id2label") or ()) == 1 or config.get("num_labels") == 1


def made_up() -> "datasets.Dataset":
    """Return three texts of different lengths with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(texts.MADE_UP), "label": [0.0, 0.5, 1.0]})


SAMPLE_OUTCOMES = {"score": [0.1, 2.5, 1.0, 4.0], "reference": [0.0, 3.0, 1.5, 2.0]}
TASK = replace(
    text_classification.TASK,
    name="text-regression",
    columns=(TEXT, TEXT_PAIR, SCORE),
    metric="spearman",
    sample_outcomes=SAMPLE_OUTCOMES,
    check=check,
    prepare=prepare,
    outcomes=outcomes,
    answers=answers,
    losses=losses,
    soft_loss=soft_loss,
    trains_by_losses=True,
    fits=one_output,
    made_up=made_up,
)
