"""Generated texts of a card: those whose figure moved, by chrF or by ROUGE."""

import numpy as np
from sacrebleu.metrics import CHRF

from compress.data.tasks import text_scores
from compress.data.tasks.overlap import number
from compress.report.page.scored import moved_texts

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
