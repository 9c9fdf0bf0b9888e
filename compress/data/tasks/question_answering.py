"""Question answering: the span of a context that answers a question, or no answer (SQuAD 1.1 and 2.0).

    question, context  ->  windows, rows of a batch  ->  start and end logit of every token  ->  best span  ->  EM, F1

Logits are one tensor [batch, length, 2]. An example is a question: its outcomes are exact match and F1, whose means are
the metrics. For calibration and training each window is an example, for timing a question's window with the answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.point import OperatingPoint
from compress.data.tasks import overlap, spans, squad, text_classification, texts
from compress.data.tasks.columns import Column
from compress.data.tasks.question_windows import END, START, Windows, encode
from compress.data.tasks.squad import Question
from compress.data.tasks.task import IGNORED, Batch, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

QUESTION = Column("text", "text", ("question", "query", "text"), described="the question")
CONTEXT = Column("text_pair", "text", ("context", "paragraph", "passage", "text_pair"), described="the context")
ANSWERS = Column("label", "label", ("answers", "answer", "label"), described="the answers")
OF_WINDOWS = {"rows": "input_ids", "types": "token_type_ids", "targets": "labels"}
"""Column of a question's windows -> column of a single window."""
MASKED = -1e4
"""Logit of tokens that cannot start or end an answer, for losses: their probability is 0 in every number format."""


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and windows, one sentence each."""
    windows = rows(examples)
    problems = texts.text_problems(model, processor, windows, workload) + texts.padding_problems(model, processor)
    outputs = int(getattr(model.config, "num_labels", 2))
    if outputs != 2:
        problems.append(f"has {outputs} outputs for each token; expected 2, the start and the end of an answer")
    if text_classification.side(processor) == "left":
        problems.append("reads padding on the left, and no answer at its last token; expected a model that pads right")
    return problems


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return one row per question: its references, its windows, and the first window with the answer as input_ids.

    Raises BadRows for rows that are no questions, and for questions without room for their context.
    """
    import datasets

    if not getattr(processor, "is_fast", False):
        raise InputError("the model's tokenizer has no tokenizer.json; the places of tokens need a fast tokenizer")
    questions = squad.read(raw, workload.dataset)
    null = workload.null_threshold
    if null is None and not all(question.answers for question in questions):
        null = 0.0
    columns: dict[str, list[Any]] = {}
    names = text_classification.INPUTS
    encoded = encode(questions, processor, names, workload.max_length, workload.doc_stride_tokens)
    count = 0
    for question, windows in zip(questions, encoded, strict=True):
        count += len(windows.labels)
        for name, value in _columns(question, windows, workload.longest_answer, null).items():
            columns.setdefault(name, []).append(value)
    note = "; ".join(filter(None, (_remark(questions, count, null), text_classification.padding_note(processor))))
    features = _features(list(columns))
    info = datasets.DatasetInfo(description=note, features=features)
    return datasets.Dataset.from_dict(columns, features=features, info=info)


def _columns(question: Question, windows: Windows, longest: int, null: float | None) -> dict[str, Any]:
    """Return the columns of one question."""
    own = windows.answered.index(True) if any(windows.answered) else 0
    columns: dict[str, Any] = {"labels": windows.labels[own], "targets": windows.labels}
    for of_all, name in OF_WINDOWS.items():
        if name in windows.inputs:
            columns |= {name: windows.inputs[name][own], of_all: windows.inputs[name]}
    return columns | {
        "text": question.question,
        "context": question.context,
        "references": overlap.references(question.answers),
        "begins": windows.begins,
        "ends": windows.ends,
        "longest": longest,
        "null": null,
    }


def _features(names: Sequence[str]) -> "datasets.Features":
    """Return the features of the columns: whole numbers take 1 or 4 bytes."""
    import datasets

    def tokens(kind: str) -> Any:
        return datasets.List(datasets.Value(kind))

    small, large = tokens("int8"), tokens("int32")
    kinds = {
        "labels": small, "token_type_ids": small, "input_ids": large,
        "targets": datasets.List(small), "types": datasets.List(small),
        "rows": datasets.List(large), "begins": datasets.List(large), "ends": datasets.List(large),
        "text": datasets.Value("string"), "context": datasets.Value("string"), "references": tokens("string"),
        "longest": datasets.Value("int32"), "null": datasets.Value("float64"),
    }  # fmt: skip
    return datasets.Features({name: kinds[name] for name in names})


def _remark(questions: Sequence[Question], windows: int, null: float | None) -> str:
    """Return a note on the windows, and on questions without an answer."""
    count = len(questions)
    remark = f"{windows / count:.3f} windows per question ({windows:,} of {count:,}); costs are per window"
    without = sum(not question.answers for question in questions)
    if null is None:
        return f"{remark}; every question has an answer, so models answer all"
    return f"{remark}; {without:,} questions have no answer, and models may give none (null_threshold {null:g})"


def rows(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return one row per window, with input_ids, labels and (token_type_ids); windows themselves stay as they are."""
    import datasets

    if "rows" not in examples.column_names:
        return examples
    present = {own: name for own, name in OF_WINDOWS.items() if own in examples.column_names}
    features = datasets.Features({name: examples.features[own].feature for own, name in present.items()})
    flat = {name: [window for windows in examples[own] for window in windows] for own, name in present.items()}
    info = datasets.DatasetInfo(description=examples.info.description, features=features)
    return datasets.Dataset.from_dict(flat, features=features, info=info)


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one padded batch: input_ids, attention_mask, (token_type_ids) and labels, each [batch, longest]."""
    import torch

    batch = text_classification.padded(examples, processor)
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, example in enumerate(examples):
        own = torch.as_tensor(example["labels"])
        labels[row, : len(own)] = own
    return batch | {"labels": labels}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return the logits [1 + context tokens, 2] of each row's first token and context, as arrays in float32."""
    kept = (batch["labels"] != IGNORED).to(logits.device)
    return {"scores": [row[own].float().cpu().numpy() for row, own in zip(logits, kept, strict=True)]}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return exact match and F1 of each question's answer, and a number that identifies it.

    `no_answer` is whether the question has none, which is the score of giving none; `context_f1` that of answering with
    the whole context.
    """
    scores = iter(outcomes["scores"])
    found: dict[str, list[float]] = {name: [] for name in SAMPLE_OUTCOMES}
    for example in examples.select_columns(["ends", "begins", "context", "references", "longest", "null"]):
        own = [next(scores) for _ in example["ends"]]
        answer = _answer(own, example)
        exact, f1 = (0.0, 0.0) if answer is None else overlap.scores(answer, example["references"])
        whole = overlap.scores(example["context"], example["references"])[1]
        number = -1.0 if answer is None else overlap.number(answer)
        row = (exact, f1, float(example["references"] == [""]), whole, number)
        for values, value in zip(found.values(), row, strict=True):
            values.append(value)
    return found


def _answer(scores: Sequence["np.ndarray"], example: Mapping[str, Any]) -> str | None:
    """Return the answer by the scores of all windows, empty for no answer; None if a score is not finite."""
    import numpy as np

    if not all(np.isfinite(each).all() for each in scores):
        return None
    span = spans.best(scores, example["longest"])
    threshold = example["null"]
    if span is None or (threshold is not None and spans.null_score(scores) - span.score > threshold):
        return ""
    begins, ends = example["begins"][span.window], example["ends"][span.window]
    return str(example["context"][begins[span.first] : ends[span.last]])


def aligned(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return logits [batch, 2, length] of start and end over the tokens of a window, and their places [batch, 2].

    Tokens that cannot be in an answer have a very low logit. A window that was cut within its answer has none.
    """
    import torch

    labels = labels.to(logits.device)
    masked = logits.float().transpose(1, 2).masked_fill((labels == IGNORED).unsqueeze(1), MASKED)
    parts = torch.stack(list(_parts(labels)), dim=1)  # [batch, 2, length]
    whole = parts.any(dim=2).all(dim=1)  # [batch]
    first = (labels != IGNORED).int().argmax(dim=1)
    places = torch.where(whole[:, None], parts.int().argmax(dim=2), first[:, None])
    return masked, places


def _parts(labels: "torch.Tensor") -> Iterator["torch.Tensor"]:
    """Yield whether each token is the start, and whether it is the end."""
    for part in (START, END):
        yield (labels == part) | (labels == START + END)


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] mean cross entropies (nats) of start and end, and [batch] ones; float64."""
    import torch
    from torch.nn import functional as F

    masked, places = aligned(logits, labels)
    each = F.cross_entropy(masked.flatten(0, 1), places.flatten(), reduction="none")  # [2 batch]
    return each.view(-1, 2).double().mean(dim=1), torch.ones(len(labels), dtype=torch.float64, device=logits.device)


def protocol(workload: WorkloadView) -> str:
    """Return how answers are found."""
    return (
        f"answers of at most {workload.longest_answer} tokens in windows of {workload.max_length} that share "
        f"{workload.doc_stride_tokens}"
    )


def made_up() -> "datasets.Dataset":
    """Return three questions with the columns of a live data set."""
    import datasets

    contexts = list(texts.MADE_UP)
    found = [{"text": [text.split()[0]], "answer_start": [0]} for text in contexts]
    return datasets.Dataset.from_dict({"text": ["What is it?"] * 3, "text_pair": contexts, "label": found})


SAMPLE_OUTCOMES = {
    "em": [1.0, 0.0, 1.0],
    "f1": [1.0, 0.5, 1.0],
    "no_answer": [0.0, 0.0, 1.0],
    "context_f1": [0.1, 0.2, 0.0],
    "answer": [1.0, 2.0, 3.0],
}
TASK = Task(
    name="question-answering",
    auto_model="AutoModelForQuestionAnswering",
    auto_processor="AutoTokenizer",
    architectures=("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
    pipeline_tag="question-answering",
    columns=(QUESTION, CONTEXT, ANSWERS),
    metric="f1",
    sample_outcomes=SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=8, sequence_length=384),
    first_recipe="bert_int8",
    call='model(**processor("a question", "a text with its answer", return_tensors="pt"))',
    load_processor=text_classification.load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=text_classification.fixed,
    outcomes=outcomes,
    losses=losses,
    lengths=texts.lengths,
    made_up=made_up,
    aligned=aligned,
    rows=rows,
    trains_on_rows=True,
    answers=answers,
    settings=("doc_stride", "longest_answer", "null_threshold"),
    protocol=protocol,
    per_token=True,
    has_labels=False,
    trains_by_losses=True,
)
