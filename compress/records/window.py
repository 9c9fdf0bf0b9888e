"""One window of one runner: its batches, the readings at both edges, and the disturbances in between."""

from dataclasses import dataclass
from typing import Literal

Unused = Literal["first round", "disturbed"]
"""Why no figure uses a window: it warmed up the rounds, or it or its round was disturbed."""


@dataclass(frozen=True)
class Disturbance:
    """What else happened during a window. None: not read, or not reported by the system."""

    stolen_ns: int | None = None
    """CPU time that the host of a virtual machine took away (steal time)."""
    foreign_ns: int | None = None
    """CPU time of other processes."""
    switches: int | None = None
    """Involuntary context switches of this process."""
    cpu_khz: int | None = None
    """Mean CPU frequency at the end of the window."""
    cpu_ops: int | None = None
    """Operations per second of a short fixed load on all threads, the lower figure of both edges; CPU sessions only."""
    device_mhz: int | None = None
    """Mean clock of the GPU."""
    device_processes: int | None = None
    """Other processes on the GPU."""
    device_events: int | None = None
    """Bit mask of the reasons for reduced GPU clocks."""


@dataclass(frozen=True)
class Window:
    """One window of one runner. Counts are None without a meter, or if the counter moves in steps."""

    started_ns: int
    ended_ns: int
    batch_ns: tuple[int, ...]
    cpu_ns: int
    start_uj: int | None
    end_uj: int | None
    index: int = 0
    """Index of its round. A first round that no figure uses has index 0."""
    order: int = 0
    """Position in that round."""
    attempt: int = 0
    """0 for the first window of a runner in its round, 1 for its first repeat."""
    disturbance: Disturbance = Disturbance()

    @property
    def duration_ns(self) -> int:
        """Nanoseconds from the start of the first batch to the end of the last."""
        return self.ended_ns - self.started_ns

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return self.duration_ns / 1e9

    @property
    def batch_s(self) -> float:
        """Mean seconds per batch."""
        return self.duration_s / len(self.batch_ns)
