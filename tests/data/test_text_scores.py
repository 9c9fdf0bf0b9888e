"""Counts of generated texts: BLEU, chrF and ROUGE of the counts are those of the packages on the texts themselves."""

import random
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from compress.analysis import metrics
from compress.analysis.accuracy import Evaluation, summarise
from compress.data.tasks import text_scores

WORDS = ("the", "red", "house", "Haus,", "is", "old.", "grün", "3.5", "don't", "we're-here", "Ärger", "“so”", "你好")


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(count)]


def columns(written: list[str], references: list[tuple[str, ...]], tokenizer: str = "13a") -> dict[str, list[float]]:
    rows = [text_scores.counts(text, each, tokenizer) for text, each in zip(written, references, strict=True)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def streams(references: list[tuple[str, ...]]) -> list[list[Any]]:
    most = max(map(len, references))
    return [[each[n] if n < len(each) else None for each in references] for n in range(most)]


@pytest.mark.parametrize("most", [1, 3], ids=["one reference", "up to three"])
@pytest.mark.parametrize("tokenizer", ["13a", "intl", "zh", "char", "none"])
def test_bleu_and_chrf_of_the_counts_are_those_of_sacrebleu(tokenizer: str, most: int) -> None:
    draw = random.Random(3)
    for seed in range(8):
        written = texts(9, seed)
        references = [tuple(texts(draw.randrange(1, most + 1), 100 * seed + n)) for n in range(9)]
        found = columns(written, references, tokenizer)
        bleu = BLEU(tokenize=tokenizer).corpus_score(written, streams(references))
        assert metrics.compute("bleu", found) == pytest.approx(bleu.score, abs=1e-9)
        chrf = CHRF().corpus_score(written, streams(references))
        assert metrics.compute("chrf", found) == pytest.approx(chrf.score, abs=1e-9)


def test_bleu_of_texts_without_longer_matches_is_smoothed_as_sacrebleu_does() -> None:
    cases = [
        (["the cat"], ["the dog"]),  # no text has three words
        (["a b c d e"], ["a x c y e"]),  # no pair of words matches
        ([""], ["a b"]),
        (["x y z"], ["a b c d e f"]),
        (["a b c d"], ["a b c d e f g h"]),  # brevity
    ]
    for written, references in cases:
        found = columns(written, [(each,) for each in references])
        expected = BLEU().corpus_score(written, [references]).score
        assert metrics.compute("bleu", found) == pytest.approx(expected, abs=1e-9)
        assert metrics.compute("chrf", found) == pytest.approx(CHRF().corpus_score(written, [references]).score)


def test_rouge_is_the_mean_of_rouge_score_over_texts() -> None:
    written, references = texts(20, 1), [tuple(texts(2, 50 + n)) for n in range(20)]
    found, scorer = columns(written, references), RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name, key in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        each = [
            max(scorer.score(reference, text)[key].fmeasure for reference in both)
            for text, both in zip(written, references, strict=True)
        ]
        assert metrics.compute(name, found) == pytest.approx(float(np.mean(each)))


def test_bleu_of_a_corpus_is_no_mean_of_sentences() -> None:
    """Silent error 8: right 63.40, a mean of sentences 74.45."""
    written = ["the cat sat on the mat .", "it is raining today"]
    references = ["the cat sat on a mat .", "it is raining today"]
    found = columns(written, [(each,) for each in references])
    assert round(metrics.compute("bleu", found), 2) == 63.40
    apart = [metrics.compute("bleu", {name: [values[n]] for name, values in found.items()}) for n in range(2)]
    assert round(float(np.mean(apart)), 2) == 74.45


def test_text_with_spaces_between_tokens_is_not_the_text() -> None:
    """Silent error 8b: right 100.0, tokenised beforehand and compared without a tokenizer 0.0."""
    text, spaced = "Hello, world!", "Hello , world !"
    assert metrics.compute("bleu", columns([text], [(text,)])) == pytest.approx(100.0)
    assert metrics.compute("bleu", columns([spaced], [(text,)], "none")) == 0.0


def test_intervals_resample_texts_and_pair_models() -> None:
    references = [(text,) for text in texts(30, 4)]
    ours, theirs = columns(texts(30, 5), references), columns([each[0] for each in references], references)
    outcomes = [Evaluation({**each, "answer": list(range(30))}, True, 8) for each in (ours, theirs)]
    found = summarise(outcomes[0], "bleu", outcomes[1], "fp32", seed=0)
    assert found.unit == "points" and found.scale == 100 and found.delta is not None
    assert found.estimate.low < found.estimate.value < found.estimate.high
    drawn = np.random.default_rng(0)
    written = texts(30, 5)
    values = []
    for _ in range(1000):
        index = drawn.integers(0, 30, 30)
        drawn_texts, drawn_references = [written[n] for n in index], [references[n][0] for n in index]
        values.append(BLEU().corpus_score(drawn_texts, [drawn_references]).score)
    assert found.estimate.low == pytest.approx(np.percentile(values, 2.5), abs=0.05)
    assert found.estimate.high == pytest.approx(np.percentile(values, 97.5), abs=0.05)
    assert found.reasons["mcnemar_p"].startswith("a generated text agrees")


def test_the_signature_names_references_tokenizer_and_version() -> None:
    import sacrebleu

    one = text_scores.signature([["a"], ["b"]], "13a")
    assert f"BLEU nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}" in one
    assert "chrF2 nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no" in one and "rouge_score" in one
    assert "nrefs:var" in text_scores.signature([["a", "c"], ["b"]], "zh")


@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 3, 3), (2, 1, 2), (1, 4, 2)], ids=str)
def test_the_signature_is_that_of_scoring_the_whole_corpus(counts: tuple[int, ...]) -> None:
    references = [tuple(texts(count, seed)) for seed, count in enumerate(counts)]
    found = text_scores.signature(references, "intl")
    for name, metric in (("BLEU", BLEU(tokenize="intl")), ("chrF2", CHRF())):
        metric.corpus_score(texts(len(counts), 9), streams(references))
        assert f"{name} {metric.get_signature()}" in found
