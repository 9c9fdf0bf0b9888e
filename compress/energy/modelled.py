"""No meter: CPU seconds of this process times watts per core. A model, not a measurement, and called one everywhere.

Watts are thermal design power over cores, from the table below where the processor is in it, else 7 W. Thermal design
power times utilisation is wrong by a factor of 2 to 3 either way, so the interval is that factor.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from compress.energy import cpu_model

UNCERTAINTY_FACTOR = 2.5
GENERIC_WATTS = 7.0  # a Xeon Platinum 8480+ has 6.3 W per core, an EPYC 7763 4.4 W, a desktop Ryzen 7700 8.1 W


@dataclass(frozen=True)
class Processor:
    """Thermal design power and cores of a processor, as its maker states them."""

    name: str
    watts: float
    cores: int
    source: str


AS_OF = "2026-11"
PROCESSORS: tuple[Processor, ...] = (
    Processor("EPYC 7742", 225, 64, "AMD product page EPYC 7742"),
    Processor("EPYC 7763", 280, 64, "AMD product page EPYC 7763"),
    Processor("EPYC 9654", 360, 96, "AMD product page EPYC 9654"),
    Processor("Ryzen 9 7950X", 170, 16, "AMD product page Ryzen 9 7950X"),
    Processor("Ryzen 7 7700", 65, 8, "AMD product page Ryzen 7 7700"),
    Processor("Ryzen 9 5950X", 105, 16, "AMD product page Ryzen 9 5950X"),
    Processor("Platinum 8280", 205, 28, "Intel ARK Xeon Platinum 8280"),
    Processor("Platinum 8380", 270, 40, "Intel ARK Xeon Platinum 8380"),
    Processor("Platinum 8480", 350, 56, "Intel ARK Xeon Platinum 8480+"),
    Processor("Platinum 8592", 350, 64, "Intel ARK Xeon Platinum 8592+"),
    Processor("i7-12700K", 125, 12, "Intel ARK Core i7-12700K, base power"),
    Processor("i9-13900K", 125, 24, "Intel ARK Core i9-13900K, base power"),
)


class CpuTime:
    """Joules modelled from this process's CPU time."""

    source: Literal["modelled"] = "modelled"
    measured = False
    step_s = None
    boundary = "this process's CPU time"

    def __init__(self, why: str, model: str | None = None):
        self.why = why
        """Why nothing is measured."""
        self.watts, self.basis = watts_per_core(model if model is not None else cpu_model())

    def read_uj(self) -> int:
        """CPU time of the process so far times watts per core."""
        return round(time.process_time_ns() * self.watts / 1000)

    def state(self) -> Mapping[str, int | None]:
        """Nothing: there is no device to ask."""
        return {}


def watts_per_core(model: str | None) -> tuple[float, str]:
    """Watts of a busy core of this processor, and where the figure is from."""
    for processor in PROCESSORS:
        if model is not None and processor.name.lower() in model.lower():
            watts = processor.watts / processor.cores
            return watts, f"{processor.watts:.0f} W over {processor.cores} cores ({processor.source}, {AS_OF})"
    return (
        GENERIC_WATTS,
        f"a generic {GENERIC_WATTS:g} W per busy core ({model or 'unknown processor'} is not in the table)",
    )
