"""Data of a card on tags of words, and on labels of texts: the examples with other ones, by their counts."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from compress.report.text import plain

Unit = Literal["entities", "words", "labels"]
"""What an example's errors are counted in."""
KINDS = ("more errors", "fewer errors", "as many errors")
Columns = Mapping[str, np.ndarray]


def changed_tags(
    ours: Columns, baseline: Columns, against: str, unit: Unit, texts: Mapping[int, str | None], most: int
) -> dict[str, Any]:
    """Return at most `most` examples with other tags: those with more errors first, then with fewer, then the others.

    Errors are false and missed entities or labels, or words with a wrong tag.
    """
    of_words = unit == "words"
    total, what = "words" if of_words else "gold", "labels" if unit == "labels" else "tags"
    wrong, wrong_before = _errors(ours, of_words), _errors(baseline, of_words)
    changed = np.flatnonzero(ours["answer"] != baseline["answer"])
    more, fewer = wrong[changed] > wrong_before[changed], wrong[changed] < wrong_before[changed]
    rank = np.where(more, 0, np.where(fewer, 1, 2))
    rows = [
        [
            n,
            None if (text := texts.get(n)) is None else plain(text),
            f"{int(ours[total][n])} {unit}",
            *(_found(columns, n, of_words) for columns in (baseline, ours)),
            kind,
        ]
        for kind, n in sorted(zip(rank.tolist(), changed.tolist(), strict=True))[:most]
    ]
    counts = [int((rank == kind).sum()) for kind in range(len(KINDS))]
    sentence = (
        f"Of {len(wrong)} examples, {len(changed)} have other {what} than under {against}: {counts[0]} with more "
        f"errors, {counts[1]} with fewer, {counts[2]} with as many."
    )
    return {"counts": counts, "n": len(wrong), "rows": rows, "sentence": sentence, "words": list(KINDS)}


def _errors(columns: Columns, of_words: bool) -> np.ndarray:
    if of_words:
        return columns["words"] - columns["right"]
    missed_or_false: np.ndarray = columns["predicted"] + columns["gold"] - 2 * columns["tp"]
    return missed_or_false


def _found(columns: Columns, n: int, of_words: bool) -> str:
    """Return what a model got right in an example, as text."""
    if of_words:
        return f"{int(columns['right'][n])} right"
    return f"{int(columns['tp'][n])} right, {int(columns['predicted'][n] - columns['tp'][n])} false"
