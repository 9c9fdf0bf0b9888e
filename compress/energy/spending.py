"""What a piece of work costs, kept on disk while it runs: a killed run's seconds and joules are not forgotten.

A thread writes the totals every second beside the checkpoint: at most the last second of a killed attempt is missing.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.energy import FELL_BACK, Absent, Meter, MeterError, counted_j, read_uj
from compress.files import write_atomic

PERIOD_S = 1.0


@dataclass
class Spent:
    """Seconds and joules over all attempts; joules are None, with a reason, once any attempt could not be metered."""

    seconds: float = 0.0
    energy_j: float | None = 0.0
    reason: str | None = None
    interruptions: int = 0


def read(path: Path) -> Spent | None:
    """What earlier attempts left, or None."""
    try:
        return Spent(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def spending(meter: Meter | Absent, path: Path | None) -> Iterator[Spent]:
    """Meters the block; the yielded `Spent` is complete after it. `path` keeps totals between attempts."""
    before = read(path) if path is not None else None
    spent = Spent() if before is None else Spent(**{**asdict(before), "interruptions": before.interruptions + 1})
    base = Spent(**asdict(spent))
    start_s, start_uj = time.monotonic(), read_uj(meter)
    last_uj = start_uj
    fault: str | None = None
    stop = threading.Event()
    guard = threading.Lock()

    def update() -> None:
        nonlocal last_uj, fault
        with guard:
            lasted = time.monotonic() - start_s
            try:
                now_uj = None if isinstance(meter, Absent) else meter.read_uj()
            except MeterError as error:
                now_uj, fault = None, fault or str(error)
            if now_uj is not None and last_uj is not None and now_uj < last_uj:
                fault = fault or FELL_BACK  # for good: what is counted from then on says nothing of what was lost
            joules, reason = counted_j(meter, start_uj, now_uj, lasted)
            last_uj = now_uj
            spent.seconds = base.seconds + lasted
            spent.reason = base.reason or fault or reason
            spent.energy_j = None
            if spent.reason is None and base.energy_j is not None and joules is not None:
                spent.energy_j = base.energy_j + joules
            if path is not None:
                write_atomic(path, json.dumps(asdict(spent)).encode())

    def beat() -> None:
        while not stop.wait(PERIOD_S):
            update()

    thread = threading.Thread(target=beat, name="compress-spending", daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        stop.set()
        thread.join()
        update()
