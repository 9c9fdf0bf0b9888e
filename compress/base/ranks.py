"""Processes started by torchrun or accelerate: all ranks train; the first one builds, measures and writes."""

import os
import sys

from compress.base.device import Device

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")
"""Prefixes of the environment variables that a launcher sets."""


def rank() -> int:
    """Return the rank of this process; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """Return the number of processes; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: Device) -> Device:
    """Return the GPU of this process, given the device of the first one."""
    return Device("cuda", (int(os.environ["LOCAL_RANK"]),)) if processes() > 1 and device.on_gpu else device


def wait(device: Device) -> None:
    """Wait until every process has reached this call, so that all see the files written before it."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState(cpu=not device.on_gpu).wait_for_everyone()


def end_training() -> None:
    """End distributed training: the first process goes on as if started alone, the others exit."""
    if processes() == 1:
        return
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if rank() > 0:
        sys.exit(0)
    for key in [key for key in os.environ if key.startswith(LAUNCHED)]:
        del os.environ[key]
