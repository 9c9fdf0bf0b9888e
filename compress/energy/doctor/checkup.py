"""`compress doctor`: find the meter of a device, examine it, and report what to do."""

from compress.base.config import InputError
from compress.base.device import AUTO, Device
from compress.base.devices import AbsentDeviceError, identity, pick, torch_device
from compress.base.locks import locked, measuring_lock
from compress.base.processes import threads
from compress.energy import nvml, profile, rapl
from compress.energy.doctor import board as doctor
from compress.energy.doctor.rapl import examine_rapl
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.records import machine as machines

QUICK = 1 / 3
WAITING = "another measurement is running on this machine; waiting for it to end"


def checkup(device: str | Device, quick: bool) -> list[str]:
    """Return the findings, line by line; save the profile of a board for later sessions."""
    try:
        picked = pick(device)
    except AbsentDeviceError as error:
        raise InputError([*error.problems, *_gpus()]) from None
    if picked.several:
        raise InputError(f"doctor --device {picked}: examines one device at a time")
    machine = machines.describe(picked)
    lines = [f"{machine.device_name} ({machine.device}, machine {machine.id})"]
    if not picked.on_gpu:
        return lines + _limits(picked) + _cpu(quick) + (_gpus() if device == AUTO else [])
    lines += _limits(picked) + _gpus()
    (gpu,) = gpus_of(machine.details)
    meter = nvml.find(gpu)
    if isinstance(meter, Absent):
        return lines + doctor.without_a_meter(None, meter.reason)
    from compress.energy.doctor.load import gpu_load

    with locked(measuring_lock(), WAITING):
        load = gpu_load(torch_device(picked))
        report = doctor.examine(meter, load, meter.uuid, meter.driver, QUICK if quick else 1.0)
    lines += report.lines
    if report.profile is not None:
        lines.append(f"  saved for sessions on this board: {profile.save(report.profile)}")
    return lines + [f"do: {line}" for line in report.advice] or lines


def _limits(picked: Device) -> list[str]:
    """Return what the device reads and multiplies at most in a second, measured now and kept for sessions."""
    import torch

    from compress.energy.peaks import lines
    from compress.energy.remembered_peaks import remembered

    if not picked.on_gpu:
        torch.set_num_threads(threads())  # as many as sessions use
    with locked(measuring_lock(), WAITING):
        return list(lines(remembered(torch_device(picked), anew=True)))


def _gpus() -> list[str]:
    """Return the GPUs that NVML lists on this machine, including those that torch cannot use."""
    import torch

    boards = nvml.seen()
    if isinstance(boards, Absent):
        return [f"GPU: {boards.reason}"]
    lines = [f"  NVML {number}: {board}" for number, board in enumerate(boards)]
    for index in range(torch.cuda.device_count()):
        cuda = identity(torch.device("cuda", index))
        lines.append(f"  cuda:{index}: {cuda['name']}, UUID {cuda['uuid']}, PCI {cuda['pci']}")
    if boards and not torch.cuda.is_available():
        lines.append("  torch cannot use them: install a CUDA build of torch that fits the driver")
    return lines or ["GPU: NVML finds none"]


def _cpu(quick: bool) -> list[str]:
    meter = find_meter("cpu")
    if isinstance(meter, Absent):
        return doctor.without_a_meter(meter.reason, None)
    if isinstance(meter, rapl.Rapl):
        from compress.energy.doctor.load import cpu_load

        with locked(measuring_lock(), WAITING):
            report = examine_rapl(meter, cpu_load(), QUICK if quick else 1.0)
        return report.lines + [f"do: {line}" for line in report.advice]
    return [
        *doctor.without_a_meter(meter.why_modelled, None),
        f"  watts of the model: {meter.basis}",
    ]
