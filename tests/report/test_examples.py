"""What costs and break-even are counted in: inferences, and of language models tokens, prompts or requests."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compress.analysis.gains import two_meters
from compress.analysis.judging import judged
from compress.analysis.pareto import group
from compress.records.phase import EXAMPLES, Phase
from compress.records.result import Point, Reference, Result, Transform
from compress.report import html, table, text
from compress.report.card import card
from compress.report.describe import describe
from compress.report.page import axes, cards, headline
from compress.report.page.samples import Traces
from compress.report.sheet import csv_text
from tests import factory


def of(phase: Phase | None, cost: float = 0.5, **fields: Any) -> Result:
    """A metered result whose headline has this phase, also in its reference."""
    plain = factory.result(cost=cost, energy_source="nvml", **fields)

    def phased(point: Point) -> Point:
        new = {"decode": 16, "generate": 16}.get(phase or "")
        generated = {"decode": 1, "generate": 16}.get(phase or "")
        return replace(point, phase=phase, new_tokens=new, generated_tokens=generated, energy_boundary="board")

    def changed(row: Any) -> Any:
        return replace(row, points=tuple(map(phased, row.points)))

    references: tuple[Reference, ...] = tuple(map(changed, plain.references))
    assert plain.transform is not None
    transform = replace(plain.transform, energy_boundary="board")
    return judged(replace(changed(plain), references=references, transform=transform))


NAMES: dict[Phase | None, str] = {None: "inference", **EXAMPLES}


@pytest.mark.parametrize("phase", NAMES)
def test_an_example_has_one_name_in_every_place(phase: Phase | None) -> None:
    made, name = of(phase), NAMES[phase]
    (rows,) = group([made])
    assert made.breakeven is not None and made.breakeven.inferences is not None
    places: dict[str, Callable[[], str]] = {
        "show": lambda: "\n".join(describe(made)),
        "table": lambda: table.labels(rows)["energy"],
        "page's axes": lambda: " ".join(axis.label for axis in axes.axes(rows)),
        "card": lambda: card(made, plain=True),
        "notebook": lambda: html.result_html(made),
    }
    for place, words in places.items():
        assert f"per {name}" in words(), place
    counted = {
        "page's headline": headline.headline(rows)[0],
        "page's card": cards.card(made, rows, Traces(None))["even"]["text"],
        "page's axes": " ".join(axis.label for axis in axes.axes(rows)),
    }
    for place, words_ in counted.items():
        assert f"{name}s" in words_, place
        assert name == "inference" or "inference" not in words_, place


def test_break_even_of_a_language_model_counts_tokens_by_the_saving_of_a_token() -> None:
    """300 J of compressing over the joules saved by a token, by hand."""
    made = of("decode")
    even = made.breakeven
    assert even is not None and even.inferences is not None
    ours, theirs = made.points[0], made.references[0].points[0]
    saved = [
        (b.energy_j or 0) / (b.batches * theirs.batch_size) - (a.energy_j or 0) / (a.batches * ours.batch_size)
        for a, b in zip(ours.rounds, theirs.rounds, strict=True)
    ]
    assert even.inferences.value == pytest.approx(300 / (sum(saved) / len(saved)))
    assert f"{text.count(even.inferences.value)} generated tokens by energy" in text.breakeven_words(
        even, text.example_of(made)
    )


def test_older_decode_points_whose_batches_hold_several_tokens_count_inferences() -> None:
    point = replace(factory.point(), phase="decode", generated_tokens=4)
    assert point.example == "inference"
    assert replace(point, generated_tokens=1).example == "generated token"


def test_two_meters_are_noted_with_the_name_of_an_example() -> None:
    transform = Transform(1.0, 300.0, "nvml", None, 0, ())
    assert "compressing and generated tokens" in (two_meters(transform, None, "generated token") or "")
    assert "compressing and inferences" in (two_meters(transform, None) or "")


def test_the_csv_names_what_a_line_counts() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(group([of("decode")])))))
    assert {line["example"] for line in lines} == {"generated token"}
