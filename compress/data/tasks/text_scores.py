"""Counts of a generated text against its references, from which BLEU, chrF and ROUGE of any examples follow.

    "the red house"  against  "the house", "a red house"     ->    match_1 3, total_1 3, text_words 3 ...

BLEU's tokenization and counts are sacrebleu's (Post 2018, arXiv:1804.08771), ROUGE's F rouge_score's. chrF's counts,
which sacrebleu keeps to itself, are made by its definition.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import util
from typing import Any

from compress.analysis.metrics.generated import LETTERS, ORDERS, chrf_of
from compress.base.errors import InputError

PACKAGES = {"sacrebleu": "sacrebleu", "rouge_score": "rouge-score"}
ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
"""Outcome -> its name in rouge_score."""


def check_packages() -> None:
    """Raise InputError if a package of the metrics is not installed."""
    lacking = [name for module, name in PACKAGES.items() if util.find_spec(module) is None]
    if lacking:
        raise InputError(
            f"metrics of generated texts need {' and '.join(lacking)}; install: pip install 'compress[seq2seq]'"
        )


@lru_cache(maxsize=200_000)
def counts(text: str, references: tuple[str, ...], tokenizer: str) -> dict[str, float]:
    """Return the counts of a text against one or more references; `tokenizer` is sacrebleu's."""
    found = _bleu(tokenizer).sentence_score(text, list(references))
    named = {f"match_{n + 1}": found.counts[n] for n in range(ORDERS)}
    named |= {f"total_{n + 1}": found.totals[n] for n in range(ORDERS)}
    named |= {"text_words": found.sys_len, "reference_words": found.ref_len}
    letters = letter_counts(text, references)
    for name, values in zip(("letters", "reference_letters", "letter_match"), letters, strict=True):
        named |= {f"{name}_{n + 1}": value for n, value in enumerate(values)}
    scores = _rouge().score_multi(list(references), text)
    named |= {name: scores[key].fmeasure for name, key in ROUGE.items()}
    return {name: float(value) for name, value in named.items()}


def letter_counts(text: str, references: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Return n-grams of letters by order: of the text, of its best reference by chrF2, and those they share."""
    own, highest = _ngrams(text), -1.0
    best: tuple[list[int], list[int], list[int]] = [], [], []
    for reference in references:
        theirs = _ngrams(reference)
        shared = [sum((a & b).values()) for a, b in zip(own, theirs, strict=True)]
        expected = [each.total() for each in theirs]
        letters = [a.total() if b else 0 for a, b in zip(own, theirs, strict=True)]
        if (score := chrf_of(letters, expected, shared)) > highest:
            highest, best = score, (letters, expected, shared)
    return best


def _ngrams(text: str) -> list[Counter[str]]:
    """Return the n-grams of letters of a text without its white space, by order."""
    line = "".join(text.split())
    return [Counter(line[i : i + n] for i in range(len(line) - n + 1)) for n in range(1, LETTERS + 1)]


def has_rouge_words(text: str) -> bool:
    """Return whether rouge_score finds a word in a text: it knows letters from a to z, and digits."""
    return any(letter.isascii() and letter.isalnum() for letter in text.lower())


def signature(references: Sequence[Sequence[str]], tokenizer: str) -> str:
    """Return sacrebleu's signatures of BLEU and chrF for these references, and the version of rouge_score."""
    from importlib.metadata import version

    from sacrebleu.metrics import BLEU, CHRF

    counts_seen = sorted({len(each) for each in references})  # which a signature names: one row of each count will do
    streams = [["a" if n < count else None for count in counts_seen] for n in range(counts_seen[-1])]
    found = []
    for name, metric in (("BLEU", BLEU(tokenize=tokenizer)), ("chrF2", CHRF())):
        metric.corpus_score(["a"] * len(counts_seen), streams)
        found.append(f"{name} {metric.get_signature()}")
    return f"sacrebleu: {'; '.join(found)}; rouge_score {version('rouge-score')} without stemming"


@cache
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=tokenizer, effective_order=True)  # it only counts here: sentences need no warning


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE.values()), use_stemmer=False)
