"""The share of the physical limit in words: what a reader can still gain on this device with the same work."""

from compress.records.limit import MEMORY, Limit
from compress.records.point import Point
from compress.records.stats import Estimate

BATCHES = {"prefill": "prompt", "decode": "step", "generate": "request"}
"""Phase -> what a batch is; a batch for all others."""
ABOVE = (
    "over 100 %: the limit was measured too low (run doctor on the quiet machine), or caches hold what counts as memory"
)


def of_the_limit(point: Point) -> str | None:
    """Return the share of the limit as a sentence, or the reason why it is unknown; None without a record of it.

    `decode reads 0.28 GB a token; at this machine's 14.2 GB/s that takes 31 % of the measured latency`
    """
    limit = point.limit
    if limit is None:
        return None
    share = point.limit_share
    if share is None:
        return f"share of the limit unknown: {limit.reason}"
    takes = f"{'that takes' if share.value <= 1 else 'that would take'} {percent(share)} of the measured latency"
    return f"{point.phase or 'a pass'} {_work(point, limit)}; at {_rates(limit)} {takes}{_remarks(limit, share)}"


def percent(share: Estimate) -> str:
    """Return a share as text: `31 %`, `0.42 %`."""
    return f"{100 * share.value:.2g} %" if share.value < 0.995 else f"{100 * share.value:.0f} %"


def _work(point: Point, limit: Limit) -> str:
    """Return the work of a batch: `reads 0.28 GB a token`."""
    batch = BATCHES.get(point.phase or "", "batch")
    unit = "token" if point.phase == "decode" and point.batch_size == 1 else batch
    operations = sum(work for name, work in limit.work.items() if name != MEMORY)
    parts = [f"computes {_count(operations)} operations"] if operations else []
    parts += [f"reads {_scaled(limit.work[MEMORY])}B"] if MEMORY in limit.work else []
    return f"{' and '.join(parts)} a {unit}"


def _rates(limit: Limit) -> str:
    """Return the limits: `this machine's 14.2 GB/s`, `this machine's 400 billion operations/s in int8`."""
    rates = [
        f"{_scaled(rate)}B/s" + (" (fits in the cache)" if limit.in_cache else "")
        if name == MEMORY
        else f"{_count(rate)} operations/s in {name}"
        for name, rate in limit.per_second.items()
    ]
    return f"this machine's {' and '.join(rates)}"


def _remarks(limit: Limit, share: Estimate) -> str:
    """Return the doubts about a share; empty without any."""
    disturbed = "; other processes ran while this limit was measured: it may be too low" if limit.disturbed else ""
    return disturbed + (f"; {ABOVE}" if share.low > 1 else "")


def _count(value: float) -> str:
    """Return a number of operations with its magnitude as a word: `0.312 billion`."""
    for word, size in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if value >= (size if word == "trillion" else 0.1 * size):
            return f"{value / size:.3g} {word}"
    return f"{value:,.0f}"


def _scaled(value: float) -> str:
    """Return a number with three digits and the prefix of its unit: `0.28 G`, `14.2 G`, `3.1 M`."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= (size if prefix == "T" else 0.1 * size):
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "
