"""Read questions in SQuAD's form; a row that is none is refused by its number.

context    "Super Bowl 50 ... Denver Broncos ..."
question   "Which team won?"
answers    {text: ["Denver Broncos"], answer_start: [177]}     empty lists: the context has no answer
           [{text: "Denver Broncos", answer_start: 177}]       or a list of answers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import BadRows, shown
from compress.data.dataset import Dataset
from compress.data.tasks.labels import require_column

if TYPE_CHECKING:
    import datasets

FORM = "expected {text: [...], answer_start: [...]}, as in SQuAD"
COLUMNS = {"text": "question", "text_pair": "context", "label": "answers"}
"""Field of the data set -> SQuAD's name of the column."""


@dataclass(frozen=True)
class Question:
    """A question about a context."""

    question: str
    context: str
    answers: tuple[str, ...]
    """All references; empty if the context has no answer."""
    starts: tuple[int, ...]
    """Characters of the context before each answer."""


def read(raw: "datasets.Dataset", spec: Dataset) -> list[Question]:
    """Return the questions of raw examples. Raises BadRows for rows that are none."""
    columns = [getattr(spec, field) for field in COLUMNS]
    for field, column in zip(COLUMNS, columns, strict=True):
        if column is None:
            raise InputError(f"dataset.{field} is not set; expected the column of the {COLUMNS[field]}")
        require_column(raw, column, field)
    rows = [_read(*row) for row in zip(*(raw[column] for column in columns), strict=True)]
    if wrong := [(number, row) for number, row in enumerate(rows) if isinstance(row, str)]:
        raise BadRows(wrong)
    questions = [row for row in rows if isinstance(row, Question)]
    if not any(question.answers for question in questions):
        raise InputError(
            f"none of the {len(questions)} questions has an answer, as in hidden test sets; expected a split with some"
        )
    return questions


def _read(question: Any, context: Any, answers: Any) -> Question | str:
    """Return the question of a row, or the reason why it is none."""
    for what, text in (("question", question), ("context", context)):
        if not isinstance(text, str):
            return f"its {what} is {shown(text)}; expected text"
        if not text.strip():
            return f"its {what} is empty; expected text: remove the row"
    pairs = _pairs(answers)
    if isinstance(pairs, str):
        return pairs
    for text, start in pairs:
        if problem := _misplaced(context, text, start):
            return problem
    return Question(question.lstrip(), context, tuple(text for text, _ in pairs), tuple(start for _, start in pairs))


def _pairs(answers: Any) -> list[tuple[str, int]] | str:
    """Return text and start of every answer, or the reason why they are not answers."""
    if answers is None:
        return "its answers are null, as in hidden test sets; expected a split with answers (empty lists for none)"
    texts: Any
    starts: Any
    if isinstance(answers, list):
        if not all(isinstance(each, Mapping) for each in answers):
            return f"its answers are {shown(answers)}; {FORM}"
        texts, starts = ([each.get(name) for each in answers] for name in ("text", "answer_start"))
    elif isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start")
    else:
        return f"its answers are {shown(answers)}; {FORM}, which csv and tsv cannot hold"
    if not isinstance(texts, list) or not isinstance(starts, list):
        return f"its answers have text {shown(texts)} and answer_start {shown(starts)}; {FORM}"
    if len(texts) != len(starts):
        return f"it has {len(texts)} answers, but {len(starts)} answer_start; expected one for each answer"
    return _typed(texts, starts)


def _typed(texts: Sequence[Any], starts: Sequence[Any]) -> list[tuple[str, int]] | str:
    """Return the pairs, or the reason why one is no text with a place."""
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            return f"an answer is {shown(text)}; expected text, and empty lists for a question without an answer"
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            return f"answer_start is {shown(start)}; expected the number of characters before the answer"
    return list(zip(texts, starts, strict=True))


def _misplaced(context: str, text: str, start: int) -> str | None:
    """Return why an answer is not where it should be, or None."""
    if context.startswith(text, start):
        return None
    found = context.find(text)
    where = f"it is at {found}: correct answer_start" if found >= 0 else "it is nowhere in the context: correct it"
    there = context[start : start + len(text)]
    return (
        f"its context has {shown(there)} at answer_start {start}; expected {shown(text)}, and {where} (a count of "
        "characters, not of bytes), or remove the row"
    )
