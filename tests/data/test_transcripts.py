"""Errors of transcripts: summed over the split, after a normaliser, as an edit distance by hand gives them."""

import random

import numpy as np
import pytest

from compress.analysis import metrics
from compress.analysis.chance import constant
from compress.data.tasks import transcripts


def distance(one: list[str], other: list[str]) -> int:
    """The fewest substitutions, deletions and insertions, by the textbook table."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def outcomes(pairs: list[tuple[str, str]], kind: str = "none") -> dict[str, list[float]]:
    """Counts of (transcript, reference) by name."""
    rows = [transcripts.counts(text, reference, kind) for text, reference in pairs]  # type: ignore[arg-type]
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_counts_are_those_of_an_edit_distance_by_hand() -> None:
    draw = random.Random(3)
    pairs = [
        tuple(" ".join(draw.choices("abc", k=draw.randint(1, 9))) for _ in range(2))
        for _ in range(60)
    ]  # fmt: skip
    for text, reference in pairs:
        found = transcripts.counts(text, reference, "none")
        assert found["errors"] == distance(text.split(), reference.split())
        assert found["letter_errors"] == distance(list(text), list(reference))
        assert (found["words"], found["letters"]) == (len(reference.split()), len(reference))


def test_errors_and_words_are_summed_not_averaged_over_recordings() -> None:
    nine = "b c d e f g h i j"
    found = outcomes([("a", "x"), (nine, nine)])
    assert metrics.compute("wer", found) == pytest.approx(0.1)  # 1 of 10 words; the mean of both rates is 0.5
    assert constant(found, "wer", {}) == {"errors": [1, 9], "words": [1, 9]}, "writing nothing misses every word"


@pytest.mark.parametrize(("kind", "expected"), [("basic", 0.0), ("english", 0.0), ("none", 1.0)])
def test_case_and_punctuation_count_only_without_a_normaliser(kind: str, expected: float) -> None:
    found = outcomes([("AND SO MY FELLOW AMERICANS", "And so, my fellow Americans.")], kind)
    assert metrics.compute("wer", found) == expected


def test_numbers_have_one_form_by_the_english_normaliser_alone() -> None:
    assert transcripts.counts("It's 7.", "it is seven", "english")["errors"] == 0
    assert transcripts.counts("It's 7.", "it is seven", "basic")["errors"] == 2  # it s 7


def test_words_where_there_are_none_count_as_errors() -> None:
    found = outcomes([("hello", ""), ("a b", "a b"), ("", "c d")])
    assert found["errors"] == [1, 0, 2] and found["words"] == [0, 2, 2]
    assert metrics.compute("wer", found) == pytest.approx(3 / 4)
    assert np.isnan(metrics.compute("wer", outcomes([("hello", "")])))


def test_fewer_errors_are_better_and_differences_are_points() -> None:
    assert not metrics.higher_is_better("wer") and not metrics.higher_is_better("cer")
    assert metrics.unit("wer") == "points" and metrics.scale("cer") == 1.0


def test_the_note_names_jiwer_and_the_normaliser() -> None:
    note = transcripts.signature("basic")
    assert "jiwer 4." in note and "Whisper's basic normaliser" in note
