"""Multi-label classification: any number of labels for each text, such as the emotions of a comment.

    logits [batch, labels]   2.0  1.0 -3.0    ->   sigmoid over the threshold   ->   labels 0 and 1

Every label is decided on its own by its sigmoid; a softmax would make labels compete. An example's outcomes are counts
(`tp`, `predicted`, `gold`) and the sets of labels as numbers (see `compress.base.bits`), from which counts per label
are summed for any resample of examples. Scores of labels are only kept for a metric that ranks them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.base.bits import BITS, identity, masks
from compress.data.tasks import label_sets, text_classification, texts
from compress.data.tasks.class_names import class_names
from compress.data.tasks.columns import TEXT, TEXT_PAIR, Column
from compress.data.tasks.task import Batch, Outcomes
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

KIND = "multi_label_classification"
DECIDED = ("f1_micro", "f1_macro")
"""Metrics of labels over the threshold, which need no scores."""
LABELS = Column(
    "label",
    "label",
    ("labels", "label", "emotions", "tags", "categories", "genres", "topics", "classes"),
    described="the list of labels",
)


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor) + texts.end_problems(model, examples)
    return problems + _head_problems(model)


def _head_problems(model: Any) -> list[str]:
    """Return why a model's head does not decide several labels, one sentence each."""
    outputs = int(getattr(model.config, "num_labels", 0))
    kind = getattr(model.config, "problem_type", None)
    if outputs < 2:
        return [f"has {outputs} output; expected one for each of at least 2 labels: set task to fit the model"]
    if kind not in (None, KIND):
        return [
            f"is a {kind} model (problem_type in config.json), trained to choose one class; expected {KIND}: set task "
            "to text-classification"
        ]
    return []


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, (text_pair), input_ids, (token_type_ids), and labels, a list of the model's ids.

    outputs, threshold and ranked are the same in all rows: the number of the model's labels, the logit above which a
    label is predicted, and whether the metric needs scores. Raises BadRows for rows whose labels cannot be read.
    """
    import datasets

    columns = text_classification.encoded_texts(raw, processor, workload)
    found = label_sets.read(raw, workload.dataset, config)
    count, threshold = len(found.ids), workload.threshold
    columns |= {
        "labels": found.ids,
        "outputs": [len(class_names(config))] * count,
        "threshold": [math.log(threshold / (1 - threshold))] * count,
        "ranked": [workload.metric_name not in DECIDED] * count,
    }
    note = "; ".join(filter(None, (found.note, text_classification.padding_note(processor))))
    features = datasets.Features(
        {name: datasets.List(datasets.Value("int64")) for name in columns}
        | {name: datasets.Value("string") for name in ("text", "text_pair") if name in columns}
        | {"outputs": datasets.Value("int64"), "threshold": datasets.Value("float64"), "ranked": datasets.Value("bool")}
    )
    return datasets.Dataset.from_dict(columns, features, datasets.DatasetInfo(description=note, features=features))


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one padded batch: input_ids, attention_mask, (token_type_ids), and labels of 0 and 1 [batch, labels]."""
    import torch

    labels = torch.zeros(len(examples), examples[0]["outputs"])
    for row, example in enumerate(examples):
        labels[row, example["labels"]] = 1
    return text_classification.padded(examples, processor) | {"labels": labels}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return the logits of each row."""
    return {"logits": logits.double().tolist()}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return the counts and the sets of labels of each example, and the scores if the metric ranks them."""
    if not len(examples):
        return {name: [] for name in SAMPLE_OUTCOMES}
    rows = zip(outcomes["logits"], examples["labels"], examples["threshold"], strict=True)
    found = [_outcomes(*row, ranked=examples[0]["ranked"]) for row in rows]
    return {name: [row[name] for row in found] for name in found[0]}


def _outcomes(logits: Sequence[float], gold: Sequence[int], threshold: float, ranked: bool) -> dict[str, float]:
    """Return the outcomes of one example."""
    size, predicted = len(logits), [label for label, logit in enumerate(logits) if logit > threshold]
    sets = {"predicted": masks(predicted, size), "gold": masks(gold, size)}
    return {
        "tp": float(len({*predicted} & {*gold})),
        "predicted": float(len(predicted)),
        "gold": float(len(gold)),
        "labels": float(size),
        "answer": sets["predicted"][0] if size <= BITS else identity(predicted),
        **{f"{name}_{place}": number for name, numbers in sets.items() for place, number in enumerate(numbers)},
        **({f"score_{label}": logit for label, logit in enumerate(logits)} if ranked else {}),
    }


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] binary cross entropies (nats, summed over labels), and [batch] counts of labels; float64."""
    import torch
    from torch.nn import functional as F

    each = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none").double()
    return each.sum(dim=1), torch.full_like(each[:, 0], each.shape[1])


def soft_loss(student: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return T^2 KL(teacher || student) of every label's sigmoid [batch, labels], mean over labels and rows."""
    from torch.nn import functional as F

    ours, theirs = student.float() / temperature, teacher.float() / temperature
    yes = F.logsigmoid(theirs) - F.logsigmoid(ours)
    no = F.logsigmoid(-theirs) - F.logsigmoid(-ours)
    chance = theirs.sigmoid()
    return temperature**2 * (chance * yes + (1 - chance) * no).mean()


def protocol(workload: WorkloadView) -> str:
    """Return the threshold of predicted labels."""
    return f"labels with a sigmoid over {workload.threshold:g}" if workload.metric_name in DECIDED else ""


def decides_each(config: Mapping[str, Any]) -> bool:
    """Return whether the settings of a head name several labels per example."""
    return config.get("problem_type") == KIND


def made_up() -> "datasets.Dataset":
    """Return three texts of different lengths with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(texts.MADE_UP), "label": [[0, 1], [1], [0]]})


SAMPLE_OUTCOMES: Outcomes = {
    "tp": [1.0, 0.0, 1.0],
    "predicted": [2.0, 0.0, 1.0],
    "gold": [1.0, 1.0, 1.0],
    "labels": [2.0, 2.0, 2.0],
    "answer": [3.0, 0.0, 2.0],
    "predicted_0": [3.0, 0.0, 2.0],
    "gold_0": [1.0, 1.0, 2.0],
    "score_0": [1.0, -0.5, -2.0],
    "score_1": [0.5, -1.0, 2.0],
}
TASK = replace(
    text_classification.TASK,
    name="multi-label-classification",
    columns=(TEXT, TEXT_PAIR, LABELS),
    metric="f1_micro",
    sample_outcomes=SAMPLE_OUTCOMES,
    check=check,
    prepare=prepare,
    collate=collate,
    outcomes=outcomes,
    answers=answers,
    losses=losses,
    soft_loss=soft_loss,
    trains_by_losses=True,
    fits=decides_each,
    made_up=made_up,
    settings=("threshold",),
    several_labels=True,
    protocol=protocol,
)
