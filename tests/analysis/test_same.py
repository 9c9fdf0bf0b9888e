"""A recipe that is the verdict's reference itself has a note that its ratio shows the session's error."""

from dataclasses import replace
from typing import Any

import pytest

from compress.analysis.pareto import group
from compress.analysis.same import same_as_reference
from compress.records.result import Result
from compress.report.describe import describe
from compress.report.notes import footnotes
from compress.report.page.data import page_data
from tests import factory

CAST: dict[str, Any] = {"method": "cast", "dtype": "bf16"}


def made(steps: list[dict[str, Any]], reference: str = factory.BF16, **recipe: Any) -> Result:
    result = factory.result("bert_bf16", 1.05, references=(factory.reference(reference),))
    return replace(result, recipe={"name": "bert_bf16", "steps": steps, **recipe})


def test_the_reference_itself_has_a_note_everywhere() -> None:
    note = "bert_bf16 is the reference bf16 eager itself: its ratio shows this session's error"
    result = made([CAST], attention="auto", padding="dynamic", kv_cache="auto")
    (table,) = group([result])
    assert f"{note}." in footnotes(table)
    assert f"note: {note}" in list(describe(result))
    (card,) = page_data([table], None)["cards"].values()
    assert note in card["notes"]


def test_a_model_without_steps_is_the_reference_in_fp32() -> None:
    assert same_as_reference(made([], factory.FP32)) == factory.FP32
    assert same_as_reference(made([], factory.BF16)) is None


@pytest.mark.parametrize(
    "other",
    [
        made([{**CAST, "dtype": "fp16"}]),
        made([CAST, {"method": "quantize", "bits": 8}]),
        made([CAST], attention="eager"),
        made([CAST], kv_cache="int8"),
        made([CAST], padding="fixed"),
        replace(made([CAST]), runtime="compile"),
        replace(made([CAST]), references=()),
        factory.failed("bert_bf16"),
    ],
    ids=["dtype", "quantized", "attention", "cache", "padding", "runtime", "no reference", "failed"],
)
def test_any_difference_to_the_reference_leaves_the_note_out(other: Result) -> None:
    assert same_as_reference(other) is None
