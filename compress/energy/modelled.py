"""Energy without a meter: CPU seconds of this process times watts per core. Always labelled as a model.

Watts per core are thermal design power over cores, from the table below; 7 W for a processor that is not listed.
Thermal design power times utilisation is wrong by a factor of 2 to 3 either way, so the interval is that factor.
"""

import re
import time
from dataclasses import dataclass

from compress.base.devices import cpu_model
from compress.energy.meters import Meter

GENERIC_WATTS = 7.0  # a Xeon Platinum 8480+ has 6.3 W per core, an EPYC 7763 4.4 W; desktop processors have more


@dataclass(frozen=True)
class Processor:
    """Thermal design power and core count of a processor, as its manufacturer states them."""

    name: str
    watts: float
    cores: int
    source: str


AS_OF = "2025"
AMD = "AMD's table of server processors, as CodeCarbon keeps it"
ARK = "Intel ARK, as CodeCarbon keeps it"
MILAN = "AMD's EPYC 7003 line-up as printed by Techgage, March 2021"
PROCESSORS: tuple[Processor, ...] = (
    Processor("EPYC 7763", 280, 64, MILAN),
    Processor("EPYC 9454", 290, 48, AMD),
    Processor("EPYC 9534", 280, 64, AMD),
    Processor("EPYC 9554", 360, 64, AMD),
    Processor("EPYC 9555", 360, 64, AMD),
    Processor("EPYC 9654", 360, 96, AMD),
    Processor("EPYC 9655", 400, 96, AMD),
    Processor("EPYC 9754", 360, 128, AMD),
    Processor("EPYC 9755", 500, 128, AMD),
    Processor("EPYC 9965", 500, 192, AMD),
    Processor("Gold 6430", 270, 32, ARK),
    Processor("Gold 6448Y", 225, 32, ARK),
    Processor("Platinum 8468", 350, 48, ARK),
    Processor("Platinum 8470", 350, 52, ARK),
    Processor("Platinum 8480+", 350, 56, ARK),
    Processor("Platinum 8490H", 350, 60, ARK),
    Processor("Platinum 8570", 350, 56, ARK),
    Processor("Platinum 8580", 350, 60, ARK),
    Processor("Platinum 8592+", 350, 64, ARK),
    Processor("6972P", 500, 96, ARK),
    Processor("6980P", 500, 128, ARK),
)


class CpuTime(Meter):
    """A meter that models joules from the CPU time of this process."""

    source = "modelled"
    measured = False
    why_modelled: str
    watts_per_core: float
    basis: str
    boundary = "this process's CPU time"

    def __init__(self, why: str, model: str | None = None):
        self.why_modelled = why
        self.watts_per_core, self.basis = watts_per_core(model if model is not None else cpu_model())

    def read_uj(self) -> int:
        """Return the CPU time of the process so far times watts per core, in microjoules."""
        return round(time.process_time_ns() * self.watts_per_core / 1000)


def watts_per_core(model: str | None) -> tuple[float, str]:
    """Return the watts of a busy core of this processor, and the origin of the figure."""
    for processor in PROCESSORS:
        if model is not None and re.search(re.escape(processor.name) + r"(?!\w)", model, re.IGNORECASE):
            watts = processor.watts / processor.cores
            return watts, f"{processor.watts:.0f} W over {processor.cores} cores ({processor.source}, {AS_OF})"
    return (
        GENERIC_WATTS,
        f"a generic {GENERIC_WATTS:g} W per busy core ({model or 'unknown processor'} is not in the table)",
    )
