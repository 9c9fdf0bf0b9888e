"""Metrics of generated texts from additive counts of every example, as sacrebleu computes them from the same counts.

    BLEU    geometric mean of the precisions of 1- to 4-grams of words x brevity penalty        Papineni et al. 2002
    chrF    F2 of the mean precision and mean recall of 1- to 6-grams of letters                 Popovic 2015

Counts are summed over examples before anything is divided. Both values are from 0 to 100.
"""

import math
from collections.abc import Sequence

import numpy as np

ORDERS, LETTERS = 4, 6
"""Longest sequences of words, and of letters, that are counted."""
BETA = 2
"""Weight of recall in chrF."""


def bleu(match: np.ndarray, total: np.ndarray, words: np.ndarray, reference_words: np.ndarray) -> float:
    """Return corpus BLEU with sacrebleu's exponential smoothing.

    match, total [n, 4]: n-grams of each text that its references have, and all of them. words, reference_words [n]:
    lengths of the texts, and of the references that are closest in length.
    """
    hits, counts = match.sum(axis=0), total.sum(axis=0)
    own, expected = float(words.sum()), float(reference_words.sum())
    if not hits.any():
        return 0.0
    penalty = 1.0 if own >= expected else math.exp(1 - expected / own) if own else 0.0
    halvings, logs = 0, 0.0
    for hit, count in zip(hits.tolist(), counts.tolist(), strict=True):
        if count == 0:
            return 0.0  # no text is long enough for this order
        halvings += hit == 0
        logs += math.log(hit / count if hit else 1 / (2.0**halvings * count))
    return 100 * penalty * math.exp(logs / len(hits))


def chrf(letters: np.ndarray, reference_letters: np.ndarray, match: np.ndarray) -> float:
    """Return corpus chrF2 of n-grams of letters [n, 6]: of the texts, of their references, and those they share."""
    return chrf_of(*(each.sum(axis=0).tolist() for each in (letters, reference_letters, match)))


def chrf_of(letters: Sequence[float], reference_letters: Sequence[float], match: Sequence[float]) -> float:
    """Return chrF2 of counts by order; orders that a text or its reference is too short for do not count."""
    triples = zip(letters, reference_letters, match, strict=True)
    rates = [(hit / own, hit / expected) for own, expected, hit in triples if own > 0 and expected > 0]
    if not rates:
        return 0.0
    precision, recall = (math.fsum(each) / len(rates) for each in zip(*rates, strict=True))
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
