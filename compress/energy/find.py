"""Find the best meter of a device."""

from collections.abc import Sequence

from compress.base.device import DeviceKind
from compress.energy.meters import Absent, Gpu, Meter


def find_meter(kind: DeviceKind, gpus: Sequence[Gpu] = ()) -> Meter | Absent:
    """Return the best meter of `cpu`, or of `cuda` with these GPUs; a CPU without a meter gets a model.

    The joules of several GPUs are summed.
    """
    from compress.energy import modelled, nvml, rapl
    from compress.energy.several import together

    if kind == "cuda":
        return together([nvml.find(gpu) for gpu in gpus])
    meter = rapl.find()
    if isinstance(meter, Absent):
        return modelled.CpuTime(meter.reason)
    return meter
