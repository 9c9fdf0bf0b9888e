"""TODO docstring."""

from collections.abc import Sequence

from compress.energy.meters import Absent, Gpu, Meter


def find_meter(device: str, gpus: Sequence[Gpu] = ()) -> Meter | Absent:
    """The best meter for `cpu`, or for `cuda` with these GPUs: measured if there is one, modelled for a CPU without.

    Joules of several GPUs are summed.
    """
    from compress.energy import modelled, nvml, rapl
    from compress.energy.several import together

    if device == "cuda":
        return together([nvml.find(gpu) for gpu in gpus])
    found = rapl.find()
    if isinstance(found, Absent):
        return modelled.CpuTime(why=found.reason)
    return found
