"""Windows of a text for language modelling, in the tokens of its own tokenizer or of a trimmed one.

    dense tokens      the | actor | s was | warm        windows of two: the actor | s was warm
    trimmed ones      the | act | or | s was | warm                     the act or | s was warm

A trimmed tokenizer's window ends with the last token that ends in the dense model's window, so both are of one text.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from compress.data.tasks.blocks import frame


def windows(document: str, processor: Any, prefix: Sequence[int], width: int, stride: int) -> Iterator[dict[str, Any]]:
    """Yield the windows of `width` tokens of one document, one every `stride` tokens: blocks if both are equal.

    Each predicts the tokens after the end of the window before it. One without any predicted token is dropped.
    """
    ids, ends = _encoded(document, processor)
    for start, first, stop in _cuts(len(ids), bool(prefix), width, stride):
        # start at the end of the last unpredicted token, so that overlapping offsets count no byte twice
        text = document[ends[first - 1] if first else 0 : ends[stop - 1]]
        yield {
            "text": text,
            "input_ids": [*prefix, *ids[start:stop]],
            "context": len(prefix) + first - start,
            "bytes": len(text.encode()),
        }


def windows_like(document: str, processor: Any, dense: Any, width: int, stride: int) -> Iterator[dict[str, Any]]:
    """Yield the windows of the tokenizer `dense` in the tokens of another one, with the number of dense tokens.

    A token belongs to the window in which it ends. Without a first token, the first token of a document is not
    predicted, even if it is longer than the dense model's: the dense tokens that begin within it are not counted.
    """
    prefix = frame(processor)[0]
    ids, ends = _encoded(document, processor)
    dense_ids, dense_ends = _encoded(document, dense)
    for start, first, stop in _cuts(len(dense_ids), bool(prefix), width, stride):
        begin = bisect_right(ends, dense_ends[start - 1]) if start else 0
        scored = bisect_right(ends, dense_ends[first - 1]) if first else 0
        end = bisect_right(ends, dense_ends[stop - 1])
        tokens, from_character = stop - first, dense_ends[first - 1] if first else 0
        if not prefix and scored == begin:
            begin = max(begin - 1, 0)
        if not prefix and scored == 0:
            scored, from_character = 1, ends[0]
            tokens = sum(before >= from_character for before in dense_ends[first - 1 : stop - 1])
        text = document[from_character : dense_ends[stop - 1]]
        yield {
            "text": text,
            "input_ids": [*prefix, *ids[begin : max(end, scored)]],
            "context": len(prefix) + scored - begin,
            "bytes": len(text.encode()),
            "tokens": tokens,
        }


def in_parts(ids: list[int], context: int, first: int, limit: int | None) -> Iterator[tuple[list[int], int]]:
    """Yield the rows (ids, unpredicted tokens) in which a model of `limit` positions reads a window; often one.

    Of a longer window, every further row begins with the `first` tokens too, and predicts the later half of its tokens.
    """
    if limit is None or len(ids) <= limit:
        yield ids, context
        return
    yield ids[:limit], min(context, limit)
    step = max(1, (limit - first) // 2)
    for start in range(limit, len(ids), step):
        end = min(start + step, len(ids))
        begin = end - (limit - first)
        yield [*ids[:first], *ids[begin:end]], max(start, context) - begin + first


def _encoded(document: str, processor: Any) -> tuple[list[int], list[int]]:
    """Return the tokens of a document and the character at which each ends."""
    encoded = processor(document, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]


def _cuts(count: int, has_first: bool, width: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, first predicted token, end) of the windows of `count` tokens.

    `has_first`: a token before the window predicts its first one.
    """
    scored = 0  # tokens before this one belong to earlier windows
    for start in range(0, count, stride):
        stop = min(start + width, count)
        first = max(scored, start if has_first else start + 1)
        scored = stop
        if first < stop:
            yield start, first, stop
