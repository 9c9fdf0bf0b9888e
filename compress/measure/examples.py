"""The examples that any model of a session answered differently from the verdict's reference: what a reader looks at.

Their texts are kept beside the raw samples, cut short; images and language models' blocks have none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from compress.data import source
from compress.data.tasks import task_of
from compress.measure.job import Job, judged_against
from compress.records.session import Example

TEXT = 200
"""So many characters of a text are kept."""
MOST = 1000
"""So many examples have their text kept; the first ones of the split."""

Outcomes = Mapping[str, Sequence[float]]


def differing(job: Job, outcomes: Mapping[str, Outcomes]) -> tuple[Example, ...] | None:
    """Return the examples that not all runners answered alike; None where there is no reference to compare with.

    `outcomes`: those of every runner that was measured.
    """
    present = [spec for spec in job.runners if spec.reference and spec.name in outcomes]
    if not present:
        return None
    return _examples(job, flips(outcomes, judged_against(present))[:MOST])


def flips(outcomes: Mapping[str, Outcomes], reference: str) -> list[int]:
    """Numbers of the examples that not all answered as the reference did, in order; none without discrete answers."""
    theirs = outcomes[reference].get("prediction", ())
    different = {
        number
        for mine in outcomes.values()
        for number, (ours, other) in enumerate(zip(mine.get("prediction", ()), theirs, strict=False))
        if ours != other
    }
    return sorted(different)


def label_names(config: Any) -> tuple[str, ...] | None:
    """The classes' names in their order; None where the model has only numbers."""
    names: Mapping[Any, Any] = getattr(config, "id2label", None) or {}
    listed = tuple(str(names[key]) for key in sorted(names, key=int))
    return listed if any(name != f"LABEL_{place}" for place, name in enumerate(listed)) else None


def _examples(job: Job, numbers: Sequence[int]) -> tuple[Example, ...]:
    from compress.data import tables

    fields = [column.field for column in task_of(job.workload.task).columns if column.kind == "text"]
    columns = [column for field in fields if (column := getattr(job.workload.dataset, field))]
    if not numbers or not columns:
        return tuple(Example(number, None) for number in numbers)
    chosen = source.spaced(tables.load(job.source, "test"), job.limit).select(numbers)
    texts = (" | ".join(str(row[column]) for column in columns) for row in chosen)
    return tuple(Example(number, text[:TEXT]) for number, text in zip(numbers, texts, strict=True))
