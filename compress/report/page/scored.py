"""Data of a card on scores and on rankings: the examples whose figure moved most against the reference's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.analysis.metrics.generated import LETTERS, chrf_of
from compress.report.text import plain

Columns = Mapping[str, np.ndarray]
Texts = Mapping[int, str | None]


def moved_scores(ours: Columns, baseline: Columns, against: str, texts: Texts, most: int) -> dict[str, Any]:
    """Return the at most `most` examples whose score moved most: those now farther from the data's number first."""
    found = _moved(baseline["reference"], baseline["score"], ours["score"], texts, most)
    farther, nearer, _ = found["counts"]
    sentence = (
        f"Of {found['n']} examples, {farther} have a score farther from the data's than under {against}, {nearer} one "
        "nearer to it."
    )
    return {**found, "sentence": sentence, "words": ["farther", "nearer", "as far"]}


def moved_ranks(ours: np.ndarray, baseline: np.ndarray, against: str, texts: Texts, most: int) -> dict[str, Any]:
    """Return the at most `most` queries whose figure, which is at best 1, moved most: those ranked worse first."""
    found = _moved(np.ones_like(baseline), baseline, ours, texts, most)
    worse, better, _ = found["counts"]
    sentence = f"Of {found['n']} queries, {worse} are ranked worse than under {against}, {better} better."
    return {**found, "sentence": sentence, "words": ["worse", "better", "as good"]}


def moved_texts(
    ours: Columns, baseline: Columns, metric: str | None, against: str, texts: Texts, most: int
) -> dict[str, Any]:
    """Return the at most `most` generated texts whose figure moved most: those now farther from their references first.

    The figure is that of ROUGE if ROUGE is the metric, otherwise the chrF of each text from 0 to 1.
    """
    rouge = metric if metric is not None and metric in ours else None
    before, after = (_chrf(each) if rouge is None else each[rouge] for each in (baseline, ours))
    found = _moved(np.ones_like(before), before, after, texts, most)
    other = int((ours["answer"] != baseline["answer"]).sum()) if "answer" in ours and "answer" in baseline else 0
    farther, nearer, _ = found["counts"]
    figure = rouge or "chrF"
    sentence = (
        f"Of {found['n']} texts, {other} are other ones than under {against}: {farther} are farther from their "
        f"references by {figure}, {nearer} nearer."
    )
    return {**found, "sentence": sentence, "words": ["farther", "nearer", "as far"]}


def moved_transcripts(
    ours: Columns, baseline: Columns, metric: str | None, against: str, texts: Texts, most: int
) -> dict[str, Any]:
    """Return the at most `most` transcripts whose errors changed most: those with more errors first.

    They are errors of characters if the metric is `cer`, otherwise of words.
    """
    name, unit = ("letter_errors", "characters") if metric == "cer" else ("errors", "words")
    found = _moved(np.zeros_like(baseline[name]), baseline[name], ours[name], texts, most)
    other = int((ours["answer"] != baseline["answer"]).sum()) if "answer" in ours and "answer" in baseline else 0
    more, fewer, _ = found["counts"]
    sentence = (
        f"Of {found['n']} transcripts, {other} are other ones than under {against}: {more} have more errors of {unit}, "
        f"{fewer} fewer."
    )
    return {**found, "sentence": sentence, "words": ["more errors", "fewer errors", "as many"]}


def _chrf(columns: Columns) -> np.ndarray:
    """Return the chrF of each text, from 0 to 1."""
    counts = [
        np.stack([columns[f"{name}_{order}"] for order in range(1, LETTERS + 1)], axis=1)
        for name in ("letters", "reference_letters", "letter_match")
    ]
    return np.array([chrf_of(*row) / 100 for row in zip(*counts, strict=True)])


def _moved(gold: np.ndarray, before: np.ndarray, after: np.ndarray, texts: Texts, most: int) -> dict[str, Any]:
    moved = np.abs(after - before)
    change = np.abs(after - gold) - np.abs(before - gold)
    rank = np.where(change > 0, 0, np.where(change < 0, 1, 2))
    listed = [n for n in np.argsort(-moved, kind="stable")[:most].tolist() if moved[n] > 0]
    rows = [
        [
            n,
            None if (text := texts.get(n)) is None else plain(text),
            *(f"{each[n]:.4g}" for each in (gold, before, after)),
            int(rank[n]),
        ]
        for n in sorted(listed, key=lambda n: int(rank[n]))
    ]
    counts = [int(((rank == kind) & (moved > 0)).sum()) for kind in range(3)]
    return {"counts": counts, "n": len(gold), "rows": rows}
