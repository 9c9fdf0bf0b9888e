"""Rows on a machine that is not quiet: windows stalled by other processes."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.rounds import ratios, simulated, stalled
from compress.records import robust
from compress.records.stats import t_quantile

RUNNERS = 3


def rows(sessions: int) -> Iterator[Bound]:
    """Yield coverage and width when one window in six takes 30 to 300 % longer, and when one window hangs."""
    generator = np.random.default_rng(SEED + 1)
    for rounds, middle in ((15, np.median), (40, np.mean), (100, np.mean)):
        for cv in (0.03, 0.06, 0.12):
            logs = simulated(generator, sessions, RUNNERS, rounds, cv)
            quiet, busy = ratios(logs), ratios(stalled(generator, logs))
            label = f"cv {100 * cv:g} %, {rounds} rounds"
            yield Bound(f"coverage of the ratio, {label}", busy.cover(), 0.94)
            width = float(middle(busy.half) / middle(quiet.half))
            kind = "median" if middle is np.median else "mean"
            yield Bound(f"{kind} half-width over the quiet machine's, {label}", width, 0, 1.5, "times")
            if middle is np.median:  # in some sessions more than a third of 15 pairs are stalled
                mean = float(busy.half.mean() / quiet.half.mean())
                yield Bound(f"mean half-width over the quiet machine's, {label}", mean, unit="times")
    logs = simulated(generator, sessions, RUNNERS, 8, 0.06)
    hung = logs.copy()
    hung[:, 1, 5] += np.log(30.0)
    quiet, busy = ratios(logs), ratios(hung)
    label = "only one window of 8 stalls, by 30 times, cv 6 %"
    yield Bound(f"coverage of the ratio, {label}", busy.cover(), 0.94)
    width = float(busy.half.mean() / quiet.half.mean())
    yield Bound(f"mean half-width over the quiet machine's, {label}", width, 0, 1.5, "times")
    own = stalled(generator, 0.06 * generator.standard_normal((sessions, 40)))
    value, error, degrees = robust.location(own)
    covered = float((np.abs(value) <= t_quantile(degrees + 1) * error).mean())
    yield Bound("coverage of the quiet machine's latency, cv 6 %, 40 rounds", covered)
