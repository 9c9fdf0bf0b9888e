"""Grids of `compress map`: numbers from the command line, and the points of a workload that they become."""

from typing import Any

import pytest

from compress.base.config import InputError
from compress.data.grid import Grid
from compress.data.workload import Workload


def workload(task: str = "text-classification", **fields: Any) -> Workload:
    return Workload.model_validate({"name": "mine", "task": task, "model": "m", "dataset": {"path": "d"}, **fields})


def test_numbers_are_sorted_and_spaces_between_them_are_allowed() -> None:
    assert Grid.parse("8, 1,32", "512,32") == Grid((1, 8, 32), (32, 512))
    assert Grid.parse("1", None, "prefill") == Grid((1,), None, "prefill")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("0",), "--batch 0: 0 is not between 1 and 1,000,000"),
        (("1,8,8",), "--batch 1,8,8: 8 is there twice"),
        (("1,,8",), "--batch 1,,8: '' is not a whole number; expected such as 1,8,32"),
        (("-1",), "'-1' is not a whole number"),
        (("1.5",), "'1.5' is not a whole number"),
        (("٣",), "is not a whole number"),
        (("9" * 30,), "is not a whole number"),
        (("1", "x"), "--length x: 'x' is not a whole number; expected such as 32,128,512"),
        (("1", "2"), "--length 2: 2 is not between 4 and"),
        (("1", "32", "generate"), "--phase generate: expected decode or prefill"),
        ((",".join(map(str, range(1, 12))), ",".join(map(str, range(10, 20)))), "110 points; expected at most 100"),
    ],
)
def test_what_is_no_grid_is_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as refused:
        Grid.parse(*options)
    assert said in str(refused.value)


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(InputError) as refused:
        Grid.parse("0", "x", "y")
    assert len(refused.value.problems) == 3


def test_the_headline_stays_and_every_point_of_the_grid_follows_the_others() -> None:
    plain = workload(
        headline={"batch_size": 8, "sequence_length": 64}, points=[{"batch_size": 1, "sequence_length": 16}]
    )
    mapped = Grid((1, 8), (32, 64)).on(plain)
    shapes = [(p.batch_size, p.sequence_length, p.natural) for p in mapped.measured_points("headline")]
    assert shapes == [(8, 64, None), (8, None, "as_they_come"), (1, 32, None), (1, 64, None), (8, 32, None)]
    assert [(p.batch_size, p.sequence_length) for p in mapped.measured_points("all")][2] == (1, 16)


def test_without_lengths_the_headlines_is_taken() -> None:
    assert [p.sequence_length for p in Grid((1, 2)).on(workload()).mapped] == [64, 64]
    pictures = Grid((1, 32)).on(workload("image-classification")).mapped
    assert [(p.batch_size, p.sequence_length) for p in pictures] == [(1, None), (32, None)]


def test_a_map_may_be_longer_than_max_length_and_its_points_survive_the_job_file() -> None:
    mapped = Grid((1,), (512,)).on(workload(max_length=128))
    again = Workload.model_validate(mapped.model_dump(mode="json"))
    assert again == mapped and again.mapped[0].sequence_length == 512
    with pytest.raises(ValueError, match="sequence_length 512 is over max_length 128"):
        Workload.model_validate(
            {**mapped.model_dump(mode="json"), "points": [{"batch_size": 1, "sequence_length": 512}]}
        )
    assert "mapped" not in workload().model_dump(mode="json")  # an ordinary workload's digest is as before


def test_points_of_language_models_have_a_phase_and_the_headlines_number_of_tokens() -> None:
    plain = workload("causal-lm", headline={"phase": "decode", "batch_size": 1, "context": 32, "new_tokens": 4})
    decode, prefill = (Grid((1, 2), (32,), phase).on(plain) for phase in (None, "prefill"))  # type: ignore[arg-type]
    assert [(p.phase, p.batch_size, p.new_tokens) for p in decode.mapped] == [("decode", 1, 4), ("decode", 2, 4)]
    assert len(decode.measured_points("headline")) == 3  # the grid's first point is the headline
    assert [(p.phase, p.new_tokens) for p in prefill.mapped] == [("prefill", None)] * 2


@pytest.mark.parametrize(
    ("grid", "task", "said"),
    [
        (Grid((1,), (32,)), "image-classification", "--length: mine is of image-classification, whose inputs have no"),
        (Grid((1,), phase="decode"), "text-classification", "only language models .* have phases"),
        (Grid((1,), phase="prefill"), "image-classification", "--phase prefill"),
    ],
)
def test_what_a_task_does_not_have_is_refused(grid: Grid, task: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        grid.on(workload(task))
