"""Windows of questions: a context that does not fit into max_length is cut into overlapping pieces.

    [CLS] question [SEP] context, first tokens [SEP]
    [CLS] question [SEP]       doc_stride shared tokens, the next ones [SEP]

A token's label is -100 (no part of an answer: the question, separators, padding), or the sum of 1 for the start and 2
for the end of the answer. A window without the answer starts and ends at its first token.

    tokens   [CLS] which team won [SEP] denver broncos won [SEP]
    labels       0  -100 -100 -100 -100      1       2   0  -100
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.data.bad_rows import BadRows
from compress.data.tasks.squad import Question
from compress.data.tasks.task import IGNORED

if TYPE_CHECKING:
    import numpy as np

START, END = 1, 2
"""Parts of a token's label."""
AT_ONCE = 1000
"""Questions whose windows are plain lists in memory at the same time."""


@dataclass(frozen=True)
class Windows:
    """The windows of one question. Arrays [tokens] of each, and [context tokens] of each for places."""

    inputs: dict[str, "list[np.ndarray]"]
    """input_ids, and token_type_ids if the tokenizer gives them."""
    labels: "list[np.ndarray]"
    begins: "list[np.ndarray]"
    """Characters of the context before each of its tokens."""
    ends: "list[np.ndarray]"
    """Characters of the context up to the end of each of its tokens."""
    answered: list[bool]
    """Whether each window holds an answer."""


def encode(
    questions: Sequence[Question], processor: Any, names: Sequence[str], max_length: int, doc_stride: int
) -> Iterator[Windows]:
    """Yield the windows of every question. Raises BadRows for a question that leaves no room for its context.

    `names` are the inputs to keep.
    """
    _check_room(questions, processor, max_length, doc_stride)
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        encoded = processor(
            [each.question for each in some],
            [each.context for each in some],
            truncation="only_second",
            max_length=max_length,
            stride=doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        rows: list[list[int]] = [[] for _ in some]
        for row, owner in enumerate(encoded["overflow_to_sample_mapping"]):
            rows[owner].append(row)
        yield from (_windows(question, encoded, own, names) for question, own in zip(some, rows, strict=True))


def _check_room(questions: Sequence[Question], processor: Any, max_length: int, doc_stride: int) -> None:
    """Raise BadRows for questions that leave at most `doc_stride` tokens for the context."""
    special = processor.num_special_tokens_to_add(pair=True)
    texts = list(dict.fromkeys(each.question for each in questions))
    tokens = processor(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    room = {text: max_length - special - len(ids) for text, ids in zip(texts, tokens, strict=True)}
    problems = [
        (
            row,
            f"its question leaves {max(0, room[each.question])} of max_length {max_length} tokens for the context; "
            f"expected more than doc_stride {doc_stride}: raise max_length, lower doc_stride, or remove the row",
        )
        for row, each in enumerate(questions)
        if room[each.question] <= doc_stride
    ]
    if problems:
        raise BadRows(problems)


def _windows(question: Question, encoded: Any, rows: Sequence[int], names: Sequence[str]) -> Windows:
    """Return the windows of a question, which are these rows of the encoding."""
    import numpy as np

    inputs = {name: [np.asarray(encoded[name][row], np.int32) for row in rows] for name in names if name in encoded}
    made = Windows(inputs, [], [], [], [])
    for row in rows:
        in_context = np.asarray([part == 1 for part in encoded.sequence_ids(row)])
        places = np.asarray(encoded["offset_mapping"][row], np.int32)[in_context]  # [context tokens, 2]
        span = _span(question, places[:, 0], places[:, 1])
        made.labels.append(_labels(in_context, span))
        made.begins.append(places[:, 0])
        made.ends.append(places[:, 1])
        made.answered.append(span is not None)
    return made


def _span(question: Question, begins: "np.ndarray", ends: "np.ndarray") -> tuple[int, int] | None:
    """Return the first and the last context token of the first answer that lies in a window; None without one."""
    import numpy as np

    for text, first in zip(question.answers, question.starts, strict=True):
        last = first + len(text)
        if len(begins) and begins[0] <= first and last <= ends[-1]:
            start = int(np.searchsorted(ends, first, side="right"))
            return start, max(start, int(np.searchsorted(begins, last)) - 1)
    return None


def _labels(in_context: "np.ndarray", span: tuple[int, int] | None) -> "np.ndarray":
    """Return the label of every token; `span` counts context tokens."""
    import numpy as np

    labels = np.where(in_context, 0, IGNORED).astype(np.int8)
    labels[0] = START + END if span is None else 0
    if span is not None:
        places = np.flatnonzero(in_context)
        labels[places[span[0]]] += START
        labels[places[span[1]]] += END
    return labels
