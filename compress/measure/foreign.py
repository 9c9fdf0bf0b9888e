"""Foreign processes on the measured device, as its meter lists them."""

from collections.abc import Collection

from compress.energy.meters import Absent, Meter


def listed_processes(meter: Meter | Absent) -> tuple[int, ...] | None:
    """Return the ids of the processes on the device, or None if the meter does not list them."""
    return None if isinstance(meter, Absent) else meter.processes()


def foreign_processes(
    before: Collection[int] | None, during: Collection[int] | None, own: int, parent: int, parent_on_device: bool
) -> int | None:
    """Return how many other processes were on the device at any time; None if unknown.

    `before`: ids seen before this process opened the device. In a container the driver lists no ids, or ids of the
    host. Host ids cannot be matched: one that appeared since counts as this process, and one from before as its parent
    if that uses the device.
    """
    if before is None or during is None or not during:
        return None  # even this process is not listed
    if own in during:
        return len({*before, *during} - {own, parent})
    return max(0, len(set(before)) - parent_on_device) + max(0, len(set(during) - set(before)) - 1)
