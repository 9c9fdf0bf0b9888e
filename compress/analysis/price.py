"""The cost of compressing: seconds and joules of all attempts, from the readings of a meter."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.analysis.joules import counted_j
from compress.records.compressing import Compressing
from compress.records.result import Shares, StepCost, Transform
from compress.records.sample import EnergySource


@dataclass(frozen=True)
class Span:
    """One attempt at a piece of work: its duration, the meter's readings at both ends, and any fault of the meter."""

    source: EnergySource | None
    measured: bool
    step_s: float | None
    start_uj: int | None
    boundary: str | None = None
    end_uj: int | None = None
    seconds: float = 0.0
    fault: str | None = None
    later_uj: int | None = None
    """Reading after the counter moved again: it includes all energy of the work, and idle energy since its end."""
    uuid: str | None = None
    """Identity of the meter; None in older artifacts, and without a meter that measures."""

    @property
    def at_most_j(self) -> float | None:
        """An upper bound in joules, for work too short to meter more precisely; None if unknown."""
        known = self.fault is None and self.start_uj is not None and self.later_uj is not None
        return (self.later_uj - self.start_uj) / 1e6 if known else None  # type: ignore[operator]

    @property
    def joules(self) -> tuple[float | None, str | None]:
        """The counted joules, or None and the reason."""
        if self.fault is not None:
            return None, self.fault
        return counted_j(self.start_uj, self.end_uj, self.seconds, self.step_s, self.measured)


@dataclass
class Spent:
    """All attempts at a piece of work, the last one still running inside its `with` block."""

    attempts: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """Seconds of all attempts."""
        return math.fsum(attempt.seconds for attempt in self.attempts)

    @property
    def energy_j(self) -> float | None:
        """Joules of all attempts; None if any could not be metered, or if two were metered by different sources."""
        return _summed(self.attempts)[0]

    @property
    def at_most_j(self) -> float | None:
        """An upper bound of all attempts in joules, if some were too short to meter more precisely."""
        bounds = [a.joules[0] if a.joules[0] is not None else a.at_most_j for a in self.attempts]
        same_meter = len({(a.source, a.boundary) for a in self.attempts}) == 1
        known = [joules for joules in bounds if joules is not None]
        return math.fsum(known) if same_meter and len(known) == len(bounds) else None

    @property
    def error(self) -> float:
        """Relative error of the joules from the edges of the attempts: one movement of the counter each."""
        total = self.energy_j
        shifted = ((a.joules[0] or 0.0) * (a.step_s or 0.0) / a.seconds for a in self.attempts if a.seconds)
        return math.fsum(shifted) / total if total else 0.0

    @property
    def uuid(self) -> str | None:
        """Identity of the meter; None if unknown, or if the attempts were metered by different boards or machines."""
        known = {attempt.uuid for attempt in self.attempts}
        return known.pop() if len(known) == 1 else None

    @property
    def reason(self) -> str | None:
        """Why the joules are None."""
        return _summed(self.attempts)[1]


def _summed(attempts: Sequence[Span]) -> tuple[float | None, str | None]:
    """Return the joules of all attempts, or None and the reason."""
    readings = [attempt.joules for attempt in attempts]
    reason = next((why for _, why in readings if why is not None), None)
    sources = list(dict.fromkeys(f"{attempt.source} ({attempt.boundary})" for attempt in attempts))
    if reason is None and len(sources) > 1:
        reason = f"interrupted attempts were metered by {' and '.join(sources)}, whose joules do not add up"
    return (None, reason) if reason is not None else (math.fsum(joules or 0.0 for joules, _ in readings), None)


def transform(raw: Compressing) -> Transform:
    """Return the cost of compressing from the readings that `recorded` stored."""
    spent = Spent(tuple(Span(**attempt) for attempt in raw["attempts"]))
    steps = []
    for step in raw["steps"]:
        span = Span(**step["span"])
        joules, reason = span.joules
        shares = Shares(**step["shares"]) if step.get("shares") else None  # older artifacts have none
        steps.append(StepCost(step["method"], span.seconds, joules, step["changed_layers"], reason or "", shares))
    return Transform(
        seconds=spent.seconds,
        energy_j=spent.energy_j,
        energy_source=spent.attempts[-1].source,
        energy_boundary=spent.attempts[-1].boundary,
        energy_uuid=spent.uuid,
        energy_error=spent.error,
        energy_reason=spent.reason,
        energy_at_most_j=spent.at_most_j if spent.energy_j is None else None,
        interruptions=len(spent.attempts) - 1,
        steps=tuple(steps),
    )


def recorded(spent: Spent, steps: Sequence[tuple[str, int, Shares | None, Span]]) -> dict[str, Any]:
    """Return plain values of all readings: of every attempt, and of the steps of the last attempt.

    A step is its method, the number of changed layers, the shares of parameters, and its span.
    """
    return {
        "attempts": [asdict(attempt) for attempt in spent.attempts],
        "steps": [
            {"method": method, "changed_layers": n, "shares": asdict(shares) if shares else None, "span": asdict(span)}
            for method, n, shares, span in steps
        ],
    }
