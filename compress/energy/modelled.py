"""No meter: CPU seconds of this process times a generic wattage. A model, not a measurement, and called one everywhere.

350 W of thermal design power over the 56 cores of a Xeon Platinum 8480+ is 6.3 W per core, 280 W over the 64 of an
EPYC 7763 is 4.4 W, 65 W over the 8 of a desktop Ryzen 7700 is 8.1 W: 7 W per busy core, uncertain by a factor of 2.5
either way.
"""

import time
from typing import Literal

WATTS_PER_BUSY_CORE = 7.0
UNCERTAINTY_FACTOR = 2.5


class CpuTime:
    """Joules modelled from this process's CPU time."""

    source: Literal["modelled"] = "modelled"
    measured = False
    boundary = "this process's CPU time"

    def __init__(self, why: str):
        self.why = why
        """Why nothing is measured."""

    def read_j(self) -> float:
        """CPU seconds of the process so far times 7 W."""
        return time.process_time() * WATTS_PER_BUSY_CORE
