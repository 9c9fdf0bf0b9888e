"""The most that a device reads and multiplies in a second, measured once by large reads and products.

    reads      sum, maximum and matrix x vector over arrays of 1 MiB to beyond every cache: bytes read, nothing written
    copies     one array to another beyond every cache: bytes read and bytes written are both counted
    products   square matrices of each number format, 2 n^3 operations; the best of the routines that torch has for it

Each figure is the best of several repeats: interruptions only make a repeat slower. On a CPU torch uses as many threads
as it has. The figures are kept in the cache, by device, threads and version of torch.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import digest
from compress.base.console import say
from compress.base.errors import NotWritten
from compress.base.files import cache_folder, write_atomic

if TYPE_CHECKING:
    import torch

MIB = 2**20
WORKING_SETS = (MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB)
"""Bytes of the arrays that are read, up to the first beyond every cache."""
BEYOND = 8  # times the largest cache: the part of an array that it can hold is then small
ROOM = 1 / 4  # of the free memory, at most, for two arrays
READ_S, PRODUCT_S = 0.25, 0.4
REPEATS = 5
SIDES = {"cpu": 1536, "cuda": 8192}
"""Sides of the matrices: 7.2 GFLOP and 27 MiB in fp32, 1.1 TFLOP and 384 MiB in 16 bits."""
CACHED = 1.2  # times the memory's bandwidth, from which a working set counts as cached
DISTURBED = 0.05  # of all cores, used by others while the figures were measured
MOST_TRIES = 3
FOLDER = "limits"
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1024, "M": MIB}


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


Measure = Callable[["torch.device"], Peaks]


def measured(device: "torch.device", room_bytes: int | None = None) -> Peaks:
    """Return the peaks of a device; takes 3 to 8 seconds. `room_bytes`: memory that the arrays may take together."""
    import torch

    sizes = working_sets(largest_cache_bytes(device), room_bytes)
    reads = tuple(Read(size, _read_bandwidth(size, device)) for size in sizes)
    copies = _copy_bandwidth(sizes[-1], device)
    products: dict[str, float] = {}
    remarks: dict[str, str] = {}
    for name, routines in _formats(device).items():
        found = [rate for routine in routines if (rate := _product_rate(routine, device, remarks, name)) is not None]
        if found:
            products[name] = max(found)
            remarks.pop(name, None)
    remarks |= {name: text for name, text in _emulated(device).items() if name in products}
    threads = 0 if device.type == "cuda" else torch.get_num_threads()
    return Peaks(threads, reads, copies, products, remarks)


def working_sets(cache_bytes: int | None, room_bytes: int | None) -> tuple[int, ...]:
    """Return the bytes of the arrays to read: up to the first of at least 256 MiB and 8 times the largest cache.

    Arrays of which two would take over a quarter of the room are left out. None: unknown.
    """
    beyond = WORKING_SETS[-1] if cache_bytes is None else max(256 * MIB, BEYOND * cache_bytes)
    last = min((size for size in WORKING_SETS if size >= beyond), default=WORKING_SETS[-1])
    fitting = (size for size in WORKING_SETS if room_bytes is None or 2 * size <= ROOM * room_bytes)
    return tuple(size for size in fitting if size <= last) or WORKING_SETS[:1]


def largest_cache_bytes(device: "torch.device", folder: Path = CACHES) -> int | None:
    """Return the bytes of the device's largest cache; None if the system does not report it."""
    if device.type == "cuda":
        import torch

        found = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", None)
        return None if found is None else int(found)
    sizes = []
    for path in folder.glob("index*/size"):  # such as 32768K
        number, unit = path.read_text().strip()[:-1], path.read_text().strip()[-1:]
        if number.isdigit() and unit in UNITS:
            sizes.append(int(number) * UNITS[unit])
    return max(sizes, default=None)


def _read_bandwidth(size: int, device: "torch.device") -> float:
    """Return bytes per second of the fastest way to read an array of this many bytes."""
    import torch

    array = torch.ones(size // 4, device=device)
    matrix, vector = array.view(-1, 1024), torch.ones(1024, device=device)
    calls = max(1, 16 * MIB // size)  # a timing of microseconds would measure the clock
    ways: tuple[Callable[[], object], ...] = (array.sum, array.max, lambda: torch.mv(matrix, vector))
    return calls * size / min(_best_s(_repeated(way, calls), device, READ_S / len(ways)) for way in ways)


def _copy_bandwidth(size: int, device: "torch.device") -> float:
    """Return bytes per second of copying an array of this many bytes: those read and those written."""
    import torch

    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best_s(lambda: target.copy_(source), device, READ_S)


def _repeated(call: Callable[[], object], calls: int) -> Callable[[], object]:
    def run() -> None:
        for _ in range(calls):
            call()

    return run


def _best_s(call: Callable[[], object], device: "torch.device", least_s: float) -> float:
    """Return the shortest time of a call, of at least `REPEATS` and as many as fit in `least_s`."""
    import torch

    synchronize = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
    call()
    synchronize()
    times: list[float] = []
    end = time.perf_counter() + least_s
    while len(times) < REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


Routine = Callable[[int], Callable[[], object]]
"""routine(n) returns a call that multiplies two matrices [n, n]."""


def _product_rate(routine: Routine, device: "torch.device", remarks: dict[str, str], name: str) -> float | None:
    """Return operations per second of a routine; None, with a remark, if torch does not have it on this device."""
    side = SIDES[device.type]
    try:
        call = routine(side)
        call()
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        remarks[name] = f"torch has no product in it here ({str(error).strip().splitlines()[0][:120]})"
        return None
    return 2 * side**3 / _best_s(call, device, PRODUCT_S)


def _formats(device: "torch.device") -> dict[str, tuple[Routine, ...]]:
    """Return number format -> routines that multiply in it on this device."""
    import torch

    def plain(dtype: "torch.dtype") -> Routine:
        def routine(side: int) -> Callable[[], object]:
            one, other = (torch.ones(side, side, device=device).to(dtype) for _ in range(2))
            return lambda: torch.mm(one, other)

        return routine

    def integers(side: int) -> Callable[[], object]:
        one, other = (torch.ones(side, side, device=device, dtype=torch.int8) for _ in range(2))
        return lambda: torch._int_mm(one, other.t())

    if device.type == "cuda":
        formats: dict[str, tuple[Routine, ...]] = {"float32": (plain(torch.float32),), "tf32": (_in_tf32(device),)}
        halves = {"float16": (plain(torch.float16),), "bfloat16": (plain(torch.bfloat16),)}
        return {**formats, **halves, "int8": (integers,)}
    return {
        "float32": (plain(torch.float32), _convolution),
        "bfloat16": (plain(torch.bfloat16),),
        "int8": (integers, _onednn_integers),
    }


def _in_tf32(device: "torch.device") -> Routine:
    """Return products of float32 matrices rounded to TF32, which runtimes on a GPU may choose."""
    import torch

    def routine(side: int) -> Callable[[], object]:
        one, other = (torch.ones(side, side, device=device) for _ in range(2))

        def call() -> None:
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = True
            try:
                torch.mm(one, other)
            finally:
                torch.backends.cuda.matmul.allow_tf32 = before

        return call

    return routine


def _convolution(side: int) -> Callable[[], object]:
    """Return the same product as a convolution of 1 x 1, which another library of torch computes."""
    import torch

    image, weight = torch.ones(1, side, 32, side // 32), torch.ones(side, side, 1, 1)
    return lambda: torch.nn.functional.conv2d(image, weight)


def _onednn_integers(side: int) -> Callable[[], object]:
    """Return a product of uint8 inputs and int8 weights by oneDNN, as quantized linear layers compute it."""
    import torch

    inputs = torch.ones(side, side, dtype=torch.uint8)
    scales, zeros = torch.ones(side), torch.zeros(side, dtype=torch.int64)
    weight = torch.ops.onednn.qlinear_prepack(torch.ones(side, side, dtype=torch.int8), [side, side])
    settings: tuple[Any, ...] = (scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    return lambda: torch.ops.onednn.qlinear_pointwise(inputs, 1.0, 0, weight, *settings)


def _emulated(device: "torch.device") -> dict[str, str]:
    """Return number format -> a remark if the device has no unit for it and converts to another one."""
    from compress.base.devices import cpu_flags

    if device.type == "cuda" or {"avx512_bf16", "amx_bf16", "avx_ne_convert"} & cpu_flags():
        return {}
    return {"bfloat16": "emulated: this CPU lists no unit for it"}


def remembered(device: "torch.device", anew: bool = False, measure: Measure | None = None) -> Peaks:
    """Return the peaks of a device from the cache, or measure and keep them. The caller holds the measuring lock.

    Figures that were measured beside other processes are measured again, up to three times, and the higher ones kept: a
    rate that was reached is possible. `anew` measures in any case. `measure` replaces `watched`.
    """
    path = place(device)
    known = _read(path)
    if known is not None and not anew and (not known.disturbed or known.tries >= MOST_TRIES):
        return known
    say("  measuring the bandwidth and the arithmetic peaks of this device, a few seconds")
    found = (measure or watched)(device)
    if known is not None and (known.disturbed or found.disturbed):
        found = higher(known, found)
    try:
        write_atomic(path, json.dumps(asdict(found), indent=1).encode())
    except (NotWritten, OSError) as error:
        say(f"  the limits of this device will be measured again by the next run: {error}")
    return found


def place(device: "torch.device") -> Path:
    """Return the file of a device's peaks: by its identity, the threads and the version of torch."""
    import torch

    from compress.base.devices import cpu_model, identity

    on_gpu = device.type == "cuda"
    name = str(identity(device)) if on_gpu else f"{platform.node()} {cpu_model()}"
    threads = 0 if on_gpu else torch.get_num_threads()
    return cache_folder() / FOLDER / f"{digest([name, threads, torch.__version__])}.json"


def watched(device: "torch.device") -> Peaks:
    """Measure the peaks of a device, and note whether other processes ran meanwhile."""
    from compress.base.devices import foreign_cpu_s, stolen_cpu_s

    def taken_s() -> float:  # 0 throughout where the system does not report it
        return (foreign_cpu_s() or 0.0) + (stolen_cpu_s() or 0.0)

    before_s, start = taken_s(), time.monotonic()
    found = measured(device, _room(device))
    all_s = (os.cpu_count() or 1) * (time.monotonic() - start)
    return replace(found, disturbed=taken_s() - before_s > DISTURBED * all_s)


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


def _room(device: "torch.device") -> int | None:
    """Return the free bytes of a device; None if the system does not report them."""
    import torch

    from compress.base import memory

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else memory.free_bytes()


def _read(path: Path) -> Peaks | None:
    """Return stored peaks; None without the file, or if it is damaged."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        reads = tuple(Read(int(each["working_set_bytes"]), float(each["bytes_per_s"])) for each in plain.pop("reads"))
        return Peaks(reads=reads, **plain) if reads else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


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
