"""Examples on which any model of a session disagrees with the verdict's reference, for readers to inspect.

Their shortened texts are stored with the raw samples. Images and blocks of language models have no text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from compress.analysis.accuracy import ANSWERS
from compress.data import loading
from compress.data.tasks import task_of
from compress.measure.job import Job, judged_against
from compress.records.session import Example

TEXT = 200
"""Characters that are kept of a text."""
MOST = 1000
"""Examples that are kept: the first ones of the split."""
SCORED = ("score", "ndcg_at_10")
"""Outcomes that are numbers, of which the largest changes are kept."""
MOVED = 60
"""Examples that are kept of every runner with scores: those whose score moved most."""

Outcomes = Mapping[str, Sequence[float]]


def differing(job: Job, outcomes: Mapping[str, Outcomes]) -> tuple[Example, ...] | None:
    """Return the examples on which the measured runners disagree; None without a measured reference.

    `outcomes`: outcomes by runner name.
    """
    present = [spec for spec in job.runners if spec.reference and spec.name in outcomes]
    if not present:
        return None
    return _examples(job, flips(outcomes, judged_against(present))[:MOST])


def flips(outcomes: Mapping[str, Outcomes], reference: str) -> list[int]:
    """Return the sorted numbers of the examples on which any runner disagrees with the reference.

    Of scores and rankings, these are the ones that moved most. The list is empty for tasks without answers.
    """
    for name in SCORED:
        if name in outcomes[reference]:
            before = outcomes[reference][name]
            return sorted({number for runner in outcomes.values() for number in _moved(runner[name], before)})
    column = next((name for name in ANSWERS if name in outcomes[reference]), "")
    expected = outcomes[reference].get(column, ())
    different = {
        number
        for runner in outcomes.values()
        for number, (answer, expected_answer) in enumerate(zip(runner.get(column, ()), expected, strict=False))
        if answer != expected_answer
    }
    return sorted(different)


def _moved(ours: Sequence[float], before: Sequence[float]) -> list[int]:
    """Return the examples whose score differs most from the reference's."""
    moved = [abs(own - other) for own, other in zip(ours, before, strict=True)]
    return [number for number in sorted(range(len(moved)), key=lambda n: -moved[n])[:MOVED] if moved[number] > 0]


def label_names(config: Any) -> tuple[str, ...] | None:
    """Return the names of the classes in order; None for a model that only numbers them."""
    names: Mapping[Any, Any] = getattr(config, "id2label", None) or {}
    listed = tuple(str(names[key]) for key in sorted(names, key=int))
    return listed if any(name != f"LABEL_{place}" for place, name in enumerate(listed)) else None


def _examples(job: Job, numbers: Sequence[int]) -> tuple[Example, ...]:
    from compress.data import tables

    fields = [column.field for column in task_of(job.workload.task).columns if column.kind == "text"]
    columns = [column for field in fields if (column := getattr(job.workload.dataset, field))]
    if not numbers or not columns or job.workload.harness_task is not None:  # the harness has its own examples
        return tuple(Example(number, None) for number in numbers)
    chosen = loading.spaced(tables.load(job.source, "test"), loading.judged(job.workload, job.limit)).select(numbers)
    texts = (" | ".join(_text(row[column]) for column in columns) for row in chosen)
    return tuple(Example(number, text[:TEXT]) for number, text in zip(numbers, texts, strict=True))


def _text(value: Any) -> str:
    """Return a text, or the words of one."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
