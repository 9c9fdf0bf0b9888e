"""Ratios as factors, and the bars of a metric: values computed by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest

from compress.analysis.pareto import Table, group
from compress.records.stats import Estimate
from compress.report.factors import ENERGY, SIZE, SPEED, Words, factor
from compress.report.page.axes import axes, cell
from compress.report.page.figures import Row
from tests import factory


@pytest.mark.parametrize(
    ("ratio", "words", "text"),
    [
        ((0.451, 0.442, 0.46), SPEED, ("2.2x faster", "(2.17 to 2.26)")),
        ((1.16, 1.14, 1.18), SPEED, ("1.16x slower", "(1.14 to 1.18)")),
        ((0.98, 0.95, 1.02), ENERGY, ("1.02x less", "(0.980 to 1.05)")),
        ((1.02, 0.98, 1.05), ENERGY, ("1.02x more", "(0.980 to 1.05)")),
        ((0.08, 0.0, 0.1), SPEED, ("12x faster", "(no interval)")),
        ((0.25, 0.25, 0.25), SIZE, ("4.0x smaller",)),
        ((1.0, 1.0, 1.0), SPEED, ("1x",)),
        ((1.0008, 1.0008, 1.0008), SIZE, ("1x",)),
    ],
    ids=["faster", "slower", "less", "more", "no interval", "exact", "reference", "rounded"],
)
def test_a_ratio_is_the_number_of_times_that_a_row_is_better_or_worse(
    ratio: tuple[float, float, float], words: Words, text: tuple[str, ...]
) -> None:
    assert factor(Estimate(*ratio, 5), words) == text


def shown(table: Table, key: str, place: int = 0) -> Any:
    row = table.rows[place]
    return cell(next(axis for axis in axes(table) if axis.key == key), Row(table, row, row.headline, None))


def test_a_chart_draws_a_factor_whose_larger_value_is_the_better_one() -> None:
    (table,) = group([factory.result("a", 1.25, stored_bytes=181_600_000)])
    assert shown(table, "latency_factor")[:2] == ["1.25x slower", "(1.23 to 1.27)"]
    assert shown(table, "latency_factor")[2:] == pytest.approx([0.8, 1 / 1.275, 1 / 1.225, 5], rel=1e-5)
    assert shown(table, "latency_ratio")[:3] == ["1.25", "(1.23 to 1.27)", 1.25]
    assert shown(table, "size_factor") == ["2.0x larger", "", 0.5, 0.5, 0.5, None]
    assert shown(table, "latency_factor", 1)[:3] == ["1x", "", 1.0]
    assert "not measured" in shown(table, "energy_factor")


def test_every_ratio_has_a_factor_of_the_same_reason_or_value() -> None:
    (table,) = group([factory.result("a", 0.5, energy_source="nvml")])
    by_view: dict[str, set[str]] = {"factor": set(), "ratio": set(), "": set()}
    for axis in axes(table):
        by_view[axis.view].add(axis.key.removesuffix(f"_{axis.view}"))
    assert by_view["factor"] == by_view["ratio"]
    assert {"latency", "energy", "net", "alone", "size", "memory", "own"} == by_view["factor"]
    for key in by_view["factor"]:
        times, ratio = shown(table, f"{key}_factor"), shown(table, f"{key}_ratio")
        assert times == ratio if isinstance(ratio, str) else times[2] == pytest.approx(1 / ratio[2], rel=1e-5)


def test_bars_of_accuracy_are_those_of_the_paired_difference() -> None:
    (table,) = group([factory.result("a", 0.5, -0.03, half=0.01)])
    figure = shown(table, "metric")
    assert figure[:2] == ["0.8600", "(0.840 to 0.880)"]  # of the accuracy itself
    assert figure[2:5] == pytest.approx([0.86, 0.85, 0.87])
    assert shown(table, "metric", 1)[2:5] == [0.89, 0.89, 0.89]  # the reference


def test_bars_of_perplexity_are_relative_to_the_references_value() -> None:
    worse = factory.accuracy(12.3, 0.025, half=0.01, metric="perplexity")
    reference = factory.reference(accuracy=replace(factory.accuracy(12.0, metric="perplexity"), delta=None))
    (table,) = group([factory.result("a", 0.5, accuracy=worse, references=(reference,))])
    assert shown(table, "metric")[2:5] == pytest.approx([12.3, 12.0 * 1.015, 12.0 * 1.035])


def test_a_metric_without_a_difference_keeps_its_own_bars() -> None:
    (table,) = group([factory.result("a", 0.5, accuracy=factory.accuracy(0.8, None))])
    assert shown(table, "metric")[2:5] == pytest.approx([0.8, 0.78, 0.82])
    (wide,) = group([factory.result("a", 0.5, accuracy=factory.accuracy(0.8, 0.0, math.inf))])
    assert shown(wide, "metric")[2:5] == [0.8, None, None]
