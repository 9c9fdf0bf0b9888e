"""Time and energy of a piece of work, stored on disk while it runs, so that a killed run's cost is not lost.

The file holds the meter's readings in whole microjoules, so that joules can be recomputed. A thread writes it every
second next to the checkpoint. A killed attempt loses at most its last second.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from compress.analysis.joules import FELL_BACK, MOVEMENTS
from compress.analysis.price import Span, Spent
from compress.base.files import write_atomic
from compress.energy.meters import Absent, Meter, MeterError, read_uj

PERIOD_S = 1.0
LOOK_S = 0.005  # polling interval while waiting for the counter's next movement


def begin(meter: Meter | Absent) -> Span:
    """Return a span that starts now."""
    if isinstance(meter, Absent):
        return Span(None, False, None, None, fault=meter.reason)
    return Span(meter.source, meter.measured, meter.step_s, read_uj(meter), meter.boundary, uuid=meter.uuid)


def end(span: Span, meter: Meter | Absent, seconds: float) -> Span:
    """Return the span, ended now after `seconds`."""
    return replace(span, end_uj=read_uj(meter), seconds=seconds)


def settle(span: Span, meter: Meter | Absent) -> Span:
    """Return the span, completed with the counter's next movement if it is too short for a reading of its joules.

    That movement, `later_uj`, gives the upper bound `at_most_j`.
    """
    step_s = span.step_s
    if isinstance(meter, Absent) or not span.measured or step_s is None or span.seconds >= MOVEMENTS * step_s:
        return span
    pause_s = step_s if meter.harmed_by_reading else LOOK_S
    deadline = time.monotonic() + 3 * step_s
    while True:
        is_last = time.monotonic() >= deadline  # checked before the reading: a thread that wakes late still reads once
        later = read_uj(meter)
        if later is None or span.end_uj is None or later < span.end_uj:
            return span
        if later > span.end_uj:
            return replace(span, later_uj=later)
        if is_last:
            return span
        time.sleep(pause_s)


def read(path: Path) -> Spent | None:
    """Return the stored attempts of earlier runs, or None."""
    try:
        return Spent(tuple(Span(**attempt) for attempt in json.loads(path.read_text())))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def spending(meter: Meter | Absent, path: Path | None) -> Iterator[Spent]:
    """Meter the block; the yielded `Spent` is complete after it. `path` stores readings between attempts."""
    before = read(path) if path is not None else None
    earlier = () if before is None else before.attempts
    start_s, running = time.monotonic(), begin(meter)
    last_uj = running.start_uj
    spent = Spent((*earlier, running))
    stop = threading.Event()
    lock = threading.Lock()

    def update() -> None:
        nonlocal running, last_uj
        with lock:
            now_uj, fault = None, running.fault
            try:
                now_uj = None if isinstance(meter, Absent) else meter.read_uj()
            except MeterError as error:
                fault = fault or str(error)
            if now_uj is not None and last_uj is not None and now_uj < last_uj:
                fault = fault or FELL_BACK  # permanent: later readings cannot recover the lost part
            last_uj = now_uj
            running = replace(running, end_uj=now_uj, seconds=time.monotonic() - start_s, fault=fault)
            spent.attempts = (*earlier, running)
            if path is not None:
                with suppress(OSError):  # the work itself reports a full disk; here only a killed run loses data
                    write_atomic(path, json.dumps([asdict(attempt) for attempt in spent.attempts]).encode())

    def beat() -> None:
        while not stop.wait(PERIOD_S):
            update()

    update()  # written at the start: a kill within the first second is an interruption too
    thread = threading.Thread(target=beat, name="compress-spending", daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        stop.set()
        thread.join()
        update()
        running = settle(running, meter)
        spent.attempts = (*earlier, running)
