"""The share of the physical limit in words: what a reader can still gain on this device with the same work."""

from compress.records.limit import MEMORY, Limit
from compress.records.point import Point
from compress.records.stats import Estimate

INTEGERS = "int8"
BATCHES = {"prefill": "prompt", "decode": "step", "generate": "request"}
"""Phase -> what a batch is; a batch for all others."""
ABOVE = (
    "over 100 %: the limit was measured too low (run doctor on the quiet machine), or caches hold what counts as memory"
)


def of_the_limit(point: Point) -> str | None:
    """Return the share of the limit as a sentence, or the reason why it is unknown; None without a record of it.

    `decode reads 0.28 GB a token: 31 % of this machine's 14.2 GB/s`
    """
    limit = point.limit
    if limit is None:
        return None
    share = point.limit_share
    if share is None:
        return f"share of the limit unknown: {limit.reason}"
    return (
        f"{point.phase or 'a pass'} {_work(point, limit)}: {percent(share)} of {_rates(limit)}{_remarks(limit, share)}"
    )


def percent(share: Estimate) -> str:
    """Return a share as text: `31 %`, `0.42 %`."""
    return f"{100 * share.value:.2g} %" if share.value < 0.995 else f"{100 * share.value:.0f} %"


def _work(point: Point, limit: Limit) -> str:
    """Return the work of a batch: `reads 0.28 GB a token`."""
    batch = BATCHES.get(point.phase or "", "batch")
    unit = "token" if point.phase == "decode" and point.batch_size == 1 else batch
    formats = [name for name in limit.work if name != MEMORY]
    operations = sum(limit.work[name] for name in formats)
    parts = [f"computes {_scaled(operations)}{'OP' if INTEGERS in formats else 'FLOP'}"] if operations else []
    parts += [f"reads {_scaled(limit.work[MEMORY])}B"] if MEMORY in limit.work else []
    return f"{' and '.join(parts)} a {unit}"


def _rates(limit: Limit) -> str:
    """Return the limits: `this machine's 14.2 GB/s`."""
    rates = [
        f"{_scaled(rate)}B/s" + (" (fits in the cache)" if limit.in_cache else "")
        if name == MEMORY
        else f"{_scaled(rate)}{'OP' if name == INTEGERS else 'FLOP'}/s in {name}"
        for name, rate in limit.per_second.items()
    ]
    return f"this machine's {' and '.join(rates)}"


def _remarks(limit: Limit, share: Estimate) -> str:
    """Return the doubts about a share; empty without any."""
    disturbed = "; other processes ran while this limit was measured: it may be too low" if limit.disturbed else ""
    return disturbed + (f"; {ABOVE}" if share.low > 1 else "")


def _scaled(value: float) -> str:
    """Return a number with three digits and the prefix of its unit: `0.28 G`, `14.2 G`, `3.1 M`."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= (size if prefix == "T" else 0.1 * size):
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "
