"""Entities in tags of words, as seqeval's default mode counts them (`seqeval.metrics.sequence_labeling.get_entities`).

B-PER I-PER O B-LOC I-LOC B-LOC      (PER, 0, 1) (LOC, 3, 4) (LOC, 5, 5)
I-PER I-PER O I-LOC B-LOC            (PER, 0, 1) (LOC, 3, 3) (LOC, 4, 4)     IOB1, or a missing B-: I- opens one too
B-PER I-LOC                          (PER, 0, 0) (LOC, 1, 1)                 another kind begins another entity
B-PER E-PER S-PER                    (PER, 0, 1) (PER, 2, 2)                 E- ends, S- is one of its own
"""

from collections.abc import Sequence

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S")
Entity = tuple[str, int, int]
"""Kind, first word, last word."""


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of one sentence, in order."""
    found: list[Entity] = []
    begin, before, kind_before = 0, OUTSIDE, ""
    for word, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = tag[:1], kind_of(tag)
        opens = prefix in "BS" or before in "OES" or kind != kind_before
        if before != OUTSIDE and (opens or prefix == OUTSIDE):
            found.append((kind_before, begin, word - 1))
        if prefix != OUTSIDE and opens:
            begin = word
        before, kind_before = prefix, kind
    return found


def kind_of(tag: str) -> str:
    """Return the kind of entity that a tag names: LOC of B-LOC; `_` without one."""
    return tag[1:].split("-", maxsplit=1)[-1] or "_"


def unlike_entities(names: Sequence[str]) -> list[str]:
    """Return the tags that are neither O nor B-, I-, E- or S- before a kind."""
    return [name for name in names if name != OUTSIDE and not (name[:1] in PREFIXES and name[1:2] in ("-", ""))]


def counts(gold: Sequence[str], predicted: Sequence[str]) -> tuple[int, int, int]:
    """Return the entities found in the same words with the same kind, those predicted, and those there are."""
    ours, theirs = set(entities(predicted)), set(entities(gold))
    return len(ours & theirs), len(ours), len(theirs)
