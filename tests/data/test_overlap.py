"""Exact match and F1 of answers, against the rules of SQuAD's official script stated again."""

import random
import re
import string
from collections import Counter

from compress.data.tasks import overlap

WORDS = (
    "the",
    "The",
    "a",
    "An",
    "Denver",
    "Broncos",
    "broncos.",
    "U.S.",
    "1,000",
    "'s",
    "—",
    "É",
    "and",
    "x_y",
    "\t",
    "",
)


def stated(text: str) -> str:
    """The official normalisation, one rule a function."""

    def remove_articles(text: str) -> str:
        return re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(text.lower())))


def stated_f1(gold: str, answer: str) -> float:
    """The official F1 for version 2.0."""
    gold_toks = stated(gold).split() if gold else []
    pred_toks = stated(answer).split() if answer else []
    num_same = sum((Counter(gold_toks) & Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return float(int(gold_toks == pred_toks))
    if num_same == 0:
        return 0.0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def stated_scores(answer: str, golds: list[str]) -> tuple[float, float]:
    """The best of the references that are more than articles and punctuation; no answer if none is."""
    kept = [text for text in golds if stated(text)] or [""]
    return max(float(stated(text) == stated(answer)) for text in kept), max(stated_f1(text, answer) for text in kept)


def test_scores_equal_the_official_rules_on_random_texts() -> None:
    draw = random.Random(0)

    def text() -> str:
        return draw.choice((" ", " ", "-", "  ")).join(draw.choices(WORDS, k=draw.randrange(5)))

    seen = set()
    for _ in range(4000):
        answer, golds = text(), [text() for _ in range(draw.randrange(4))]
        exact, f1 = overlap.scores(answer, overlap.references(golds))
        expected_exact, expected_f1 = stated_scores(answer, golds)
        assert exact == expected_exact and abs(f1 - expected_f1) < 1e-12, (answer, golds)
        seen.add((exact, round(f1, 2)))
    assert len(seen) > 10


def test_an_answer_is_normalized_and_compared_with_its_best_reference() -> None:
    golds = ["Denver Broncos", "The Denver Broncos", "Broncos"]
    assert overlap.scores("the Broncos.", overlap.references(golds)) == (1.0, 1.0)
    assert overlap.scores("the Broncos.", overlap.references(golds[:1])) == (0.0, 2 / 3)


def test_no_answer_is_right_only_for_a_question_without_one() -> None:
    assert overlap.references([]) == overlap.references(["the"]) == [""]
    assert overlap.scores("", [""]) == (1.0, 1.0)
    assert overlap.scores("Broncos", [""]) == (0.0, 0.0)
    assert overlap.scores("", ["broncos"]) == (0.0, 0.0)
