"""Coverage of the intervals in thousands of simulated sessions; `make study` writes the table.

Each file holds functions that yield rows of the table; `__main__` lists them. The seed was chosen once and is fixed.
"""

import math
from dataclasses import dataclass
from typing import Literal

SEED = 20260501


@dataclass(frozen=True)
class Bound:
    """A property, its measured value and its bounds, as fractions or factors. Without bounds the value is stated."""

    what: str
    value: float
    low: float = 0.0
    high: float = math.inf
    unit: Literal["%", "times"] = "%"

    @property
    def kept(self) -> bool:
        """Whether the value lies within the bounds."""
        return self.low <= self.value <= self.high

    def row(self) -> str:
        """Return the line of the table."""
        bounds = [f"at least {self._text(self.low)}"] if self.low > 0 else []
        if self.high < (1 if self.unit == "%" else math.inf):
            bounds.append(f"at most {self._text(self.high)}")
        kept = "-" if not bounds else "yes" if self.kept else "NO"
        return f"| {self.what} | {', '.join(bounds) or 'stated'} | {self._text(self.value, 2)} | {kept} |"

    def _text(self, number: float, digits: int | None = None) -> str:
        scaled = 100 * number if self.unit == "%" else number
        return f"{scaled:g} {self.unit}" if digits is None else f"{scaled:.{digits}f} {self.unit}"
