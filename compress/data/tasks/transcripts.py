"""Counts of a transcript against its reference, from which word and character error rates of any examples follow.

    "and so my fellow Americans."  against  "AND SO, MY FELLOW AMERICANS"   ->   errors 0, words 5

Errors are the fewest substitutions, deletions and insertions, as jiwer aligns them, after both texts were normalised.
The error rate of a split is the sum of errors over the sum of words: it can exceed 1. A reference without words counts
with the words that were inserted.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import util

from compress.base.errors import InputError
from compress.data.tasks.view import Normalizer

DESCRIBED = {
    "basic": "texts in lower case without punctuation and text in brackets (Whisper's basic normaliser)",
    "english": (
        "texts with English numbers and contractions in one form, lower case, without punctuation (Whisper's English "
        "normaliser, without its table of spellings)"
    ),
    "none": "texts as they are, words between white space",
}


def check_packages() -> None:
    """Raise InputError if the package of the metrics is not installed."""
    if util.find_spec("jiwer") is None:
        raise InputError("wer and cer are counted by jiwer; install: pip install 'compress[speech]'")


@cache
def normalizer(kind: Normalizer) -> Callable[[str], str]:
    """Return the function that makes a text comparable, of single spaces."""
    if kind == "none":
        return lambda text: " ".join(text.split())
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    change = BasicTextNormalizer() if kind == "basic" else EnglishTextNormalizer({})
    return lambda text: " ".join(change(text).split())


@lru_cache(maxsize=200_000)
def counts(text: str, reference: str, kind: Normalizer) -> dict[str, float]:
    """Return errors and words, and errors and number of characters, of a transcript."""
    import jiwer

    change = normalizer(kind)
    ours, theirs = change(text), change(reference)
    words, letters = jiwer.process_words(theirs, ours), jiwer.process_characters(theirs, ours)
    found = {}
    for errors, length, made in (("errors", "words", words), ("letter_errors", "letters", letters)):
        found[errors] = float(made.substitutions + made.deletions + made.insertions)
        found[length] = float(made.substitutions + made.deletions + made.hits)
    return found


def signature(kind: Normalizer) -> str:
    """Return a note on how errors are counted."""
    from importlib.metadata import version

    return f"errors of words and characters by jiwer {version('jiwer')}, {DESCRIBED[kind]}"
