"""Meters: cumulative joules from one source, over one boundary, measured or modelled.

Unknown is an `Absent` with a reason; no meter ever answers 0 for "cannot tell".
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Source = Literal["nvml", "rapl", "modelled"]


class Meter(Protocol):
    """A cumulative count of joules; only differences of `read_j` mean anything."""

    @property
    def source(self) -> Source:
        """What counts."""

    @property
    def boundary(self) -> str:
        """What the joules cover: one GPU board, the CPU packages, this process's CPU time."""

    @property
    def measured(self) -> bool:
        """False for a model of a machine without a meter."""

    def read_j(self) -> float:
        """Joules so far. Raises MeterError when the device stops answering."""


@dataclass(frozen=True)
class Absent:
    """No energy figure can be had, and why."""

    reason: str


class MeterError(RuntimeError):
    """A meter stopped answering; the message is one sentence with what to do."""


def find_meter(device: str, uuid: str | None = None, name: str | None = None) -> Meter | Absent:
    """The best meter for a device (`cpu` or `cuda`): measured if there is one, modelled for a CPU without."""
    from compress.energy import modelled, nvml, rapl

    if device == "cuda":
        return nvml.find(uuid, name)
    found = rapl.find()
    if isinstance(found, Absent):
        return modelled.CpuTime(why=found.reason)
    return found
