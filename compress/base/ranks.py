"""Several processes started by torchrun or accelerate: all of them train, the first one builds, measures and writes."""

import os
import sys

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")
"""How what a launcher sets for its processes begins."""


def rank() -> int:
    """Which of the processes this one is; 0 when it was started alone."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: str) -> str:
    """The GPU of this process, where `device` names the first one's."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if processes() > 1 and device.startswith("cuda") else device


def wait(device: str) -> None:
    """Until every process has come here; what one of them has written before, the others find."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState(cpu=device == "cpu").wait_for_everyone()


def end_training() -> None:
    """After the last training: what is left to do is the first process's, as if it were alone; the others end here."""
    if processes() == 1:
        return
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if rank() > 0:
        sys.exit(0)
    for key in [key for key in os.environ if key.startswith(LAUNCHED)]:
        del os.environ[key]
