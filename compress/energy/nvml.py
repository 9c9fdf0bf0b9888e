"""NVML: the GPU board's own energy counter, in millijoules since the driver was loaded (Volta or newer).

The device is found by UUID, never by index: NVML's order need not be CUDA's. The counter moves in steps of 20 to
100 ms, so a window's edges are uncertain by one step; with the counter as the only source a figure's grade is C.
"""

from typing import Any, Literal

from compress.energy import Absent, MeterError

REASONS: dict[str, str] = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": "the NVIDIA driver's NVML library is not installed; install the driver",
    "NVML_ERROR_DRIVER_NOT_LOADED": "the NVIDIA driver is not loaded; load it (modprobe nvidia) or reboot",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "NVML and the kernel driver differ in version; reboot after a driver update",
    "NVML_ERROR_NO_PERMISSION": "no permission to read this GPU; run as a user who may, or ask the administrator",
    "NVML_ERROR_NOT_SUPPORTED": "this GPU has no energy counter (older than Volta, or a virtual GPU)",
    "NVML_ERROR_FUNCTION_NOT_FOUND": "the driver is too old for the energy counter; update it",
    "NVML_ERROR_GPU_IS_LOST": "the GPU has fallen off the bus; reboot",
    "NVML_ERROR_RESET_REQUIRED": "the GPU needs a reset (nvidia-smi -r) before it can be read",
    "NVML_ERROR_NOT_FOUND": "NVML does not know this GPU's UUID (a container that sees another one?)",
}


def _sentence(pynvml: Any, error: Exception) -> str:
    """One sentence with what to do, for an NVML error."""
    code = getattr(error, "value", None)
    constants = {getattr(pynvml, name): name for name in REASONS if hasattr(pynvml, name)}
    known = constants.get(code)
    return REASONS[known] if known else f"NVML: {error}"


class NvmlCounter:
    """One board's energy counter."""

    source: Literal["nvml"] = "nvml"
    measured = True

    def __init__(self, pynvml: Any, handle: Any, name: str):
        self.boundary = f"GPU board {name}"
        self._pynvml = pynvml
        self._handle = handle

    def read_j(self) -> float:
        """Joules since the driver was loaded."""
        try:
            return int(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000  # mJ
        except self._pynvml.NVMLError as error:
            raise MeterError(_sentence(self._pynvml, error)) from None


def find(uuid: str | None, name: str | None) -> NvmlCounter | Absent:
    """The counter of the GPU with this UUID and name, or why there is none."""
    import pynvml

    if uuid is None:
        return Absent("PyTorch does not tell this GPU's UUID, so NVML's counter cannot be matched to it")
    if uuid.startswith("MIG-"):
        return Absent("under MIG the counter covers the whole GPU, not this instance")
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        found = pynvml.nvmlDeviceGetName(handle)
        found = found.decode() if isinstance(found, bytes) else str(found)
        if name is not None and found != name:
            return Absent(f"NVML calls GPU {uuid} {found!r} but CUDA calls it {name!r}: not the same device")
        if _mig_enabled(pynvml, handle):
            return Absent("MIG is enabled: the counter covers the whole GPU, not one instance")
        counter = NvmlCounter(pynvml, handle, found)
        counter.read_j()
    except pynvml.NVMLError as error:
        return Absent(_sentence(pynvml, error))
    except MeterError as error:
        return Absent(str(error))
    return counter


def _mig_enabled(pynvml: Any, handle: Any) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        return False  # boards without MIG answer NOT_SUPPORTED
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)
