"""Greedy text against the reference's: how much changed, from where on, and whether it repeats itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis import costs
from compress.analysis.generation import compared, first_difference, generation, note, repetition
from compress.base.config import InputError
from compress.records import trace
from compress.records.session import JudgedBy, MeterFacts, Runner, Session
from compress.report.text import generation as shown

REFERENCE = ((1, 2, 3, 4, 5, 6), (7, 8, 9, 7, 8, 9), (1, 1, 2, 2, 3, 3), (4, 5, 6, 7, 8, 9))
OURS = ((1, 2, 3, 4, 5, 6), (7, 8, 0, 7, 8, 9), (1, 1, 2, 2, 3, 0), (4, 5, 6, 7, 8, 9))


def test_changed_texts_are_counted_with_the_place_of_their_first_change() -> None:
    figures = compared(OURS, REFERENCE, "fp32 eager")
    assert figures.changed is not None
    assert (figures.changed.value, figures.changed.n) == (0.5, 4)
    assert figures.changed.low == pytest.approx(0.150039, abs=1e-6)  # Wilson: (p + z²/2n ± z sqrt(...)) / (1 + z²/n)
    assert figures.changed.high == pytest.approx(0.849961, abs=1e-6)
    assert figures.first_changed == 4.5  # tokens 3 and 6
    assert first_difference((1, 2), (1, 2)) is None


def test_repetition_is_the_share_of_four_grams_that_occurred_before() -> None:
    assert repetition([(1, 2, 3, 4, 5, 6, 7, 8)]) == 0.0
    assert repetition([(5,) * 8]) == pytest.approx(4 / 5)  # five 4-grams, one of them distinct
    assert repetition([(1, 2, 1, 2, 1, 2, 1, 2), (1, 2, 3, 4, 5, 6, 7, 8)]) == pytest.approx((3 / 5 + 0) / 2)
    assert repetition([(1, 2)]) == 0.0


def test_text_that_loops_is_noted() -> None:
    looping = compared([(5,) * 8] * 4, [(1, 2, 3, 4, 5, 6, 7, 8)] * 4, "fp32 eager")
    assert note(looping) == [
        "its greedy text repeats itself: 80 % of 4-grams occurred before in the same continuation, 0 % in those of "
        "fp32 eager"
    ]
    assert note(compared(REFERENCE, REFERENCE, "fp32 eager")) == []
    assert note(None) == []


def test_words_give_the_share_its_interval_and_the_first_change() -> None:
    assert shown(compared(OURS, REFERENCE, "fp32 eager")) == (
        "50 % of 4 continuations of 6 tokens changed (15 to 85), first at token 4.5 (median)",
        "0 % of 4-grams repeated (0 % in those of fp32 eager)",
    )


def runner(name: str, texts: tuple[tuple[int, ...], ...]) -> Runner:
    return Runner(name, {"nll": [1.0], "tokens": [2.0]}, True, 1, "", None, (), continuations=texts)


def test_figures_come_from_the_trace(tmp_path: Path) -> None:
    judged = JudgedBy(("fp32 eager",), "fp32 eager", "perplexity", 0, "blocks of 8 tokens")
    runners = (runner("fp32 eager", REFERENCE), runner("own", OURS), runner("silent", ()))
    session = Session(runners=runners, meter=MeterFacts(absent="none"), judged_by=judged)
    trace.write(tmp_path / "trace", session)
    raw = costs.from_trace(trace.read(tmp_path / "trace"))
    assert raw.protocol == "blocks of 8 tokens"
    assert generation(raw, "own") == compared(OURS, REFERENCE, "fp32 eager")
    assert generation(raw, "silent") is None
    own = generation(raw, "fp32 eager")
    assert own is not None and own.changed is None and own.repetition == 0.0


def test_a_trace_of_texts_of_different_lengths_is_refused(tmp_path: Path) -> None:
    short = replace(runner("own", OURS), continuations=OURS[:2])
    session = Session(runners=(runner("fp32 eager", REFERENCE), short), meter=MeterFacts(absent="none"))
    trace.write(tmp_path / "trace", session)
    with pytest.raises(InputError, match="continuations are of different numbers of prompts or tokens"):
        trace.read(tmp_path / "trace")
