"""Figures of one query's ranking of texts, from the relevance of each text and the model's score of it.

Texts with equal scores have no order: they count with the mean over all orders of them, as in scikit-learn's
`ndcg_score`. Their order in the data, which often begins with the relevant ones, never helps a model.
"""

from collections.abc import Sequence

import numpy as np

CUTOFF = 10
Numbers = Sequence[float] | np.ndarray


def ndcg(grades: Numbers, scores: Numbers, cutoff: int = CUTOFF) -> float:
    """Return the gain of the first `cutoff` texts over that of the best order; the gain of a text is its grade.

    Discounted by log2(1 + rank), Järvelin and Kekäläinen 2002, with linear gain as in trec_eval. 0 if no text is
    relevant.
    """
    gains = np.asarray(grades, dtype=np.float64)
    discounts = 1 / np.log2(np.arange(len(gains)) + 2)
    discounts[cutoff:] = 0
    ideal = float(np.sort(gains)[::-1] @ discounts)
    order, groups = _ranked(scores)
    shared = np.bincount(groups, discounts) / np.bincount(groups)
    return float(gains[order] @ shared[groups]) / ideal if ideal > 0 else 0.0


def reciprocal_rank(grades: Numbers, scores: Numbers) -> float:
    """Return 1 / rank of the first relevant text (of a grade above 0); 0 if no text is relevant."""
    order, groups = _ranked(scores)
    relevant = np.asarray(grades)[order] > 0
    if not relevant.any():
        return 0.0
    group = groups[np.flatnonzero(relevant)[0]]
    before, size = int((groups < group).sum()), int((groups == group).sum())
    return _expected(before, size, int((relevant & (groups == group)).sum()))


def recall(grades: Numbers, scores: Numbers, cutoff: int) -> float:
    """Return the share of the relevant texts (of a grade above 0) among the first `cutoff`; 0 if none is relevant."""
    order, groups = _ranked(scores)
    relevant = np.asarray(grades)[order] > 0
    taken = (np.arange(len(order)) < cutoff).astype(np.float64)
    shared = np.bincount(groups, taken) / np.bincount(groups)
    return float(shared[groups][relevant].sum() / relevant.sum()) if relevant.any() else 0.0


def _expected(before: int, size: int, relevant: int) -> float:
    """Return the mean of 1 / rank of the first relevant text over all orders of `size` texts after `before` others."""
    total, none_yet = 0.0, 1.0
    for place in range(size - relevant + 1):
        chance = relevant / (size - place)  # that this one is relevant, if none was
        total += none_yet * chance / (before + place + 1)
        none_yet *= 1 - chance
    return total


def _ranked(scores: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts from the highest score to the lowest, and the number of the group of equal scores of each."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    return order, np.cumsum(np.append(False, ranked[1:] != ranked[:-1]))
