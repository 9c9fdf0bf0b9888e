"""Energy meters: NVML and RAPL counters, a CPU-time model for machines without one, and their readers.

`with compress.energy.meter() as spent:` is public; `compress.energy.find.find_meter` picks a device's meter.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "meter":
        raise AttributeError(f"module 'compress.energy' has no attribute {name!r}")
    from compress.energy.block import meter

    return meter
