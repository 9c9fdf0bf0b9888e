"""The peaks of a device, measured once and kept in the cache: by device, threads and version of torch."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from compress.base.config import digest
from compress.base.console import say
from compress.base.errors import NotWritten
from compress.base.files import cache_folder, write_atomic
from compress.energy.peak_rates import watched
from compress.energy.peaks import Peaks, Read, higher

if TYPE_CHECKING:
    import torch

MOST_TRIES = 3
FOLDER = "limits"
Measure = Callable[["torch.device"], Peaks]


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


def _read(path: Path) -> Peaks | None:
    """Return stored peaks; None without the file, or if it is damaged."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        reads = tuple(Read(int(each["working_set_bytes"]), float(each["bytes_per_s"])) for each in plain.pop("reads"))
        return Peaks(reads=reads, **plain) if reads else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
