"""Results of a map with planted ratios: what `compress map` leaves, without measuring."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compress.analysis.judging import judged
from compress.records.result import Result
from tests import factory

Planted = Mapping[tuple[int, int | None], float | None]
"""Batch size and length -> ratio of latency to the reference; None for a point that was not measured."""


def result(planted: Planted, name: str = "bert_int8", spread: float = 0.02, **fields: Any) -> Result:
    """A result with a point for every planted ratio, each plus and minus `spread` of it, and a headline."""
    phase = fields.pop("phase", None)
    unreliable = fields.pop("unreliable", ())
    new_tokens = 16 if phase == "decode" else None
    plain = factory.result(name, **fields)
    asked = [{"batch_size": b, "sequence_length": n, "phase": phase, "new_tokens": new_tokens} for b, n in planted]
    points = tuple(
        replace(
            factory.point(factory.ratio(latency=ratio, spread=spread), batch_size=b, headline=False),
            sequence_length=n,
            phase=phase,
            new_tokens=new_tokens,
            unreliable=("the board throttled",) if (b, n) in unreliable else (),
        )
        for (b, n), ratio in planted.items()
        if ratio is not None
    )
    workload = {**plain.workload, "mapped": asked}
    return judged(replace(plain, points=(*plain.points, *points), workload=workload))
