"""`compress doctor`: finds the meter of a device, examines it, and says what to do."""

from compress.config import InputError
from compress.devices import pick
from compress.energy import Absent, doctor, find_meter, gpus_of, nvml, profile
from compress.locks import locked, measuring_lock
from compress.measure import machine as machines

QUICK = 1 / 3


def checkup(device: str, quick: bool) -> list[str]:
    """What was found, line by line; the profile of a board is saved for the sessions to come."""
    if "," in device:
        raise InputError(f"doctor --device {device}: examines one device at a time")
    picked = str(pick(device))
    machine = machines.describe(picked)
    lines = [f"{machine.device_name} ({machine.device}, machine {machine.id})"]
    if not picked.startswith("cuda"):
        return lines + _cpu()
    (gpu,) = gpus_of(machine.details)
    meter = nvml.find(gpu)
    if isinstance(meter, Absent):
        return lines + doctor.without_a_meter(None, meter.reason)
    from compress.measure.load import gpu_load

    with locked(measuring_lock(), "another measurement is running on this machine; waiting for it to end"):
        report = doctor.examine(meter, gpu_load(picked), meter.uuid, meter.driver, QUICK if quick else 1.0)
    lines += report.lines
    if report.profile is not None:
        lines.append(f"  saved for sessions on this board: {profile.save(report.profile)}")
    return lines + [f"do: {line}" for line in report.advice] or lines


def _cpu() -> list[str]:
    meter = find_meter("cpu")
    if isinstance(meter, Absent):
        return doctor.without_a_meter(meter.reason, None)
    if meter.measured:
        return [f"  meter: {meter.source}, {meter.boundary}", "  it moves every millisecond; nothing to do"]
    return [
        *doctor.without_a_meter(getattr(meter, "why", "no meter"), None),
        f"  the model's watts: {getattr(meter, 'basis', '')}",
    ]
