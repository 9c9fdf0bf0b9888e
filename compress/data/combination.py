"""The combination of format, backend and runtime that a quantize step has for a task's models."""

from compress.base.device import DeviceKind
from compress.data.tasks import task_of
from compress.spec.formats import Capability, Row, choose
from compress.spec.steps import Quantize


def combination_of(
    step: Quantize,
    task: str,
    runtime: str,
    device: DeviceKind,
    capability: Capability | None,
    exports: bool = True,
) -> Row:
    """Return the row of the table for a step, or for a part of one, on a device.

    `runtime` is the recipe's, or that of an earlier part. `exports`: whether the model can become a graph with a cache,
    if the task has one. Raises InputError, with the possible combinations, for one that does not exist.
    """
    declared = task_of(task)
    return choose(
        bits=step.bits,
        format=step.wanted_format,
        backend=step.wanted_backend,
        runtime="eager" if declared.eager_only else runtime,
        device=device,
        capability=capability,
        with_cache=declared.continues and exports,
    )
