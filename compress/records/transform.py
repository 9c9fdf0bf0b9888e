"""Changes by compressing, its cost, and its break-even point."""

from dataclasses import dataclass, field
from typing import Literal

from compress.records.fields import Count, Quantity
from compress.records.rules import Inferences

BY_DESIGN = ("embeddings", "head", "norms and biases")
"""Kinds of weights that steps leave unchanged by default."""


@dataclass(frozen=True)
class Shares:
    """Shares of a model's parameters before a step (tied ones counted once) that the step changed and left."""

    changed: Quantity
    left: dict[str, Quantity] = field(default_factory=dict)
    """Kind of weights -> share. Kinds are those of `BY_DESIGN`, linear layers, convolutions, and classes of modules."""

    @property
    def missed(self) -> float:
        """Share left unintentionally, of all parameters except those left by design."""
        designed = sum(share for kind, share in self.left.items() if kind in BY_DESIGN)
        return (1 - self.changed - designed) / (1 - designed) if designed < 1 else 0.0

    def __str__(self) -> str:
        """Return text such as `93 % of the parameters; unchanged: embeddings 5 %, head 2 %`."""
        ordered = sorted(self.left.items(), key=lambda item: -item[1])
        left = ", ".join(f"{kind} {_percent(share)}" for kind, share in ordered)
        return f"{_percent(self.changed)} of the parameters" + (f"; unchanged: {left}" if left else "")


def _percent(share: float) -> str:
    """Return a share with two digits: 93 %, 2.1 % or 0.04 %; only exact 0 and 1 become 0 % and 100 %."""
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f} %"
    if percent >= 99.5:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


@dataclass(frozen=True)
class StepCost:
    """Metered cost of one step."""

    method: str
    seconds: Quantity
    energy_j: Quantity | None
    changed_layers: Count
    note: str = ""
    shares: Shares | None = None
    """None if unknown: in results of older versions, and for a step on an exported graph."""


@dataclass(frozen=True)
class Transform:
    """Cost of compressing, interrupted attempts included."""

    seconds: Quantity
    energy_j: Quantity | None
    energy_source: str | None
    energy_reason: str | None
    interruptions: Count
    steps: tuple[StepCost, ...]
    energy_boundary: str | None = None
    energy_error: Quantity = 0.0
    """Relative error of the joules from the counter's updates at the edges."""
    energy_at_most_j: Quantity | None = None
    """Upper bound of the joules if the work was too short to measure them."""
    energy_uuid: str | None = None
    """Identity of the meter: UUIDs of its boards in order, or the machine's id for RAPL. None if unknown or several."""


@dataclass(frozen=True)
class BreakEven:
    """Inferences until compressing breaks even; an upper bound (`at_most`), or None with a reason."""

    inferences: Inferences | None
    unit: Literal["joules", "seconds"] | None
    point: str
    reason: str | None
    at_most: Quantity | None = None
    """Upper bound of the inferences, if only a bound of the cost is known."""
    session_spread: Quantity | None = None
    """Spread between the sessions of compressing and inferring that the interval includes."""
    note: str | None = None
    """What the interval includes besides the spread over rounds, if two meters measured."""
