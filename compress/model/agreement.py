"""Agreement of two sets of logits that should be equal, such as those of a model and of its exported graph."""

from dataclasses import dataclass, replace

import torch

TOLERANCES: dict[torch.dtype, float] = {torch.float32: 1e-3, torch.float16: 2e-2}
"""Largest difference of logits over their spread, per precision; fp16 has 11 bits, and each layer rounds again."""
ROUNDING = 1e-2
"""Part of the tolerance that is relative to the largest logit, for models whose logits hardly differ."""


@dataclass(frozen=True)
class Agreement:
    """Largest difference between two sets of logits, and their range."""

    difference: float
    """The largest difference; infinite if only one of the two is finite."""
    lowest: float
    highest: float

    @property
    def spread(self) -> float:
        """Highest minus lowest expected logit."""
        return self.highest - self.lowest

    def most(self, tolerance: float) -> float:
        """Return the largest difference that is allowed."""
        return tolerance * max(self.spread, ROUNDING * max(abs(self.lowest), abs(self.highest)))

    def joined(self, expected: torch.Tensor, logits: torch.Tensor) -> "Agreement":
        """Return the agreement including one more batch: the logits to expect, and those to compare."""
        finite = torch.isfinite(expected)
        if expected.shape != logits.shape or not torch.equal(finite, torch.isfinite(logits)):
            return replace(self, difference=float("inf"))
        if not finite.any():
            return self
        finite_logits = expected[finite]
        return Agreement(
            max(self.difference, float((logits[finite] - finite_logits).abs().max())),
            min(self.lowest, float(finite_logits.min())),
            max(self.highest, float(finite_logits.max())),
        )


NONE = Agreement(0.0, float("inf"), float("-inf"))
"""The agreement before the first batch."""
