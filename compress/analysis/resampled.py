"""Percentile bootstrap of a metric over examples: its interval, and the interval of the difference to a reference.

A resample with an undefined metric could have any value. It counts as the lowest value for the lower end and as the
highest for the upper end. A few of 200 widen the interval; 2.5 % or more leave none. If resampling cannot determine an
interval (a single example, the same value on every resample), it is infinite, with the reason. The interval of a
difference contains 0 if few outcomes differ and their sign test is not significant, as for accuracy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compress.analysis.metrics import Score
from compress.analysis.metrics.boxes import NO_BOX, THRESHOLDS, hits
from compress.base.bits import BITS, unpacked
from compress.records import stats
from compress.records.fields import FARTHEST
from compress.records.stats import Estimate

Columns = Mapping[str, np.ndarray]
TAIL = 0.025
RATED = ("ndcg_at_10", "reciprocal_rank", "recall_at_10", "recall_at_100", "em", "f1", "rouge_1", "rouge_2", "rouge_l")
"""Figures of the order of a query's texts, of an answer, and of a generated text: 1 is the best."""


@dataclass(frozen=True)
class Resampled:
    """A metric and its difference to the reference; `reasons` explain unknown values."""

    estimate: Estimate
    delta: Estimate | None
    reasons: dict[str, str]


def bootstrap(
    own: Columns, baseline: Columns | None, score: Score, seed: int, resamples: int, relative: bool
) -> Resampled:
    """Return the metric and its difference to the baseline over the same resampled examples.

    With `relative`, the difference is divided by the magnitude of the baseline's metric.
    """
    if baseline is not None:
        own, baseline = padded(own, baseline), padded(baseline, own)
    n = len(next(iter(own.values())))
    generator = np.random.default_rng(seed)
    subtract = relative_difference if relative else difference
    value, other = score(own), None if baseline is None else score(baseline)
    values, differences = [], []
    for _ in range(resamples if math.isfinite(value) else 0):
        index = generator.integers(0, n, n)
        drawn = score({key: column[index] for key, column in own.items()})
        values.append(drawn)
        if baseline is not None and other is not None:
            against = score({key: column[index] for key, column in baseline.items()})
            differences.append(subtract(drawn, against, other))
    if not math.isfinite(value):
        unknown = f"it is {_word(value)} on this test split"
        reasons = {"estimate": unknown, **({} if baseline is None else {"delta": unknown})}
        return Resampled(Estimate(math.nan, -math.inf, math.inf, n), None, reasons)
    estimate, interval_reason = interval(value, values, n)
    reasons = {"interval": interval_reason} if interval_reason else {}
    if baseline is None or other is None:
        return Resampled(estimate, None, reasons)
    delta, delta_reason = _delta(
        subtract(value, other, other), other, differences, n, estimate.bounded and _same(own, baseline)
    )
    delta = None if delta is None else stats.no_surer(delta, *differing(own, baseline))
    if delta_reason:
        reasons["delta" if delta is None else "delta_interval"] = delta_reason
    return Resampled(estimate, delta, reasons)


def padded(own: Columns, other: Columns) -> Columns:
    """Return the columns with those of further boxes that only the other model found: no box in any picture."""
    none = np.full(len(next(iter(own.values()))), NO_BOX)
    return {**own, **{name: none for name in other if name.startswith("box_") and name not in own}}


def difference(own: float, baseline: float, _: float) -> float:
    """Return own minus baseline."""
    return own - baseline


def relative_difference(own: float, baseline: float, whole: float) -> float:
    """Return the difference relative to the baseline; nan if its sign differs from that on the `whole` split."""
    if not baseline * whole > 0:
        return math.nan
    return own / baseline - 1 if baseline > 0 else 1 - own / baseline


def interval(value: float, resampled: Sequence[float], n: int) -> tuple[Estimate, str]:
    """Return the estimate with its percentile interval, and a reason if that is unknown or widened."""
    unknown = Estimate(value, -math.inf, math.inf, n)
    if n < 2:
        return unknown, "no interval: one example has no spread"
    drawn = np.asarray(resampled, dtype=np.float64)
    finite = np.isfinite(drawn)
    lost = int((~finite).sum())
    rank = math.floor(TAIL * (len(drawn) - 1)) - lost  # undefined resamples are sorted to both ends
    if lost == 0:
        low, high = (stats.percentile(resampled, edge) for edge in (TAIL, 1 - TAIL))
    elif rank < 0:
        return unknown, f"no interval: undefined on {lost} of {len(drawn)} resamples of the examples"
    else:
        inside = np.sort(drawn[finite]).tolist()
        low, high = inside[rank], inside[-1 - rank]
    if low == high:
        return unknown, f"no interval: the same on all {len(drawn)} resamples of the examples"
    low, high = min(low, value), max(high, value)  # resamples repeat examples, which biases some metrics
    if max(-low, high) > FARTHEST:
        return unknown, "no interval: beyond what a double can hold on some resamples of the examples"
    why = f"undefined on {lost} of {len(drawn)} resamples of the examples, which widens the interval" if lost else ""
    return Estimate(value, low, high, n), why


def _delta(value: float, other: float, differences: Sequence[float], n: int, same: bool) -> tuple[Estimate | None, str]:
    """Return the difference with its interval. It has no width if both gave the `same` outcome to every example."""
    if not math.isfinite(other):
        return None, f"the reference's is {_word(other)} on this test split"
    if not math.isfinite(value):
        return None, "the reference's is 0: a relative difference is undefined; state `scale` in the metric's file"
    if abs(value) > FARTHEST:
        return None, "the reference's is too close to 0 for a relative difference; state `scale` in the metric's file"
    if same and n > 1:
        return Estimate(value, value, value, n), ""
    return interval(value, differences, n)


def differing(own: Columns, baseline: Columns) -> tuple[int, int, int]:
    """Count the examples that only own answers correctly, only baseline, and both wrongly but differently.

    For a language model: the examples on which own has the larger loss, the smaller loss, and 0. Of counts,
    scores and answers: the examples on which own has smaller errors, larger errors, and other errors of the same size.
    """
    if "prediction" in own:
        our_hits, their_hits = (model["prediction"] == model["reference"] for model in (own, baseline))
        wrong = ~our_hits & ~their_hits & (own["prediction"] != baseline["prediction"])
        return int((our_hits & ~their_hits).sum()), int((their_hits & ~our_hits).sum()), int(wrong.sum())
    if "nll" in own:
        larger, smaller = own["nll"] > baseline["nll"], own["nll"] < baseline["nll"]
        return int(larger.sum()), int(smaller.sum()), 0
    ours, theirs = _errors(own), _errors(baseline)
    others = np.any([own[name] != baseline[name] for name in own], axis=0)
    return int((ours < theirs).sum()), int((ours > theirs).sum()), int((others & (ours == theirs)).sum())


def _errors(columns: Columns) -> np.ndarray:
    """Return the errors of each example: false and missed entities, words with a wrong tag, or what a score lacks."""
    if "score" in columns:
        distance: np.ndarray = np.abs(columns["score"] - columns["reference"])
        return distance
    if rated := next((name for name in RATED if name in columns), None):
        lacking: np.ndarray = 1 - columns[rated]
        return lacking
    if "match_1" in columns:
        return _of_ngrams(columns, "total", "match") + _of_ngrams(columns, "reference_words", "text_words")
    if "letters_1" in columns:
        return _of_ngrams(columns, "letters", "letter_match") + _of_ngrams(columns, "reference_letters", "letter_match")
    if errors_of := next((name for name in ("errors", "letter_errors") if name in columns), None):
        counted: np.ndarray = columns[errors_of]
        return counted
    if "objects_0" in columns:
        return _missed(columns)
    if "intersection_0" in columns:  # a wrong pixel is in the unions of two classes
        return _beyond(columns)
    if "gold_0" in columns:
        return _other_labels(columns)
    if "tp" in columns:
        errors: np.ndarray = columns["predicted"] + columns["gold"] - 2 * columns["tp"]
        return errors
    return columns["words"] - columns["right"]


def _of_ngrams(columns: Columns, all_of: str, hits: str) -> np.ndarray:
    """Return how many of these each example has beyond its hits, over n-grams of every order; at least 0."""
    pairs = ((columns[name], columns[name.replace(all_of, hits)]) for name in columns if name.startswith(all_of))
    found: np.ndarray = np.sum([np.maximum(whole - part, 0) for whole, part in pairs], axis=0)
    return found


def _missed(columns: Columns) -> np.ndarray:
    """Return the objects of each picture that no box found, summed over the thresholds of IoU."""
    found = np.stack([columns[name] for name in columns if name.startswith("box_")], axis=1)
    total = np.sum([columns[name] for name in columns if name.startswith("objects_")], axis=0)
    missed: np.ndarray = total * THRESHOLDS - hits(found)
    return missed


def _beyond(columns: Columns) -> np.ndarray:
    """Return how much the unions of a picture's classes exceed their intersections, in pixels."""
    pairs = ((columns[name], columns[name.replace("union", "intersection")]) for name in columns if "union_" in name)
    wrong: np.ndarray = np.sum([either - shared for either, shared in pairs], axis=0)
    return wrong


def _other_labels(columns: Columns) -> np.ndarray:
    """Return the false and missed labels of each example; with scores, the others that a label's scores pass."""
    size = int(columns["labels"][0])
    gold = _sets(columns, "gold", size)
    if "score_0" in columns:
        scores = np.stack([columns[f"score_{label}"] for label in range(size)], axis=1)
        wrongly = np.logaddexp(0, np.where(gold, -scores, scores))  # binary cross entropy
        lost: np.ndarray = wrongly.sum(axis=1)
        return lost
    errors: np.ndarray = (gold != _sets(columns, "predicted", size)).sum(axis=1)
    return errors


def _sets(columns: Columns, name: str, size: int) -> np.ndarray:
    """Return whether each example has each label. [n, size]"""
    return unpacked(np.stack([columns[f"{name}_{place}"] for place in range(-(-size // BITS))], axis=1), size)


def _same(own: Columns, baseline: Columns) -> bool:
    return all(np.array_equal(own[key], baseline[key]) for key in own)


def _word(value: float) -> str:
    return "undefined (nan)" if math.isnan(value) else "beyond what a double can hold"
