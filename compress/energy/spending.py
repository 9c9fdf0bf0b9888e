"""What a piece of work costs, kept on disk while it runs: a killed run's seconds and joules are not forgotten.

Kept are the meter's readings, in whole microjoules, so that joules can be computed from them again. A thread writes
them every second beside the checkpoint: at most the last second of a killed attempt is missing.
"""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compress.energy import FELL_BACK, MOVEMENTS, Absent, Meter, MeterError, Source, counted_j, read_uj
from compress.files import write_atomic
from compress.result import Shares, StepCost, Transform

PERIOD_S = 1.0
LOOK_S = 0.005  # between two looks at the counter whose next movement is waited for


@dataclass(frozen=True)
class Span:
    """One attempt at a piece of work: how long, what the meter read at both ends, and what kept it from counting."""

    source: Source | None
    measured: bool
    step_s: float | None
    start_uj: int | None
    boundary: str | None = None
    end_uj: int | None = None
    seconds: float = 0.0
    fault: str | None = None
    later_uj: int | None = None
    """Read once the counter had moved again: all that the work used has been counted then, and what idled beside it."""

    @property
    def at_most_j(self) -> float | None:
        """What it used at most, of work that is too short for its joules to be told; None where that is not known."""
        known = self.fault is None and self.start_uj is not None and self.later_uj is not None
        return (self.later_uj - self.start_uj) / 1e6 if known else None  # type: ignore[operator]

    @property
    def joules(self) -> tuple[float | None, str | None]:
        """What was counted, or None and why not."""
        if self.fault is not None:
            return None, self.fault
        return counted_j(self.start_uj, self.end_uj, self.seconds, self.step_s, self.measured)


def begin(meter: Meter | Absent) -> Span:
    """A span that starts now."""
    if isinstance(meter, Absent):
        return Span(None, False, None, None, fault=meter.reason)
    return Span(meter.source, meter.measured, meter.step_s, read_uj(meter), meter.boundary)


def end(span: Span, meter: Meter | Absent, seconds: float) -> Span:
    """The same span, ended now after so many seconds."""
    return replace(span, end_uj=read_uj(meter), seconds=seconds)


def settle(span: Span, meter: Meter | Absent) -> Span:
    """The same span; one too short for its joules to be told waits for the counter's next movement, for `at_most_j`."""
    step_s = span.step_s
    if isinstance(meter, Absent) or not span.measured or step_s is None or span.seconds >= MOVEMENTS * step_s:
        return span
    pause_s = step_s if getattr(meter, "harmed_by_reading", False) else LOOK_S
    deadline = time.monotonic() + 3 * step_s
    while True:
        over = time.monotonic() >= deadline  # taken before the reading: a thread that wakes late still reads once
        later = read_uj(meter)
        if later is None or span.end_uj is None or later < span.end_uj:
            return span
        if later > span.end_uj:
            return replace(span, later_uj=later)
        if over:
            return span
        time.sleep(pause_s)


@dataclass
class Spent:
    """All attempts at a piece of work, the last one still running inside its `with` block."""

    attempts: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """Of all attempts."""
        return math.fsum(attempt.seconds for attempt in self.attempts)

    @property
    def energy_j(self) -> float | None:
        """Of all attempts; None once any could not be metered, or two were by different sources."""
        return _summed(self.attempts)[0]

    @property
    def at_most_j(self) -> float | None:
        """What all attempts used at most, where some were too short for their joules to be told."""
        most = [a.joules[0] if a.joules[0] is not None else a.at_most_j for a in self.attempts]
        alike = len({(a.source, a.boundary) for a in self.attempts}) == 1
        known = [joules for joules in most if joules is not None]
        return math.fsum(known) if alike and len(known) == len(most) else None

    @property
    def error(self) -> float:
        """How far the edges of the attempts may have shifted the joules, relative: a movement of the counter each."""
        total = self.energy_j
        shifted = ((a.joules[0] or 0.0) * (a.step_s or 0.0) / a.seconds for a in self.attempts if a.seconds)
        return math.fsum(shifted) / total if total else 0.0

    @property
    def reason(self) -> str | None:
        """Why joules are None."""
        return _summed(self.attempts)[1]


def _summed(attempts: Sequence[Span]) -> tuple[float | None, str | None]:
    counted = [attempt.joules for attempt in attempts]
    reason = next((why for _, why in counted if why is not None), None)
    sources = list(dict.fromkeys(f"{attempt.source} ({attempt.boundary})" for attempt in attempts))
    if reason is None and len(sources) > 1:
        reason = f"interrupted attempts were metered by {' and '.join(sources)}, whose joules do not add up"
    return (None, reason) if reason is not None else (math.fsum(joules or 0.0 for joules, _ in counted), None)


def transform(raw: Mapping[str, Any]) -> Transform:
    """What compressing cost, from what `recorded` kept."""
    spent = Spent(tuple(Span(**attempt) for attempt in raw["attempts"]))
    steps = []
    for step in raw["steps"]:
        span = Span(**step["span"])
        joules, reason = span.joules
        shares = Shares(**step["shares"]) if step.get("shares") else None  # older artifacts have none
        steps.append(StepCost(step["method"], span.seconds, joules, step["changed_layers"], reason or "", shares))
    return Transform(
        seconds=spent.seconds,
        energy_j=spent.energy_j,
        energy_source=spent.attempts[-1].source,
        energy_boundary=spent.attempts[-1].boundary,
        energy_error=spent.error,
        energy_reason=spent.reason,
        energy_at_most_j=spent.at_most_j if spent.energy_j is None else None,
        interruptions=len(spent.attempts) - 1,
        steps=tuple(steps),
    )


def recorded(spent: Spent, steps: Sequence[tuple[str, int, Shares | None, Span]]) -> dict[str, Any]:
    """Plain values of all readings: of every attempt, and of the last one's steps.

    A step is its method, the number of changed layers, the shares of parameters, and its span.
    """
    return {
        "attempts": [asdict(attempt) for attempt in spent.attempts],
        "steps": [
            {"method": method, "changed_layers": n, "shares": asdict(shares) if shares else None, "span": asdict(span)}
            for method, n, shares, span in steps
        ],
    }


def read(path: Path) -> Spent | None:
    """What earlier attempts left, or None."""
    try:
        return Spent(tuple(Span(**attempt) for attempt in json.loads(path.read_text())))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def spending(meter: Meter | Absent, path: Path | None) -> Iterator[Spent]:
    """Meters the block; the yielded `Spent` is complete after it. `path` keeps readings between attempts."""
    before = read(path) if path is not None else None
    earlier = () if before is None else before.attempts
    start_s, running = time.monotonic(), begin(meter)
    last_uj = running.start_uj
    spent = Spent((*earlier, running))
    stop = threading.Event()
    guard = threading.Lock()

    def update() -> None:
        nonlocal running, last_uj
        with guard:
            now_uj, fault = None, running.fault
            try:
                now_uj = None if isinstance(meter, Absent) else meter.read_uj()
            except MeterError as error:
                fault = fault or str(error)
            if now_uj is not None and last_uj is not None and now_uj < last_uj:
                fault = fault or FELL_BACK  # for good: what is counted from then on says nothing of what was lost
            last_uj = now_uj
            running = replace(running, end_uj=now_uj, seconds=time.monotonic() - start_s, fault=fault)
            spent.attempts = (*earlier, running)
            if path is not None:
                with suppress(OSError):  # of a full disk the work itself tells; this only means less after a kill
                    write_atomic(path, json.dumps([asdict(attempt) for attempt in spent.attempts]).encode())

    def beat() -> None:
        while not stop.wait(PERIOD_S):
            update()

    update()  # on record from its start: a kill within the first second is an interruption too
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
