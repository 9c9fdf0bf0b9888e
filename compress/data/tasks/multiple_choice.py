"""Multiple choice: a language model answers with the choice of the highest log-likelihood after the context.

    Question: ... what is warm?     ->    context | ice    context | fire     each choice is a row of a batch
                                          ln p / 3         ln p / 4           divided by its length; the highest answers

The length is in characters, as acc_norm of lm-evaluation-harness, in tokens, or 1 (`normalization`). The answer is a
number from 0, or the label of a choice if they have labels: {text: [...], label: [...]}. For calibration, training and
timing, an example is the context with its right answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.bad_rows import refuse
from compress.data.tasks import causal_lm, classes, continuations, texts
from compress.data.tasks.columns import Column
from compress.data.tasks.continuations import Encoded
from compress.data.tasks.labels import require_column
from compress.data.tasks.task import Outcomes
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets

Question = tuple[str, list[str], int]
"""Context, choices, and the number of the right one."""
CONTEXT = Column(
    "text", "text", ("query", "question", "context", "ctx", "goal", "prompt", "text"), described="the context"
)
CHOICES = Column("choices", "choices", ("choices", "endings", "options", "answers"))
GOLD = Column(
    "label", "label", ("gold", "answer", "answerKey", "label", "target"), described="the number of the right choice"
)


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and all choices, one sentence each."""
    return causal_lm.check(model, processor, rows(examples), workload)


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return one row per question: text, labels, input_ids and context of its right answer, and those of all choices.

    The columns rows, contexts and lengths hold lists, with an entry per choice. Raises BadRows for rows without an
    answer, and for choices without text.
    """
    import datasets

    spec = workload.dataset
    for column, field in ((spec.text, "text"), (spec.choices, "choices"), (spec.label, "label")):
        require_column(raw, column, field)
    read = [_read(*row) for row in zip(raw[spec.text], raw[spec.choices], raw[spec.label], strict=True)]
    refuse((row, reason) for row, reason in enumerate(read) if isinstance(reason, str))
    questions = [question for question in read if not isinstance(question, str)]
    pairs = [(text + spec.delimiter, choice) for text, choices, _ in questions for choice in choices]
    tried = continuations.encode(pairs, processor, workload.max_length)
    owners = [row for row, (_, choices, _) in enumerate(questions) for _ in choices]
    refuse((row, reason) for row, reason in zip(owners, tried, strict=True) if isinstance(reason, str))
    encoded = [one for one in tried if isinstance(one, Encoded)]
    remaining = iter(encoded)
    prepared = datasets.Dataset.from_list(
        [_example(question, list(islice(remaining, len(question[1]))), workload) for question in questions]
    )
    prepared.info.description = continuations.remark(encoded, workload.max_length, "one for each choice")
    return prepared


def prepare_like(
    raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any, dense: Any
) -> "datasets.Dataset":
    """Return the examples in the tokens of another tokenizer; choices have the lengths that the dense model's gives."""
    own, theirs = (prepare(raw, each, workload, config) for each in (processor, dense))
    counted = continuations.counted(own, theirs, texts.removed(theirs["input_ids"], processor, dense))
    remark = counted.info.description
    compared = counted.remove_columns("lengths").add_column("lengths", theirs["lengths"])
    compared.info.description = remark
    return compared


def _example(question: Question, encoded: Sequence[Encoded], workload: WorkloadView) -> dict[str, Any]:
    """Return the columns of one question."""
    text, choices, gold = question
    return {
        "text": f"{text}{workload.dataset.delimiter}{choices[gold]}",
        "labels": gold,
        "input_ids": encoded[gold].ids,
        "context": encoded[gold].context,
        "rows": [one.ids for one in encoded],
        "contexts": [one.context for one in encoded],
        "lengths": [_length(choice, one, workload) for choice, one in zip(choices, encoded, strict=True)],
    }


def _read(text: Any, choices: Any, answer: Any) -> Question | str:
    """Return context, choices and the number of the right one, or the reason why the row cannot be an example."""
    labels: Sequence[Any] = ()
    if isinstance(choices, Mapping):
        choices, labels = choices.get("text"), choices.get("label") or ()
    if not isinstance(text, str):
        return f"the context is {text!r}; expected text"
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(choice, str) for choice in choices):
        return "the choices are not a list of two and more texts"
    if any(not choice.strip() for choice in choices):
        return "a choice is empty (the continuation has nothing to score)"
    if isinstance(answer, float) and math.isnan(answer):
        answer = None
    if isinstance(answer, float) and answer.is_integer():  # a table with a null has no other numbers
        answer = int(answer)
    is_hidden = answer == -1 and str(answer) not in map(str, labels)
    if answer in (None, "") or is_hidden:
        return "it has no answer (null, an empty text, or -1 as in hidden test sets); use a split with answers"
    if labels:
        named = [str(label) for label in labels]  # the labels 1 and "1" are one
        if len(named) != len(choices) or len(set(named)) != len(named):
            return f"its labels {', '.join(map(repr, labels))} do not name its {len(choices)} choices one by one"
        if str(answer) not in named:
            return f"the answer {answer!r} is none of the labels {', '.join(map(repr, labels))}"
        answer = named.index(str(answer))
    number = int(answer) if isinstance(answer, str) and answer.isascii() and answer.isdigit() else answer
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(choices):
        return f"the answer {answer!r} names none of its {len(choices)} choices; expected 0 to {len(choices) - 1}"
    return text, choices, number


def _length(choice: str, row: Encoded, workload: WorkloadView) -> float:
    """Return the length by which the log-likelihood of a choice is divided."""
    return float({"characters": len(choice), "tokens": row.scored, "none": 1}[workload.normalization])


def rows(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return one row per choice of every example."""
    return texts.flattened(examples)


def answers(outcomes: Outcomes, examples: "datasets.Dataset") -> Outcomes:
    """Return prediction and reference of each example; prediction is -1 (no choice) if an output is not finite."""
    ends = [0, *accumulate(map(len, examples["lengths"]))]
    predictions = []
    for (start, end), lengths in zip(pairwise(ends), examples["lengths"], strict=True):
        scores = [-nll / length for nll, length in zip(outcomes["nll"][start:end], lengths, strict=True)]
        finite = min(outcomes["greedy"][start:end]) >= 0
        predictions.append(float(max(range(len(scores)), key=scores.__getitem__)) if finite else -1.0)
    return {"prediction": predictions, "reference": [float(gold) for gold in examples["labels"]]}


def protocol(workload: WorkloadView) -> str:
    """Return the length that normalizes log-likelihoods."""
    unit = {"characters": "per character", "tokens": "per token", "none": "of the whole choice"}
    return f"log-likelihood {unit[workload.normalization]}"


def normalization_line(folder: Path) -> list[str]:
    """Return the line of a new workload that states the default length, which decides between acc_norm and acc."""
    return ["normalization: characters  # as acc_norm of lm-evaluation-harness; none: as acc"]


def made_up() -> "datasets.Dataset":
    """Return three questions with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict(
        {"text": list(texts.MADE_UP), "choices": [["Yes.", "No, never."]] * 3, "label": [0, 1, 0]}
    )


TASK = replace(
    causal_lm.TASK,
    name="multiple-choice",
    columns=(CONTEXT, CHOICES, GOLD),
    metric="accuracy",
    sample_outcomes=classes.SAMPLE_OUTCOMES,
    check=check,
    prepare=prepare,
    prepare_like=prepare_like,
    outcomes=continuations.outcomes,
    rows=rows,
    answers=answers,
    settings=("normalization",),
    lines=normalization_line,
    protocol=protocol,
    made_up=made_up,
    joins_rows=False,
    has_continuations=True,
)
