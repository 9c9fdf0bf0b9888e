"""A reading of a meter: its counter, and the state of the device at that moment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from compress.records.fields import Whole

EnergySource = Literal["nvml", "rapl", "modelled", "external"]
Signal = Literal["power_mw", "sm_mhz", "memory_mhz", "temperature_c", "events", "outside_mw"]
"""What a sample may tell besides the counter."""
OUTSIDE: Final = "outside_mw"
"""Power by a meter outside of this machine, with what the device tells of itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a board, or of a meter outside of the machine. None: not read, or not told."""

    time_ns: Whole
    board: Whole | None = None
    """Number of the board; None without several boards."""
    counter_uj: Whole | None = None
    power_mw: Whole | None = None
    """Instant power."""
    sm_mhz: Whole | None = None
    memory_mhz: Whole | None = None
    temperature_c: Whole | None = None
    events: Whole | None = None
    """Bits of why the clocks are held back."""
    outside_mw: Whole | None = None
    """Power by a meter outside of this machine."""

    def value(self, signal: Signal) -> int | None:
        """Return the value of a signal."""
        value: int | None = getattr(self, signal)
        return value


COLUMNS = (
    ("board", "counter_uj"),
    ("power_mw", "sm_mhz", "memory_mhz", "temperature_c", "events"),
    (OUTSIDE,),
)
"""Fields that are written together, as soon as one of them was told."""


def sample_rows(samples: Sequence[Sample]) -> list[dict[str, int | None]]:
    """Return samples as plain rows of the same columns."""
    keys = ["time_ns"]
    for group in COLUMNS:
        keys += group if any(getattr(sample, key) is not None for sample in samples for key in group) else ()
    return [{key: getattr(sample, key) for key in keys} for sample in samples]


def samples_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Sample, ...]:
    """Return the samples of plain rows, whose further columns are passed over."""
    known = {field.name for field in fields(Sample)}
    return tuple(Sample(**{key: value for key, value in row.items() if key in known}) for row in rows)
