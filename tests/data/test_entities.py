"""Entities are seqeval's, also of tags that no scheme allows."""

import random

import pytest
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from compress.data.tasks.entities import counts, entities, unlike_entities

IOB = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
IOB1 = ("O", "I-PER", "I-LOC", "B-LOC")
IOBES = (*IOB, "E-PER", "S-PER", "E-LOC", "S-LOC")
ODD = ("O", "B", "I", "B-a-b", "I-a-b", "I-b")


def drawn(names: tuple[str, ...], sentences: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [draw.choices(names, k=draw.randrange(1, 15)) for _ in range(sentences)]


def as_seqeval(gold: list[list[str]], predicted: list[list[str]]) -> float:
    return float(f1_score(gold, predicted, zero_division=0))


@pytest.mark.parametrize("names", [IOB, IOB1, IOBES, ODD], ids=["IOB2", "IOB1", "IOBES", "odd kinds"])
def test_entities_of_random_tags_are_those_of_seqeval(names: tuple[str, ...]) -> None:
    for sentence in drawn(names, 500, seed=1):
        assert entities(sentence) == get_entities(sentence), sentence


@pytest.mark.parametrize("names", [IOB, IOB1, IOBES], ids=["IOB2", "IOB1", "IOBES"])
def test_summed_counts_give_the_f1_of_seqeval(names: tuple[str, ...]) -> None:
    for seed in range(20):
        gold = drawn(names, 12, seed)
        draw = random.Random(seed)
        predicted = [[tag if draw.random() < 0.8 else draw.choice(names) for tag in tags] for tags in gold]
        tp, found, there = (sum(each) for each in zip(*map(counts, gold, predicted), strict=True))
        assert 2 * tp / (found + there) == pytest.approx(as_seqeval(gold, predicted), abs=1e-12)


def test_tags_of_other_schemes_are_no_entities() -> None:
    assert unlike_entities([*IOBES, "B", "I"]) == []
    assert unlike_entities(["O", "NOUN", "U-PER", "L-PER", "Brand", "LABEL_0", ""]) == [
        "NOUN", "U-PER", "L-PER", "Brand", "LABEL_0", "",
    ]  # fmt: skip
