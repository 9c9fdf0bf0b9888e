"""The physical limit of a point: the work of a batch, and how much of it the device does at most in a second.

    share of the limit = sum over resources (work / most per second) / latency of a batch

A resource is the memory, whose work is bytes to read, or a number format, whose work is operations (a multiplication
and an addition are two).
"""

import math
from dataclasses import dataclass, field

from compress.records.fields import Name, NonNegative, Positive
from compress.records.stats import Estimate

MEMORY = "memory"
"""The resource whose work is in bytes; all others are number formats, whose work is in operations."""


@dataclass(frozen=True)
class Limit:
    """Work of one batch by resource, with the device's most per second; or the reason why it is unknown."""

    work: dict[Name, NonNegative] = field(default_factory=dict)
    """Resource -> bytes or operations of one batch."""
    per_second: dict[Name, Positive] = field(default_factory=dict)
    """Resource -> most bytes or operations of the device in a second, measured by large reads and products."""
    in_cache: bool = False
    """Whether the bytes fit in a cache, whose bandwidth is meant then."""
    disturbed: bool = False
    """Whether other processes ran while the most per second was measured: it may be too low."""
    reason: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for work without a limit, and for neither work nor a reason."""
        if self.work.keys() != self.per_second.keys() or bool(self.work) == bool(self.reason):
            raise ValueError("expected the most per second of every resource, or a reason")

    @property
    def least_s(self) -> float | None:
        """The shortest time of a batch: its work at the limits, one after the other; None if unknown."""
        return sum(amount / self.per_second[name] for name, amount in self.work.items()) if self.work else None

    def share(self, latency_s: Estimate) -> Estimate | None:
        """Return the share of the limit that a latency reaches, from 0 to 1; None if the work is unknown."""
        least_s = self.least_s
        if least_s is None:
            return None
        high = least_s / latency_s.low if latency_s.low > 0 else math.inf
        return Estimate(least_s / latency_s.value, least_s / latency_s.high, high, latency_s.n)
