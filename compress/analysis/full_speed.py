"""Rounds in which the processor was slower than in the others are left out, where enough others remain.

A host can move virtual processors to cores that share no cache, or to the two hardware threads of one core, and can run
another machine's load on the second thread of each. No counter of the guest shows it, and models lose differently by
it: small int8 models half of their speed, larger floating-point ones a fifth. So a fixed load is timed around every
window (`compress.measure.processor`). Which rounds are left out never depends on a latency.
"""

from collections.abc import Mapping, Sequence

from compress.records.session import RunnerPoint
from compress.records.window import Window
from compress.spec.measure import FEWEST_ROUNDS

SLOWER = 0.1
"""Share below the highest speed from which a window is disturbed."""
REACHED = FEWEST_ROUNDS
"""Windows that reached the highest speed: a single high reading is none."""
SHARE = 0.25
"""Least share of rounds at the highest speed for which the others are left out."""


def highest(windows: Sequence[Window]) -> int | None:
    """Return the highest speed that six windows reached, in operations per second; None if fewer report one."""
    speeds = sorted((w.disturbance.cpu_ops for w in windows if w.disturbance.cpu_ops is not None), reverse=True)
    return speeds[REACHED - 1] if len(speeds) >= REACHED else None


def at_full_speed(used: Mapping[str, Sequence[Window]], windows: Sequence[Window]) -> frozenset[int]:
    """Return the rounds to use, of runner -> one window per round: those whose windows all ran at the highest speed.

    All rounds, if fewer than six are, or than a quarter: the highest speed was then not the machine's usual one.
    `windows` are all of the point, repeated ones too.
    """
    chosen = [window for group in used.values() for window in group]
    rounds = frozenset(window.index for window in chosen)
    most = highest(windows)
    if most is None:
        return rounds
    kept = rounds - {window.index for window in chosen if _slow(window, most)}
    return kept if len(kept) >= max(FEWEST_ROUNDS, SHARE * len(rounds)) else rounds


def _slow(window: Window, most: int) -> bool:
    speed = window.disturbance.cpu_ops
    return speed is None or speed < (1 - SLOWER) * most


def slow_rounds(points: Sequence[RunnerPoint]) -> tuple[str, ...]:
    """Return a sentence on rounds of an operating point in which the processor was slower, if there are any.

    `points` are those of all runners that were measured at it.
    """
    used = [window for point in points for window in point.windows]
    most = highest([*used, *(window for point in points for window in point.unused)])
    if most is None:
        return ()
    kept = {window.index for window in used}
    left_out = {window.index for point in points for window in point.unused} - kept - {0}
    slower = f"the processor was over {100 * SLOWER:.0f} % slower"
    why = "(its cores were shared or far apart, or its clock lower)"
    if left_out:
        return (f"{len(left_out)} of {len(left_out | kept)} rounds are left out: {slower} in them {why}",)
    slow = {window.index for window in used if _slow(window, most)}
    if not slow:
        return ()
    return (f"in {len(slow)} of {len(kept)} rounds {slower} than at its best {why}",)
