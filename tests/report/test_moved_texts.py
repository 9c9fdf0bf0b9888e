"""Generated texts of a card: those whose figure moved, by chrF or by ROUGE."""

import numpy as np
from sacrebleu.metrics import CHRF

from compress.data.tasks import text_scores
from compress.data.tasks.overlap import number
from compress.report.page.scored import moved_texts, moved_transcripts

REFERENCES = ("das rote Haus.", "ein Kind liest.", "das alte Buch.", "der Garten.")
BEFORE = ("das rote Haus.", "ein Kind sieht.", "das Buch.", "der Fluss.")
AFTER = ("das rote.", "ein Kind liest.", "das Buch.", "der Hof.")


def columns(written: tuple[str, ...]) -> dict[str, np.ndarray]:
    rows = [text_scores.counts(text, (each,), "13a") for text, each in zip(written, REFERENCES, strict=True)]
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {**found, "answer": np.array([number(text) for text in written])}


def test_texts_are_listed_by_their_chrf_those_that_lost_first() -> None:
    found = moved_texts(columns(AFTER), columns(BEFORE), "bleu", "fp32 eager", dict(enumerate(REFERENCES)), 10)
    figures = {row[0]: (row[3], row[4]) for row in found["rows"]}
    for place, (before, after) in figures.items():
        for text, figure in ((BEFORE[place], before), (AFTER[place], after)):
            expected = CHRF().corpus_score([text], [[REFERENCES[place]]]).score / 100
            assert abs(float(figure) - expected) < 1e-3
    assert 2 not in figures, "the same text"
    kinds = [row[5] for row in found["rows"]]
    assert kinds == sorted(kinds) and found["rows"][0][1] == REFERENCES[0]
    lost = sum(float(after) < float(before) for before, after in figures.values())
    assert f"Of 4 texts, 3 are other ones than under fp32 eager: {lost} are farther" in found["sentence"]


def test_under_rouge_they_are_listed_by_rouge() -> None:
    ours, theirs = columns(AFTER), columns(BEFORE)
    found = moved_texts(ours, theirs, "rouge_l", "fp32 eager", {}, 10)
    assert {row[0] for row in found["rows"]} == set(np.flatnonzero(ours["rouge_l"] != theirs["rouge_l"]).tolist())
    assert "by rouge_l" in found["sentence"]


def test_transcripts_with_more_errors_come_first() -> None:
    ours = {"errors": [2.0, 0.0, 1.0, 3.0], "letter_errors": [4.0, 0.0, 1.0, 3.0], "answer": [1.0, 2.0, 3.0, 9.0]}
    baseline = {"errors": [1.0, 3.0, 1.0, 3.0], "letter_errors": [4.0, 5.0, 1.0, 2.0], "answer": [7.0, 8.0, 3.0, 4.0]}
    columns = [{name: np.array(values) for name, values in each.items()} for each in (ours, baseline)]
    found = moved_transcripts(columns[0], columns[1], "wer", "fp32 eager", {0: "one", 1: "two"}, 10)
    assert found["rows"] == [[0, "one", "0", "1", "2", 0], [1, "two", "0", "3", "0", 1]]
    assert found["sentence"] == (
        "Of 4 transcripts, 3 are other ones than under fp32 eager: 1 have more errors of words, 1 fewer."
    )
    letters = moved_transcripts(columns[0], columns[1], "cer", "fp32 eager", {}, 10)
    assert [row[0] for row in letters["rows"]] == [3, 1] and "of characters" in letters["sentence"]
