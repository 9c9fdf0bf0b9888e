"""What compressing changed, what it cost, and when it has paid back."""

from dataclasses import dataclass, field
from typing import Literal

from compress.records.fields import Count, Quantity
from compress.records.rules import Inferences

BY_DESIGN = ("embeddings", "head", "norms and biases")
"""Kinds of weights that steps leave unless asked for them."""


@dataclass(frozen=True)
class Shares:
    """Of the parameters that a model had before a step, tied ones once: what the step changed, and what it left."""

    changed: Quantity
    left: dict[str, Quantity] = field(default_factory=dict)
    """Kind of weights -> share. Kinds are those of `BY_DESIGN`, linear layers, convolutions, and classes of modules."""

    @property
    def missed(self) -> float:
        """The share that was left and not by design, of all parameters but those left by design."""
        designed = sum(share for kind, share in self.left.items() if kind in BY_DESIGN)
        return (1 - self.changed - designed) / (1 - designed) if designed < 1 else 0.0

    def __str__(self) -> str:
        """As a person reads it: 93 % of the parameters; left: embeddings 5 %, head 2 %."""
        ordered = sorted(self.left.items(), key=lambda item: -item[1])
        left = ", ".join(f"{kind} {_percent(share)}" for kind, share in ordered)
        return f"{_percent(self.changed)} of the parameters" + (f"; left: {left}" if left else "")


def _percent(share: float) -> str:
    """Two digits of a share, such as 93 %, 2.1 % or 0.04 %; neither all nor nothing is said of less."""
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f} %"
    if percent >= 99.5:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


@dataclass(frozen=True)
class StepCost:
    """What one step cost the user, as metered around it."""

    method: str
    seconds: Quantity
    energy_j: Quantity | None
    changed_layers: Count
    note: str = ""
    shares: Shares | None = None
    """None where they are not known: in results of versions that did not count, and of a step on an exported graph."""


@dataclass(frozen=True)
class Transform:
    """What compressing cost, interrupted attempts included."""

    seconds: Quantity
    energy_j: Quantity | None
    energy_source: str | None
    energy_reason: str | None
    interruptions: Count
    steps: tuple[StepCost, ...]
    energy_boundary: str | None = None
    energy_error: Quantity = 0.0
    """How far the counter's movements at the edges may have shifted the joules, relative."""
    energy_at_most_j: Quantity | None = None
    """Bound of joules that are not known because the work was short."""


@dataclass(frozen=True)
class BreakEven:
    """Inferences after which compressing has paid back, or at the latest (`at_most`), or None and why."""

    inferences: Inferences | None
    unit: Literal["joules", "seconds"] | None
    point: str
    reason: str | None
    at_most: Quantity | None = None
    """Where only a bound of what compressing cost is known."""
