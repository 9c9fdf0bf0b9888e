"""Compute devices of this machine: presence, identity and native number formats; CPU flags and CPU time."""

import gc
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from compress.base.device import AUTO, CPU, Device
from compress.base.errors import InputError

MATRIX_UNITS = frozenset({"amx_bf16", "bf16"})  # "bf16" is Arm's flag
X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
"""Names of these CPUs under Linux, macOS and Windows, in lower case."""


class AbsentDeviceError(InputError):
    """The device is well named, but this machine lacks it."""


def pick(device: str | Device) -> Device:
    """Return a device that this machine has: the given one, or cuda for `auto` if available, else cpu.

    Raises InputError for an unknown text, AbsentDeviceError for a GPU that is not here.
    """
    if isinstance(device, str):
        if device.strip() == AUTO:
            return Device("cuda" if torch.cuda.is_available() else "cpu")
        device = Device.parse(device)
    if not device.on_gpu:
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise AbsentDeviceError(f"device {device}: this machine has no CUDA device that torch can use; use auto or cpu")
    for absent in (part for part in device.parts if max(part.indices, default=0) >= count):
        raise AbsentDeviceError(f"device {absent}: not found; the last CUDA device of this machine is cuda:{count - 1}")
    return device


def torch_device(device: Device) -> torch.device:
    """Return the device for tensors; of several GPUs, the first."""
    return torch.device(device.kind, *device.indices[:1])


def torch_devices(device: Device) -> tuple[torch.device, ...]:
    """Return the devices for tensors, one per GPU."""
    return tuple(torch_device(part) for part in device.parts)


def device_of(place: torch.device) -> Device:
    """Return the device of tensors; formats and runtimes treat every device but CUDA as the CPU."""
    if place.type != "cuda":
        return CPU
    return Device("cuda", () if place.index is None else (place.index,))


def identity(device: torch.device) -> dict[str, Any]:
    """Return uuid, PCI address, name and memory_bytes of a GPU as CUDA reports them; None if not reported."""
    properties = torch.cuda.get_device_properties(device)
    uuid = getattr(properties, "uuid", None)
    address = [getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
    parts = [part for part in address if part is not None]
    return {
        "uuid": None if uuid is None else str(uuid),
        "pci": "{:08X}:{:02X}:{:02X}.0".format(*parts) if len(parts) == 3 else None,
        "name": properties.name,
        "memory_bytes": properties.total_memory,
    }


def capability(device: torch.device) -> tuple[int, int] | None:
    """Return the CUDA compute capability of a GPU; None for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def spread(model: Any, devices: Sequence[torch.device]) -> Any:
    """Divide the layers of a model among several GPUs with accelerate; move it if there is one device."""
    if len(devices) == 1:
        return model.to(devices[0])
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    unsplit = list(getattr(model, "_no_split_modules", None) or ())
    free = {device.index: torch.cuda.mem_get_info(device)[0] for device in devices}
    memory = get_balanced_memory(model, max_memory=free, no_split_module_classes=unsplit)
    return dispatch_model(model, infer_auto_device_map(model, max_memory=memory, no_split_module_classes=unsplit))


def release_memory() -> None:
    """Return the GPU memory of deleted objects to the driver, if this process uses a GPU."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def computes_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 natively and is faster in it.

    An Intel CPU with AVX512-BF16 alone is not: an Emerald Rapids with AMX masked took 1.7 times as long for MiniLM in
    bf16 as in fp32, under eager and under OpenVINO.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = cpu_flags()
    return bool(MATRIX_UNITS & flags) or {"avx512_bf16", "AuthenticAMD"} <= flags


@cache
def has_vnni() -> bool:
    """Return whether this CPU accumulates uint8 x int8 products in 32 bits; x86 without VNNI saturates at 16 bits.

    False on an x86 CPU whose flags the system does not list.
    """
    return platform.machine().lower() not in X86 or bool({"avx512_vnni", "avx_vnni"} & cpu_flags())


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return vendor and feature flags of the first CPU; empty if the system does not list them."""
    if not info.is_file():
        return frozenset()
    flags: frozenset[str] = frozenset()
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("vendor_id", "flags", "Features"):
            flags |= frozenset(value.split())
        if name.strip() in ("flags", "Features"):
            break
    return flags


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the name of the processor as Linux reports it, or None."""
    if not info.is_file():
        return None
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None


def foreign_cpu_s() -> float | None:
    """Return the CPU seconds that other processes have used since boot; None without /proc/stat."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(value) for value in stat.read_text().split("\n", 1)[0].split()[1:]]
    busy = sum(ticks[:3]) + sum(ticks[5:7])  # user, nice, system, irq, softirq; without idle and iowait
    own = os.times()
    return busy / os.sysconf("SC_CLK_TCK") - own.user - own.system - own.children_user - own.children_system


def stolen_cpu_s() -> float | None:
    """Return the steal time of this virtual machine since boot in CPU seconds; None if it is not reported."""
    stat = Path("/proc/stat")
    ticks = stat.read_text().split("\n", 1)[0].split()[1:] if stat.is_file() else []
    return int(ticks[7]) / os.sysconf("SC_CLK_TCK") if len(ticks) > 7 else None
