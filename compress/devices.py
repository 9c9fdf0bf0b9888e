"""Which device computes, and what it computes natively."""

from functools import cache
from pathlib import Path

import torch

from compress.config import InputError

CPU_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # the last one is Arm's name


def pick(name: str) -> torch.device:
    """The device of this name: auto (cuda where there is one), cpu, cuda or cuda:N. Raises InputError when absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdigit())):
        raise InputError(f"device {name!r}: unknown; expected auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or count == 0:
            raise InputError(f"device {name}: this machine has no CUDA device that torch can use; use auto or cpu")
        if index and int(index) >= count:
            raise InputError(f"device {name}: there are {count}, so the last one is cuda:{count - 1}")
    return torch.device(name)


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively, rather than by converting to fp32 first."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(CPU_BF16_FLAGS & _cpu_flags())


@cache
def _cpu_flags() -> frozenset[str]:
    """Feature flags of the first CPU; empty where the system does not list them."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
