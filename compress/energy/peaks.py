"""The most that a device reads and multiplies in a second. `peak_rates` measures it, `remembered_peaks` keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

MIB = 2**20
CACHED = 1.2  # times the memory's bandwidth, from which a working set counts as cached


@dataclass(frozen=True)
class Read:
    """Bandwidth over arrays of one size."""

    working_set_bytes: int
    bytes_per_s: float


@dataclass(frozen=True)
class Peaks:
    """Bandwidth and arithmetic peaks of one device."""

    threads: int
    """CPU threads; 0 on a GPU."""
    reads: tuple[Read, ...]
    """By size of the array, ascending; the last is that of the memory."""
    copy_bytes_per_s: float
    """Bytes read and written."""
    products: dict[str, float]
    """Number format -> operations per second."""
    remarks: dict[str, str]
    """Number format -> why it has no figure, or what to know of it."""
    disturbed: bool = False
    """Whether other processes ran meanwhile: the figures may be too low."""
    tries: int = 1
    """Measurements of which these are the highest figures."""

    @property
    def memory_bytes_per_s(self) -> float:
        """Bytes read per second from memory."""
        return self.reads[-1].bytes_per_s

    def bandwidth(self, working_set_bytes: float) -> tuple[float, bool]:
        """Return the bandwidth of reading this many bytes again and again, and whether a cache holds them.

        It is the fastest measured for arrays from the next smaller size on, so it never understates the limit.
        """
        sizes = [read.working_set_bytes for read in self.reads]
        smaller = max((size for size in sizes if size <= working_set_bytes), default=sizes[0])
        fastest = max(read.bytes_per_s for read in self.reads if read.working_set_bytes >= smaller)
        return fastest, fastest > CACHED * self.memory_bytes_per_s


def higher(one: Peaks, other: Peaks) -> Peaks:
    """Return the higher figures of two measurements of a device; disturbed if both were."""
    known = {read.working_set_bytes: read.bytes_per_s for read in one.reads}
    reads = tuple(replace(r, bytes_per_s=max(r.bytes_per_s, known.get(r.working_set_bytes, 0.0))) for r in other.reads)
    names = dict.fromkeys((*one.products, *other.products))
    products = {name: max(one.products.get(name, 0.0), other.products.get(name, 0.0)) for name in names}
    copies = max(one.copy_bytes_per_s, other.copy_bytes_per_s)
    both = one.disturbed and other.disturbed
    tries = one.tries + other.tries
    return replace(
        other, reads=reads, copy_bytes_per_s=copies, products=products, disturbed=both, tries=tries if both else 1
    )


def lines(peaks: Peaks) -> Iterable[str]:
    """Yield the peaks as the lines that `doctor` prints."""
    where = f"{peaks.threads} threads" if peaks.threads else "the whole board"
    yield f"  limits of this device ({where}), the best of several repeats:"
    smaller = ", ".join(
        f"{read.working_set_bytes // MIB} MiB: {read.bytes_per_s / 1e9:.1f}" for read in peaks.reads[:-1]
    )
    size = peaks.reads[-1].working_set_bytes // MIB
    yield f"    reading memory: {peaks.memory_bytes_per_s / 1e9:.1f} GB/s (arrays of {size} MiB; bytes read)"
    if smaller:
        yield f"    reading smaller arrays, GB/s: {smaller}"
    yield f"    copying memory: {peaks.copy_bytes_per_s / 1e9:.1f} GB/s (bytes read and bytes written)"
    for name in dict.fromkeys((*peaks.products, *peaks.remarks)):
        rate, remark = peaks.products.get(name), peaks.remarks.get(name)
        unit = "GOP/s" if name == "int8" else "GFLOP/s"
        figure = "no figure" if rate is None else f"{rate / 1e9:.1f} {unit}"
        yield f"    products in {name}: {figure}{f' ({remark})' if remark else ''}"
    if peaks.disturbed:
        yield "    ! other processes ran meanwhile: these figures may be too low; run doctor on a quiet machine"
