"""The cells of a map: every planted point has its sign, corrected for all points and recipes."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats as scipy_stats

from compress.analysis.mapping import maps
from compress.records import files
from compress.records.result import Result
from compress.records.stats import Estimate
from tests import factory, mapped

NINE = {(b, n): 0.5 if b * n > 500 else 1.5 for b in (1, 8, 32) for n in (32, 128, 512)}


def with_p(p: float, n: int = 6) -> Estimate:
    """A ratio of 0.9 whose two-sided p-value against 1 is `p`, with its 95 % interval."""
    error = -math.log(0.9) / scipy_stats.t.ppf(1 - p / 2, n - 1)
    half = scipy_stats.t.ppf(0.975, n - 1) * error
    return Estimate(0.9, 0.9 * math.exp(-half), 0.9 * math.exp(half), n)


def planted_p(*values: float, name: str = "bert_int8") -> Result:
    """A map of one length whose points have these p-values."""
    made = mapped.result({(2**i, 64): 0.9 for i in range(len(values))}, name)
    points = [point for point in made.points if not point.headline]
    planted = tuple(
        replace(point, ratios=(replace(point.ratios[0], latency=with_p(p)),))
        for point, p in zip(points, values, strict=True)
    )
    return replace(made, points=planted)


def test_every_point_has_its_planted_sign_and_the_headline_is_no_part_of_the_map() -> None:
    (found,) = maps([mapped.result(NINE)])
    assert {cell.place: cell.word for cell in found.cells} == {
        place: "SAVES" if ratio < 1 else "COSTS MORE" for place, ratio in NINE.items()
    }
    assert found.batch_sizes == [1, 8, 32] and found.lengths == [32, 128, 512]
    assert found.comparisons == 9 and found.axes == ["latency"]
    assert [cell.place for cell in found.cells] == sorted(NINE)


def test_signs_follow_holm_over_all_points_of_all_recipes() -> None:
    values = {"one": (0.001, 0.03, 0.02), "two": (0.004, 0.9, 0.006)}
    found = maps([planted_p(*each, name=name) for name, each in values.items()])
    everything = sorted(p for each in values.values() for p in each)
    rejected: set[float] = set()
    for rank, p in enumerate(everything):  # Holm (1979), by hand
        if p > 0.05 / (6 - rank):
            break
        rejected.add(p)
    assert rejected == {0.001, 0.004, 0.006}
    for of, each in zip(found, values.values(), strict=True):
        assert of.comparisons == 6
        assert [cell.word for cell in of.cells] == ["SAVES" if p in rejected else "UNDECIDED" for p in each]


def test_intervals_are_those_of_bonferroni_for_the_number_of_points() -> None:
    (found,) = maps([planted_p(0.001, 0.02, 0.03, 0.5)])
    for cell, p in zip(found.cells, (0.001, 0.02, 0.03, 0.5), strict=True):
        error = -math.log(0.9) / scipy_stats.t.ppf(1 - p / 2, 5)
        half = scipy_stats.t.ppf(1 - 0.05 / 4 / 2, 5) * error
        assert cell.ratio is not None and cell.alone is not None
        assert cell.ratio.low == pytest.approx(0.9 * math.exp(-half))
        assert cell.ratio.high == pytest.approx(0.9 * math.exp(half))
        assert cell.alone == with_p(p)


def test_a_single_point_decides_alone_what_many_points_leave_open() -> None:
    assert maps([planted_p(0.03)])[0].cells[0].word == "SAVES"
    assert {cell.word for cell in maps([planted_p(0.03, 0.03, 0.03)])[0].cells} == {"UNDECIDED"}


def test_points_that_were_disturbed_or_not_measured_have_no_sign() -> None:
    planted = {(1, 32): 0.5, (1, 128): None, (8, 32): 0.5, (8, 128): 0.5}
    (found,) = maps([mapped.result(planted, unreliable=[(8, 32)])])
    words = {cell.place: cell.word for cell in found.cells}
    assert words == {(1, 32): "SAVES", (1, 128): "NOT MEASURED", (8, 32): "NOT RELIABLE", (8, 128): "SAVES"}
    assert found.comparisons == 3
    assert [cell.decided for cell in found.cells] == [True, False, False, True]


def test_a_broken_model_saves_nowhere() -> None:
    accuracy = factory.accuracy(0.52, -0.37, 0.02)
    (found,) = maps([mapped.result(NINE, accuracy=accuracy)])
    assert {cell.word for cell in found.cells} == {"BROKEN"}


def test_failed_recipes_and_ordinary_results_have_no_map() -> None:
    assert maps([factory.failed(), factory.result("bert_int8")]) == []


def test_pictures_have_one_column_and_phases_are_told_apart() -> None:
    (found,) = maps([mapped.result({(1, None): 0.5, (32, None): 2.0})])
    assert found.lengths == [None] and [cell.word for cell in found.cells] == ["SAVES", "COSTS MORE"]
    (decode,) = maps([mapped.result({(1, 64): 0.5}, phase="decode")])
    assert decode.phase == "decode" and decode.cells[0].word == "SAVES"


@pytest.mark.parametrize("asked", [[{"batch_size": 0}], [{"sequence_length": 8}], [{"batch_size": 1, "phase": "x"}]])
def test_a_file_with_other_points_of_a_map_is_refused(asked: object, tmp_path: Path) -> None:
    made = mapped.result({(1, 64): 0.5})
    path = tmp_path / "r.json"
    files.replace_file(path, made)
    assert files.read(path) == made
    files.replace_file(path, replace(made, workload={**made.workload, "mapped": asked}))
    with pytest.raises(ValueError, match=r"workload\.mapped\.0"):
        files.read(path)
