"""A device's bandwidth and arithmetic peaks, measured by large reads and products.

    reads      sum, maximum and matrix x vector over arrays of 1 MiB to beyond every cache: bytes read, nothing written
    copies     one array to another beyond every cache: bytes read and bytes written are both counted
    products   square matrices of each number format, 2 n^3 operations; the best of the routines that torch has for it

Each figure is the best of several repeats: interruptions only make a repeat slower. On a CPU torch uses as many threads
as it has.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.errors import innermost
from compress.energy.peaks import MIB, Peaks, Read

if TYPE_CHECKING:
    import torch

WORKING_SETS = (MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB)
"""Bytes of the arrays that are read, up to the first beyond every cache."""
BEYOND = 8  # times the largest cache: the part of an array that it can hold is then small
ROOM = 1 / 4  # of the free memory, at most, for two arrays
READ_S, PRODUCT_S = 0.25, 0.4
REPEATS = 5
SIDES = {"cpu": 1536, "cuda": 8192}
"""Sides of the matrices: 7.2 GFLOP and 27 MiB in fp32, 1.1 TFLOP and 384 MiB in 16 bits."""
DISTURBED = 0.05  # of all cores, used by others while the figures were measured
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1024, "M": MIB}


def watched(device: "torch.device") -> Peaks:
    """Measure the peaks of a device, and note whether other processes ran meanwhile."""
    from compress.base.devices import foreign_cpu_s, stolen_cpu_s

    def taken_s() -> float:  # 0 throughout where the system does not report it
        return (foreign_cpu_s() or 0.0) + (stolen_cpu_s() or 0.0)

    before_s, start = taken_s(), time.monotonic()
    found = measured(device, _room(device))
    all_s = (os.cpu_count() or 1) * (time.monotonic() - start)
    return replace(found, disturbed=taken_s() - before_s > DISTURBED * all_s)


def _room(device: "torch.device") -> int | None:
    """Return the free bytes of a device; None if the system does not report them."""
    import torch

    from compress.base import memory

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else memory.free_bytes()


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
    """Return operations per second of a routine; None, with the reason as a remark, if it fails on this device."""
    side = SIDES[device.type]
    try:
        call = routine(side)
        call()
    except (RuntimeError, AttributeError) as error:  # no such operator, no kernel for it, or too little memory
        remarks[name] = f"its product failed here: {innermost(error)[:120]}"
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
        return {**formats, **halves, "float8": (_float8(device),), "int8": (integers,)}
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


def _float8(device: "torch.device") -> Routine:
    """Return products of e4m3 matrices with one scale each; GPUs before Ada have none, and fail."""
    import torch

    def routine(side: int) -> Callable[[], object]:
        one, other = (torch.ones(side, side, device=device).to(torch.float8_e4m3fn) for _ in range(2))
        scale = torch.ones((), device=device)
        return lambda: torch._scaled_mm(one, other.t(), scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16)

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
