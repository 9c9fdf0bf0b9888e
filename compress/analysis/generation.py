"""Figures of greedy continuations: how many differ from the reference's, from which token on, and how they repeat.

    reference   the cat sat on the mat .
    model       the cat lay on a mat .         changed, first at token 3

A perplexity close to the reference's can hide text that loops: repetition is seq-rep-4 of Welleck et al. 2019
(arXiv:1908.04319, section 6), 1 - distinct 4-grams / 4-grams of a continuation, averaged over the prompts.
"""

from collections.abc import Sequence
from statistics import fmean, median

from compress.analysis.costs import Raw
from compress.records import stats
from compress.records.generation import Generation

GRAM = 4
MORE = 0.1
"""Growth of the repetition that a note reports."""
Texts = Sequence[Sequence[int]]


def generation(raw: Raw, name: str) -> Generation | None:
    """Return the figures of a runner's continuations; None if it has none, or its reference has none."""
    own = raw.session.runner(name).continuations
    if not own:
        return None
    if name == raw.against:
        return Generation(len(own), len(own[0]), repetition(own))
    theirs = raw.session.runner(raw.against).continuations
    return compared(own, theirs, raw.against) if theirs else None


def compared(own: Texts, theirs: Texts, reference: str) -> Generation:
    """Return the figures of continuations [prompts, tokens] against those of a reference."""
    pairs = list(zip(own, theirs, strict=True))
    firsts = [first for pair in pairs if (first := first_difference(*pair)) is not None]
    return Generation(
        prompts=len(pairs),
        new_tokens=len(own[0]),
        repetition=repetition(own),
        reference=reference,
        changed=stats.wilson(len(firsts), len(pairs)),
        first_changed=float(median(firsts)) if firsts else None,
        reference_repetition=repetition(theirs),
    )


def first_difference(own: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the position, from 1, of the first different token; None for equal texts."""
    return next((n for n, (a, b) in enumerate(zip(own, other, strict=True), 1) if a != b), None)


def repetition(texts: Texts) -> float:
    """Return the mean share of 4-grams of a text that occurred in it before; 0 for texts of fewer tokens."""
    shares = []
    for text in texts:
        grams = [tuple(text[start : start + GRAM]) for start in range(len(text) - GRAM + 1)]
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return fmean(shares)


def note(figures: Generation | None) -> list[str]:
    """Return a note on text that repeats itself more than the reference's by over 10 points; empty otherwise."""
    if figures is None or figures.reference_repetition is None:
        return []
    if figures.repetition <= figures.reference_repetition + MORE:
        return []
    return [
        f"its greedy text repeats itself: {100 * figures.repetition:.0f} % of 4-grams occurred before in the same "
        f"continuation, {100 * figures.reference_repetition:.0f} % in those of {figures.reference}"
    ]
