"""The interface of a meter: a cumulative count of microjoules from one source, over one boundary.

An unknown count is an `Absent` with a reason. No meter answers 0 for "unknown".
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.records.sample import EnergySource


class Meter(ABC):
    """A cumulative count of microjoules; only differences of `read_uj` have a meaning."""

    source: EnergySource
    """What counts."""
    boundary: str
    """What the joules cover: one GPU board, the CPU packages, the CPU time of this process."""
    uuid: str | None = None
    """Identity of what counts: UUIDs of the boards in order, or the machine's id; None for a model."""
    measured: bool = True
    """False for a model of a machine without a meter."""
    step_s: float | None = None
    """Longest time between two updates of the counter; None if it updates too often to matter."""
    harmed_by_reading: bool = False
    """Whether frequent reading may change the count."""
    integrated: bool = False
    """Whether the count is integrated power, so that integrated power cannot check it."""
    examined: str | None = None
    """When `doctor` examined the meter; None if it did not."""
    like_another: bool = False
    """Whether the settings are those of another board of the same name."""
    misread: float | None = None
    """Largest relative error that `doctor` found for loads whose period beats with the counter's; None if unknown."""
    why_modelled: str | None = None
    """Why nothing is measured; None if something is."""
    watts_per_core: float | None = None
    """Of a model: watts of a busy core."""
    basis: str | None = None
    """Of a model: the origin of the watts."""

    @abstractmethod
    def read_uj(self) -> int:
        """Return the microjoules so far. Raises MeterError if the device stops answering."""

    def state(self) -> Mapping[str, int | None]:
        """Return power_mw, clocks, temperature and events of the device now; an unknown value is None."""
        return {}

    def processes(self) -> tuple[int, ...] | None:
        """Return the ids of the processes on the device; None if the device does not list them."""
        return None

    @property
    def boards(self) -> "tuple[Meter, ...]":
        """The meters to sample one by one: several boards update at different times."""
        return (self,)


@dataclass(frozen=True)
class Absent:
    """No energy can be measured or modelled, and why."""

    reason: str


class MeterError(RuntimeError):
    """A meter stopped answering; the message is one sentence with what to do."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA identifies it. Its meter is found by UUID or PCI address; name and memory must agree."""

    uuid: str | None
    pci: str | None = None
    """Domain, bus and device in hexadecimal: 00000000:3B:00.0"""
    name: str | None = None
    memory_bytes: int | None = None


def gpus_of(details: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """Return the GPUs listed in a machine's details."""
    keys = ("uuid", "pci", "name", "memory_bytes")
    return tuple(Gpu(*(gpu.get(key) for key in keys)) for gpu in details.get("gpus", ()))


def read_uj(meter: Meter | Absent) -> int | None:
    """Return the count; None without a meter or if it stopped answering, so that other figures survive."""
    try:
        return None if isinstance(meter, Absent) else meter.read_uj()
    except MeterError:
        return None
