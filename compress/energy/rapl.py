"""RAPL: the CPU packages' and memory's energy counters, through Linux powercap, in microjoules.

Domains nest (psys > package > core, uncore); only packages and their dram are summed, and of the two interfaces to one
package (intel-rapl and intel-rapl-mmio) only the first. Counters wrap at `max_energy_range_uj`, which every read
accounts for; read at least once per wrap (about 20 minutes at 200 W).
"""

import threading
import time
from pathlib import Path

from compress.analysis.joules import FELL_BACK
from compress.base.device import CPU
from compress.energy.meters import Absent, Meter, MeterError
from compress.records.machine import describe

ROOT = Path("/sys/class/powercap")
MOST_W = 5_000  # upper bound for one domain; a wrap that implies more power means that the counter was reset
GRANT = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


class Rapl(Meter):
    """The summed energy counters of all CPU packages and their DRAM."""

    source = "rapl"  # updated every millisecond: an edge error of 0.1 % in a window of 1 s
    boundary = "CPU packages and memory"

    def __init__(self, domains: tuple[Path, ...]):
        self.uuid = describe(CPU).id
        self._domains = domains
        self._wraps = {d: int((d / "max_energy_range_uj").read_text()) for d in domains}
        self._last = {d: _energy_uj(d) for d in domains}
        self._total_uj = 0
        self._read_s = time.monotonic()
        self._reading = threading.Lock()  # readings out of order would look like a wrap

    def read_uj(self) -> int:
        """Return the microjoules since this meter was created. Thread-safe."""
        with self._reading:
            elapsed_s = time.monotonic() - self._read_s
            for domain in self._domains:
                now_uj = _energy_uj(domain)
                step_uj = now_uj - self._last[domain]
                if step_uj < 0:
                    step_uj += self._wraps[domain]
                    if step_uj > 1e6 * MOST_W * max(elapsed_s, 1.0):
                        raise MeterError(f"{domain}/energy_uj: {FELL_BACK}; measure again")
                self._total_uj += step_uj
                self._last[domain] = now_uj
            self._read_s += elapsed_s
            return self._total_uj


def _energy_uj(domain: Path) -> int:
    try:
        return int((domain / "energy_uj").read_text())
    except OSError as error:
        raise MeterError(f"{domain}/energy_uj: {error.strerror}") from None


def find(root: Path = ROOT) -> Rapl | Absent:
    """Return the meter of the CPU packages, or the reason for its absence."""
    domains = []
    for zone in sorted(root.glob("intel-rapl:*")):
        name = zone / "name"
        label = name.read_text().strip() if name.is_file() else ""
        if label.startswith("package") or label == "dram":
            domains.append(zone)
    if not domains:
        return Absent("no RAPL counters here (usual in virtual machines)")
    try:
        return Rapl(tuple(domains))
    except (MeterError, OSError):
        return Absent(f"RAPL counters are readable by root only; grant it with: {GRANT}")
