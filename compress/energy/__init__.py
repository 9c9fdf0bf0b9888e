"""Meters: a cumulative count of microjoules from one source, over one boundary, measured or modelled.

Unknown is an `Absent` with a reason; no meter ever answers 0 for "cannot tell".
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "meter":
        raise AttributeError(f"module 'compress.energy' has no attribute {name!r}")
    from compress.energy.block import meter

    return meter
