"""Natural points in table, CSV, page, charts, card, text and trackers, beside the headline and never in its place."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis.judging import judged
from compress.analysis.pareto import Table, group
from compress.records import files as result_files
from compress.records.limit import Limit
from compress.records.result import Result
from compress.report.card import card
from compress.report.charts import Source, points
from compress.report.describe import describe
from compress.report.heading import heading
from compress.report.page.axes import axes, cell
from compress.report.page.cards import card as page_card
from compress.report.page.figures import Row
from compress.report.page.samples import Traces
from compress.report.sheet import csv_text
from compress.report.table import rows
from compress.report.trackers.facts import facts
from tests import factory

WORDS = "batch 8, own lengths"


@pytest.fixture
def result() -> Result:
    """Half the joules and seconds of fp32 eager at the headline, and 0.7 and 0.6 of them on own texts."""
    made = factory.result(energy_source="nvml")
    (reference,) = made.references
    own = factory.natural(reference.points[0], 1.0, 1.0, answer_j=0.2)
    reference = replace(reference, points=(*reference.points, replace(own, ratios=())))
    own = replace(factory.natural(made.points[0], 0.7, 0.6, answer_j=0.1), energy_j=factory.near(0.09))
    own = replace(own, rounds=tuple(replace(r, duration_s=1.28 * r.duration_s) for r in own.rounds))
    return judged(replace(made, points=(*made.points, own), references=(reference,)))


@pytest.fixture
def table(result: Result) -> Table:
    (made,) = group([result])
    return made


def test_the_table_shows_the_ratio_and_the_costs_of_an_example_on_own_texts(table: Table) -> None:
    ours, reference = rows(table)
    assert ours.cells["own texts"] == ("0.600", "(0.588 to 0.612)", "4.00 ms, 90.0 mJ each")
    assert reference.cells["own texts"] == ("1", "4.00 ms, 125 mJ each")
    assert ours.cells["energy / ref"][0] == "0.500"  # of the headline
    assert ours.cells["energy / correct"][0] == "101 mJ"  # 90 mJ / 0.89


def test_a_table_without_own_texts_has_no_column_of_them_and_no_cost_of_an_answer() -> None:
    (packed,) = group([factory.result(energy_source="nvml")])
    assert "own texts" not in rows(packed)[0].cells
    assert rows(packed)[0].cells["energy / correct"] == ("—",)


def test_the_heading_names_both_points(table: Table) -> None:
    (line,) = (line for line in heading(table) if line.startswith("Headline point"))
    assert line.startswith("Headline point: batch 8 x length 64;")
    assert line.endswith(f"are for the test split's own texts ({WORDS}, 25.2 tokens on average)")


def test_csv_has_costs_per_answer_in_the_line_of_own_texts_only(table: Table) -> None:
    headline, own, *_ = csv.DictReader(csv_text([table]).splitlines())
    assert (headline["natural"], headline["energy_per_correct_answer_j"]) == ("", "")
    assert (own["natural"], own["tokens_per_example"], own["sequence_length_tokens"]) == ("as_they_come", "25.2", "")
    assert float(own["energy_per_correct_answer_j"]) == pytest.approx(0.09 / 0.89)
    assert float(own["latency_per_correct_answer_s"]) == pytest.approx(0.004 / 0.89)
    assert float(own["latency_per_example_s"]) == pytest.approx(0.004)
    assert float(headline["latency_per_example_s"]) == pytest.approx(0.025 / 8)
    assert float(own["energy_per_example_j"]) == pytest.approx(0.09)
    assert "on the test split's own texts: 0.600 times the energy" in headline["verdict_sentence"]


def test_an_image_model_keeps_the_headlines_cost_of_an_answer() -> None:
    made = factory.result(energy_source="nvml")
    image = replace(made, points=(replace(made.points[0], sequence_length=None),))
    line = next(csv.DictReader(csv_text(group([image])).splitlines()))
    assert float(line["energy_per_correct_answer_j"]) == pytest.approx(0.025 * 2.5 / 0.89)


def test_the_page_draws_figures_of_own_texts(table: Table, result: Result) -> None:
    by_key = {axis.key: axis for axis in axes(table)}
    shown = {
        key: cell(by_key[key], Row(table, result, result.headline, None))
        for key in ("own_ratio", "own_latency", "own_energy", "correct", "answer", "energy_ratio")
    }
    values = {key: figure[2] for key, figure in shown.items() if isinstance(figure, list)}
    assert values == pytest.approx(
        {"own_ratio": 0.6, "own_latency": 4.0, "own_energy": 90.0, "correct": 101.124, "answer": 4.49438,
         "energy_ratio": 0.5}, rel=1e-5,
    )  # fmt: skip
    packed = replace(result, points=result.points[:1])
    assert cell(by_key["correct"], Row(table, packed, packed.headline, None)) == (
        "the test split's own texts were not measured"
    )
    rows_ = page_card(result, table, Traces(None))["points"]
    assert [(row[0], row[1], row[7]) for row in rows_] == [(8, 64, ""), (8, None, "own lengths")]


def test_the_chart_of_points_has_a_column_for_own_lengths(result: Result, tmp_path: Path) -> None:
    path = result_files.write(tmp_path, result)
    (axis,) = points.draw([Source(path, result_files.read(path))]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["own lengths", "64"]


def test_text_and_card_state_costs_of_own_texts(result: Result) -> None:
    lines = list(describe(result))
    assert f"{WORDS}:" in lines
    assert "  8 batches of the test split's own texts, 25.2 tokens on average" in lines
    assert "  latency per example: 4.00 ms (3.92 to 4.08)" in lines
    assert "  energy per correct answer: 100 mJ (98.0 to 102)" in lines
    assert (
        f"On the test split's own texts ({WORDS}, 25.2 tokens on average): 4.00 ms (3.92 to 4.08) and "
        "90.0 mJ (88.2 to 91.8) per example, 4.50 ms (4.41 to 4.59) and 100 mJ (98.0 to 102) per correct answer."
    ) in card(result, plain=True)


def test_a_tracker_names_the_point(result: Result, tmp_path: Path) -> None:
    metrics = facts(result_files.write(tmp_path, result)).metrics
    assert metrics["energy_per_example_j"] == pytest.approx(0.0625)
    assert metrics["batch8_as_they_come/energy_per_example_j"] == pytest.approx(0.09)


def test_a_result_file_with_a_natural_point_is_read_back(result: Result, tmp_path: Path) -> None:
    assert result_files.read(result_files.write(tmp_path, result)) == result


@pytest.fixture
def shared(result: Result) -> Result:
    """All texts have the headline's length: the natural point has its windows, rounds and limit."""
    headline = replace(result.points[0], limit=Limit({"float32": 2e8}, {"float32": 1e11}))
    own = replace(result.points[1], rounds=headline.rounds, limit=headline.limit)
    return replace(result, points=(headline, own))


def test_own_texts_in_the_windows_of_the_headline_are_not_printed_twice(shared: Result) -> None:
    lines = list(describe(shared))
    at = lines.index(f"{WORDS}: as batch 8 x length 64 (the same windows, because all texts have 64 tokens)")
    assert lines[at + 1].startswith("  latency per example: 4.00 ms")
    assert sum("computes" in line for line in lines) == sum("throughput" in line for line in lines) == 1
    assert card(shared, plain=True).count("A pass computes 0.2 billion operations a batch") == 1


def test_a_card_has_notes_on_the_measurement_with_the_measurements(result: Result) -> None:
    noted = replace(result, notes=("quantize: auto picked int8", "other processes kept 1.6 cores busy"))
    compression, measurements = card(noted, plain=True).partition("## Measurements")[::2]
    assert "- quantize: auto picked int8" in compression and "cores busy" not in compression
    assert "- other processes kept 1.6 cores busy" in measurements.partition("## Loading")[0]
