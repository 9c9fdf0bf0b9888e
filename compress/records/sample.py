"""Samples of a meter: its counter, and the state of the device at the same time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from compress.records.fields import Whole

EnergySource = Literal["nvml", "rapl", "modelled", "external"]
Signal = Literal["power_mw", "sm_mhz", "memory_mhz", "temperature_c", "events", "outside_mw"]
"""Values of a sample other than the counter."""
OUTSIDE: Final = "outside_mw"
"""Signal of an external meter, sampled along with the device's own signals."""
PAUSE_NS = 10_000_000_000
"""A longer pause between samples lies between two sessions."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a board or of an external meter. None: not read, or not reported."""

    time_ns: Whole
    board: Whole | None = None
    """Number of the board; None if there is only one."""
    counter_uj: Whole | None = None
    power_mw: Whole | None = None
    """Instant power."""
    sm_mhz: Whole | None = None
    memory_mhz: Whole | None = None
    temperature_c: Whole | None = None
    events: Whole | None = None
    """Bit mask of the reasons for reduced clocks."""
    outside_mw: Whole | None = None
    """Power reading of an external meter."""

    def value(self, signal: Signal) -> int | None:
        """Return the value of a signal."""
        value: int | None = getattr(self, signal)
        return value


COLUMNS = (
    ("board", "counter_uj"),
    ("power_mw", "sm_mhz", "memory_mhz", "temperature_c", "events"),
    (OUTSIDE,),
)
"""Groups of fields; a group is written if any of its fields has a value."""


def sample_rows(samples: Sequence[Sample]) -> list[dict[str, int | None]]:
    """Return samples as plain rows with the same columns."""
    keys = ["time_ns"]
    for group in COLUMNS:
        keys += group if any(getattr(sample, key) is not None for sample in samples for key in group) else ()
    return [{key: getattr(sample, key) for key in keys} for sample in samples]


def samples_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Sample, ...]:
    """Return the samples of plain rows; other columns are ignored."""
    names = {field.name for field in fields(Sample)}
    return tuple(Sample(**{key: value for key, value in row.items() if key in names}) for row in rows)
