"""Data of a card on questions: those with another answer than the reference's, by the F1 of the answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.report.text import plain

KINDS = ("lower F1", "higher F1", "same F1")


def changed_answers(
    ours: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    against: str,
    texts: Mapping[int, str | None],
    most: int,
) -> dict[str, Any]:
    """Return at most `most` questions with another answer: those with a lower F1 first, then with a higher one."""
    after, before = ours["f1"], baseline["f1"]
    changed = np.flatnonzero(ours["answer"] != baseline["answer"])
    rank = np.where(after[changed] < before[changed], 0, np.where(after[changed] > before[changed], 1, len(KINDS) - 1))
    without = ours.get("no_answer", np.zeros(len(after)))
    rows = [
        [
            n,
            None if (text := texts.get(n)) is None else plain(text),
            "no answer" if without[n] else "an answer",
            f"F1 {before[n]:.2f}",
            f"F1 {after[n]:.2f}",
            kind,
        ]
        for kind, n in sorted(zip(rank.tolist(), changed.tolist(), strict=True))[:most]
    ]
    counts = [int((rank == kind).sum()) for kind in range(len(KINDS))]
    sentence = (
        f"Of {len(after)} questions, {len(changed)} have another answer than under {against}: {counts[0]} with a lower "
        f"F1, {counts[1]} with a higher one, {counts[2]} with the same."
    )
    return {"counts": counts, "n": len(after), "rows": rows, "sentence": sentence, "words": list(KINDS)}
