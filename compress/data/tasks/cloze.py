"""Cloze: a language model completes a context, and is right if greedy decoding gives the right continuation.

    context "... I don't care about"   continuation " signs"   ->   context | signs        LAMBADA, Paperno et al. 2016

An answer is the number of a continuation among the different ones of the split, or -1 for any other. So the best
constant answer is the most frequent continuation. `nll` and `tokens` give the perplexity of the continuations.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.data.bad_rows import refuse
from compress.data.tasks import causal_lm, continuations, texts
from compress.data.tasks.columns import Column
from compress.data.tasks.continuations import Encoded
from compress.data.tasks.labels import require_column
from compress.data.tasks.multiple_choice import CONTEXT
from compress.data.tasks.task import Outcomes, same
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets

CONTINUATION = Column("continuation", "text", ("continuation", "completion", "target", "ending"))


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, labels (number of the continuation among those of the split), input_ids and context.

    Raises BadRows for rows without a context or a continuation.
    """
    import datasets

    spec = workload.dataset
    for column, field in ((spec.text, "text"), (spec.continuation, "continuation")):
        require_column(raw, column, field)
    pairs = list(zip(raw[spec.text], raw[spec.continuation], strict=True))
    refuse((row, reason) for row, pair in enumerate(pairs) if (reason := _problem(*pair)))
    joined = [(text + spec.delimiter, continuation) for text, continuation in pairs]
    encoded = continuations.encode(joined, processor, workload.max_length)
    refuse((row, reason) for row, reason in enumerate(encoded) if isinstance(reason, str))
    rows = [one for one in encoded if isinstance(one, Encoded)]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(continuation for _, continuation in pairs))}
    prepared = datasets.Dataset.from_dict(
        {
            "text": [text + continuation for text, continuation in joined],
            "labels": [numbers[continuation] for _, continuation in pairs],
            "input_ids": [one.ids for one in rows],
            "context": [one.context for one in rows],
        }
    )
    prepared.info.description = continuations.remark(rows, workload.max_length)
    return prepared


def prepare_like(
    raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any, dense: Any
) -> "datasets.Dataset":
    """Return the examples in the tokens of another tokenizer; the column tokens counts the dense tokens scored."""
    own, theirs = (prepare(raw, each, workload, config) for each in (processor, dense))
    return continuations.counted(own, theirs, texts.removed(theirs["input_ids"], processor, dense))


def _problem(text: Any, continuation: Any) -> str | None:
    """Return the reason why a row cannot be an example, or None."""
    if not isinstance(text, str):
        return f"the context is {text!r}; expected text"
    if not isinstance(continuation, str):
        return f"it has no answer (its continuation is {continuation!r}); expected text"
    return None if continuation.strip() else "the continuation is empty; expected text to score"


def answers(outcomes: Outcomes, examples: "datasets.Dataset") -> Outcomes:
    """Return prediction (-1 unless greedy decoding gives the continuation), reference, nll and tokens."""
    references = [float(number) for number in examples["labels"]]
    predictions = [
        number if greedy == 1 else -1.0 for number, greedy in zip(references, outcomes["greedy"], strict=True)
    ]
    return {
        "prediction": predictions,
        "reference": references,
        "nll": outcomes["nll"],
        "tokens": outcomes["tokens"],
        **texts.dense_tokens(examples),
    }


def protocol(workload: WorkloadView) -> str:
    """Return what counts as right."""
    return "greedy decoding gives the continuation"


def made_up() -> "datasets.Dataset":
    """Return three clozes with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(texts.MADE_UP), "continuation": ["Yes.", "No.", "Maybe."]})


TASK = replace(
    causal_lm.TASK,
    name="cloze",
    columns=(CONTEXT, CONTINUATION),
    metric="accuracy",
    sample_outcomes={"prediction": [0, -1, 2], "reference": [0, 1, 2], "nll": [0.5, 4.0, 1.0], "tokens": [1, 2, 1]},
    prepare=prepare,
    prepare_like=prepare_like,
    outcomes=continuations.outcomes,
    rows=same,
    answers=answers,
    settings=(),
    protocol=protocol,
    made_up=made_up,
    joins_rows=False,
    has_continuations=True,
)
