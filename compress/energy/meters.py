"""TODO docstring."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from compress.data.place import Source


class Meter(Protocol):
    """A cumulative count of microjoules; only differences of `read_uj` mean anything."""

    @property
    def source(self) -> Source:
        """What counts."""

    @property
    def boundary(self) -> str:
        """What the joules cover: one GPU board, the CPU packages, this process's CPU time."""

    @property
    def measured(self) -> bool:
        """False for a model of a machine without a meter."""

    @property
    def step_s(self) -> float | None:
        """Seconds between two movements of the count, at most; None where it moves finely enough to be read at once."""

    def read_uj(self) -> int:
        """Microjoules so far. Raises MeterError when the device stops answering."""

    def state(self) -> Mapping[str, int | None]:
        """What else the device tells of itself now: power_mw, clocks, temperature; unknown is None."""


@dataclass(frozen=True)
class Absent:
    """No energy figure can be had, and why."""

    reason: str


class MeterError(RuntimeError):
    """A meter stopped answering; the message is one sentence with what to do."""


@dataclass(frozen=True)
class Gpu:
    """What CUDA says of a GPU: its meter is found by UUID or PCI address; name and memory must then be the same."""

    uuid: str | None
    pci: str | None = None
    """Domain, bus and device in hexadecimal: 00000000:3B:00.0"""
    name: str | None = None
    memory_bytes: int | None = None


def gpus_of(details: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """The GPUs in a machine's details."""
    keys = ("uuid", "pci", "name", "memory_bytes")
    return tuple(Gpu(*(gpu.get(key) for key in keys)) for gpu in details.get("gpus", ()))


def read_uj(meter: Meter | Absent) -> int | None:
    """The count, or None where there is no meter or it stopped answering: what else is measured is still good."""
    try:
        return None if isinstance(meter, Absent) else meter.read_uj()
    except MeterError:
        return None
