"""Meters: a cumulative count of microjoules from one source, over one boundary, measured or modelled.

Unknown is an `Absent` with a reason; no meter ever answers 0 for "cannot tell".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

FELL_BACK = "the counter fell back (a driver reload?)"
MOVEMENTS = 20  # of a counter, that a piece of work lasts at least for its joules to be told
Source = Literal["nvml", "rapl", "modelled", "external"]


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


def find_meter(device: str, gpus: Sequence[Gpu] = ()) -> Meter | Absent:
    """The best meter for `cpu`, or for `cuda` with these GPUs: measured if there is one, modelled for a CPU without.

    Joules of several GPUs are summed.
    """
    from compress.energy import modelled, nvml, rapl
    from compress.energy.several import together

    if device == "cuda":
        return together([nvml.find(gpu) for gpu in gpus])
    found = rapl.find()
    if isinstance(found, Absent):
        return modelled.CpuTime(why=found.reason)
    return found


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


def counted_j(
    start_uj: int | None, end_uj: int | None, seconds: float, step_s: float | None, measured: bool
) -> tuple[float | None, str | None]:
    """Joules between two readings that lie anywhere between the counter's movements; or None, and why not.

    `step_s` and `measured` are the meter's. At each edge up to a movement is missed or counted too much: of 20
    movements, 5 % in all on average.
    """
    if start_uj is None or end_uj is None:
        return None, "the meter stopped answering"
    if end_uj < start_uj:
        return None, FELL_BACK
    if step_s is not None and seconds < MOVEMENTS * step_s:
        return None, f"{seconds:.2g} s are under {MOVEMENTS} movements of the counter ({MOVEMENTS * step_s:.2g} s)"
    if measured and end_uj == start_uj:
        return None, "the energy counter stood still"
    return (end_uj - start_uj) / 1e6, None


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str | None:
    """The processor's name as Linux gives it, or None."""
    if not info.is_file():
        return None
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def __getattr__(name: str) -> Any:
    if name != "meter":
        raise AttributeError(f"module 'compress.energy' has no attribute {name!r}")
    from compress.energy.block import meter

    return meter
