"""Rounds in which the processor was slower than in the others are left out, where enough others remain.

A host can move virtual processors to cores that share no cache, or to the two hardware threads of one core, and can run
another machine's load on the second thread of each. No counter of the guest shows it, and models lose differently by
it: small int8 models half of their speed, larger floating-point ones a fifth. So a fixed load is timed around every
window (`compress.measure.processor`). Which rounds are left out never depends on a latency.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from compress.records.session import RunnerPoint
from compress.records.window import Window
from compress.spec.measure import FEWEST_ROUNDS

SLOWER = 0.1
"""Share below the highest speed from which a window is disturbed, if readings are not noisy."""
NOISES = 6.0
"""The same in standard deviations of a reading: the highest of many is about two above the usual, and slow is four
below it."""
NORMAL = 1.05  # median difference of two normal readings -> their standard deviation
REACHED = FEWEST_ROUNDS
"""Windows that reached the highest speed: a single high reading is none."""
SHARE = 0.25
"""Least share of rounds at the highest speed for which the others are left out."""


LEFT_OUT = "rounds are left out:"
"""Words of a note on such rounds."""


@dataclass(frozen=True)
class FullSpeed:
    """The speed that the processor reached, and how far below it is slow."""

    highest: int
    """The highest speed that six windows reached, in operations per second."""
    slower: float
    """Share below it from which a window is slow."""

    def severity(self, window: Window) -> float | None:
        """Return how far a window is below the highest speed, in units of the limit; None if it reports no speed."""
        speed = window.disturbance.cpu_ops
        return None if speed is None else (1 - speed / self.highest) / self.slower

    def is_slow(self, window: Window) -> bool:
        """Return whether a window was slow."""
        severity = self.severity(window)
        return severity is None or severity > 1


def full_speed(windows: Iterable[Window]) -> FullSpeed | None:
    """Return the full speed of the processor in these windows; None if fewer than six report a speed.

    Readings are as noisy as two in a row differ: a state that lasts for several windows changes few of these
    differences, and their median not at all.
    """
    ordered = sorted(windows, key=lambda window: (window.started_ns, window.index))
    speeds = [window.disturbance.cpu_ops for window in ordered if window.disturbance.cpu_ops]
    if len(speeds) < REACHED:
        return None
    highest = sorted(speeds)[-REACHED]
    noise = NORMAL * median(abs(math.log(b / a)) for a, b in pairwise(speeds))
    return FullSpeed(highest, max(SLOWER, NOISES * noise))


def at_full_speed(used: Mapping[str, Sequence[Window]], windows: Iterable[Window]) -> tuple[frozenset[int], bool]:
    """Return the rounds to use, of runner -> one window per round: those whose windows all ran at full speed.

    All rounds, if fewer than six are, or than a quarter: that speed was then not the machine's usual one. And whether
    slow rounds are among the rounds to use. `windows` are all of the point, repeated ones too.
    """
    chosen = [window for group in used.values() for window in group]
    rounds = frozenset(window.index for window in chosen)
    full = full_speed(windows)
    if full is None:
        return rounds, False
    slow = {window.index for window in chosen if full.is_slow(window)}
    if len(rounds - slow) >= max(FEWEST_ROUNDS, SHARE * len(rounds)):
        return rounds - slow, False
    return rounds, bool(slow)


def slow_rounds(points: Sequence[RunnerPoint]) -> tuple[str, ...]:
    """Return a sentence on rounds of an operating point in which the processor was slower, if there are any.

    `points` are those of all runners that were measured at it.
    """
    used = [window for point in points for window in point.windows]
    full = full_speed([*used, *(window for point in points for window in point.unused)])
    if full is None:
        return ()
    kept = {window.index for window in used}
    left_out = _left_out(points)
    slower = f"the processor was over {100 * full.slower:.0f} % slower"
    why = "(its cores were shared or far apart, or its clock lower)"
    if left_out:
        return (f"{len(left_out)} of {len(left_out | kept)} {LEFT_OUT} {slower} in them {why}",)
    slow = {window.index for window in used if full.is_slow(window)}
    if not slow:
        return ()
    return (f"in {len(slow)} of {len(kept)} rounds {slower} than at its best {why}",)


def _left_out(points: Sequence[RunnerPoint]) -> set[int]:
    """Return the rounds of an operating point that figures leave out; round 0 is never used."""
    kept = {window.index for point in points for window in point.windows}
    return {window.index for point in points for window in point.unused} - kept - {0}


def unfounded(points: Sequence[RunnerPoint]) -> str | None:
    """Return a sentence on rounds that are left out, or used beside them, against the readings; None without any."""
    left_out, used = _left_out(points), [window for point in points for window in point.windows]
    unused = [window for point in points for window in point.unused]
    full = full_speed([*used, *unused])
    was_slow = {window.index for window in unused if full is not None and full.is_slow(window)}
    if wrong := sorted(left_out - was_slow):
        return f"left out are the rounds {_listed(wrong)}, in which the processor was not slow"
    is_slow = {window.index for window in used if full is not None and full.is_slow(window)}
    if left_out and is_slow:
        return f"other rounds are left out than {_listed(sorted(is_slow))}, in which the processor was slow too"
    return None


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
