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

from compress.energy import Absent, Meter, MeterError
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
    if isinstance(meter, Absent):
        spent.energy_j, spent.reason = None, meter.reason
    start_s = time.monotonic()
    start_uj = 0 if isinstance(meter, Absent) else meter.read_uj()
    stop = threading.Event()
    guard = threading.Lock()

    def update() -> None:
        with guard:
            spent.seconds = base.seconds + time.monotonic() - start_s
            if not isinstance(meter, Absent) and base.energy_j is not None and spent.reason is None:
                try:
                    spent.energy_j = base.energy_j + (meter.read_uj() - start_uj) / 1e6
                except MeterError as error:
                    spent.energy_j, spent.reason = None, str(error)
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
