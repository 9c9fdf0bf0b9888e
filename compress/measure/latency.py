"""Running a model batch after batch, with the time of every batch."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


class Pass(tuple[dict[str, torch.Tensor], ...]):
    """Batches of different cost: measuring windows and warm-up blocks run whole passes over them."""

    __slots__ = ()


def synchronizer(devices: Sequence[torch.device]) -> Callable[[], None]:
    """Return a function that waits until all of these devices have finished."""
    if devices[0].type != "cuda":
        return lambda: None
    if len(devices) == 1:
        return lambda: torch.cuda.synchronize(devices[0])

    def synchronize_all() -> None:
        for device in devices:
            torch.cuda.synchronize(device)

    return synchronize_all


def run_for(
    model: Any,
    batches: Sequence[dict[str, torch.Tensor]],
    seconds: float,
    sync: Callable[[], None],
    least: int = 2,
    multiple: int = 1,
) -> list[int]:
    """Run the batches in turn for at least `seconds` and `least` batches; return the nanoseconds of each.

    Their number is a multiple of `multiple`.
    """
    times: list[int] = []
    clock = time.monotonic_ns
    count = len(batches)
    with torch.no_grad():
        sync()
        end = clock() + round(1e9 * seconds)
        now = 0
        while now < end or len(times) < least or len(times) % multiple:
            batch = batches[len(times) % count]
            start = clock()
            model(**batch)
            sync()
            now = clock()
            times.append(now - start)
    return times


def whole(batches: Sequence[dict[str, torch.Tensor]]) -> int:
    """Return the number of batches that are only measured together: those of a pass, otherwise 1."""
    return len(batches) if isinstance(batches, Pass) else 1
