"""The answer of a question from the scores of its windows: the span with the largest sum of start and end logits.

Windows are compared by these raw sums. A softmax within each window would let a window without the answer win.

The first token of a window stands for no answer. Its score for a question is the least of all windows, as in the
official baseline: a high score in one window is no evidence against an answer in another.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """A span of context tokens."""

    score: float
    """Start logit of the first token plus end logit of the last one."""
    window: int
    first: int
    last: int


def best(windows: Sequence[np.ndarray], longest: int) -> Span | None:
    """Return the best span of at most `longest` tokens over windows of logits [1 + context tokens, 2].

    The first row of a window is its first token, which is in no span. The shortest of equal spans wins, then the first;
    None without context.
    """
    found: Span | None = None
    for number, logits in enumerate(windows):
        start, end = logits[1:].astype(np.float64).T
        for length in range(min(longest, len(start))):
            sums = start[: len(start) - length] + end[length:]
            first = int(sums.argmax())
            if found is None or sums[first] > found.score:
                found = Span(float(sums[first]), number, first, first + length)
    return found


def null_score(windows: Sequence[np.ndarray]) -> float:
    """Return the least sum of start and end logits at the first token of the windows."""
    return min(float(logits[0].astype(np.float64).sum()) for logits in windows)
