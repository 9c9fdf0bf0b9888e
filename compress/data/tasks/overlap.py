"""Exact match and F1 of answers, by the rules of SQuAD's official script for version 2.0.

    "the Broncos."  ->  "broncos"      lower case, without ASCII punctuation and articles, single spaces

An answer counts by the reference that it fits best. Version 1.1's script differs for texts of which nothing is left:
its F1 of two such texts is 0.
"""

import hashlib
import re
import string
from collections import Counter
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(text: str) -> str:
    """Return a text as it is compared."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def f1(answer: str, reference: str) -> float:
    """Return the F1 of the words of two normalized texts; 1 if both are empty, 0 if one is."""
    ours, theirs = answer.split(), reference.split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def references(texts: Sequence[str]) -> list[str]:
    """Return the normalized references of a question: only the empty text if it has no answer."""
    return list(dict.fromkeys(filter(None, map(normalized, texts)))) or [""]


def number(text: str) -> float:
    """Return a number that a double holds exactly, and that differs for other texts but by chance (1 in 2^48)."""
    return float(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()))


def scores(answer: str, expected: Sequence[str]) -> tuple[float, float]:
    """Return exact match and F1 of an answer, each by the best of the normalized references."""
    given = normalized(answer)
    return float(given in expected), max(f1(given, reference) for reference in expected)
