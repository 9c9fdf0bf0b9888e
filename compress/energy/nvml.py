"""NVML: the GPU board's own energy counter, in millijoules since the driver was loaded (Volta or newer).

The device is found by UUID or PCI address, never by index: NVML's order need not be CUDA's. Two figures come from it:
the counter, which moves in steps of 20 to 100 ms, and instant power (field 186), whose integral checks the counter.
`PowerUsage` is an average over a second on Ampere and newer, so it is never used where the instant field exists.

For boards without the counter (before Volta), `Integrated` integrates power instead, and its boundary states so.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from compress.energy import profile
from compress.energy.meters import Absent, Gpu, Meter, MeterError

FIELD_POWER_INSTANT = 186  # nvml.h, NVML_FI_DEV_POWER_INSTANT: milliwatts
SCOPE_GPU, SCOPE_MODULE = 0, 1  # nvml.h, NVML_POWER_SCOPE_*
GRACE = re.compile(r"\bG[HB]\d+")  # GH200, GB200, GB300, GB10: GPU and CPU in one module
STEP_S = 0.1  # of A100 and H100; `doctor` measures the board's own
INTEGRATION_S = 0.05
HARM = 0.02  # relative change of power by frequent reading; above it, readings near an edge would distort the result
REASONS: dict[str, str] = {
    "NVML_ERROR_LIBRARY_NOT_FOUND": "the NVIDIA driver's NVML library is not installed; install the driver",
    "NVML_ERROR_DRIVER_NOT_LOADED": "the NVIDIA driver is not loaded; load it (modprobe nvidia) or reboot",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "NVML and the kernel driver differ in version; reboot after a driver update",
    "NVML_ERROR_NO_PERMISSION": "no permission to read this GPU; run as a user who may, or ask the administrator",
    "NVML_ERROR_NOT_SUPPORTED": "this GPU has no energy counter (older than Volta, or a virtual GPU)",
    "NVML_ERROR_FUNCTION_NOT_FOUND": "the driver is too old for the energy counter; update it",
    "NVML_ERROR_GPU_IS_LOST": "the GPU has fallen off the bus; reboot",
    "NVML_ERROR_RESET_REQUIRED": "the GPU needs a reset (nvidia-smi -r) before it can be read",
    "NVML_ERROR_NOT_FOUND": "NVML does not know this GPU (a container that sees another one?)",
    "NVML_ERROR_GPU_NOT_FOUND": "NVML finds no GPU at all; check nvidia-smi, and how the container was given one",
    "NVML_ERROR_UNINITIALIZED": "NVML was shut down by other code in this process; remove its nvmlShutdown call",
    "NVML_ERROR_INVALID_ARGUMENT": "the driver rejects the arguments of the call; update nvidia-ml-py or the driver",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH": "nvidia-ml-py is newer than the driver; update the driver",
    "NVML_ERROR_DEPRECATED": "the driver no longer supports this query; update nvidia-ml-py",
    "NVML_ERROR_INSUFFICIENT_POWER": "the board's power cables are not all connected; connect them",
    "NVML_ERROR_TIMEOUT": "the driver did not answer in time; end what keeps the GPU busy, or reset it (nvidia-smi -r)",
    "NVML_ERROR_IRQ_ISSUE": "the driver has trouble with the GPU's interrupts; reboot, and see dmesg",
    "NVML_ERROR_CORRUPTED_INFOROM": "the board's own memory (infoROM) is damaged; it has to be serviced",
    "NVML_ERROR_OPERATING_SYSTEM": "the operating system keeps the driver from the GPU (a cgroup?); see dmesg",
    "NVML_ERROR_IN_USE": "another process holds the GPU for itself; end it (nvidia-smi shows it)",
    "NVML_ERROR_MEMORY": "the driver is out of memory; end other processes",
    "NVML_ERROR_INSUFFICIENT_RESOURCES": "the driver is out of resources; end other processes",
    "NVML_ERROR_NO_DATA": "the driver has no reading yet; try again in a second",
    "NVML_ERROR_NOT_READY": "the GPU is not ready yet; try again in a minute",
    "NVML_ERROR_INVALID_STATE": "the GPU is in a state that cannot be read; reset it (nvidia-smi -r)",
    "NVML_ERROR_UNKNOWN": "the driver failed without a reason; see nvidia-smi and dmesg, then reboot",
}


def sentence(pynvml: Any, error: Exception) -> str:
    """Return one sentence for an NVML error, with the remedy."""
    code = getattr(error, "value", None)
    constants = {getattr(pynvml, name): name for name in REASONS if hasattr(pynvml, name)}
    known = constants.get(code)
    return REASONS[known] if known else f"NVML: {error}; see nvidia-smi -q, which queries the same driver"


class NvmlCounter(Meter):
    """The energy counter of one board."""

    source = "nvml"
    step_s = STEP_S
    uuid: str = ""
    driver = ""
    harmed_by_reading = True  # until `doctor` has shown the opposite

    def __init__(self, pynvml: Any, handle: Any, name: str):
        module = GRACE.search(name) is not None
        self.boundary = f"GPU board {name}" + " and its Grace CPU (one module)" * module
        self._scope = SCOPE_MODULE if module else SCOPE_GPU
        self._pynvml = pynvml
        self._handle = handle

    def read_uj(self) -> int:
        """Return the microjoules since the driver was loaded."""
        try:
            return 1000 * int(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))  # mJ
        except self._pynvml.NVMLError as error:
            raise MeterError(sentence(self._pynvml, error)) from None

    def state(self) -> Mapping[str, int | None]:
        """Return power_mw (instant), sm_mhz, memory_mhz, temperature_c and events (bits); unknown is None."""
        nvml, handle = self._pynvml, self._handle
        return {
            "power_mw": self.power_mw(),
            "sm_mhz": self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "memory_mhz": self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            "temperature_c": self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            "events": self._events(),
        }

    def _events(self) -> int | None:
        """Return the event bits, by the current function name or the one of drivers before 535."""
        nvml, handle = self._pynvml, self._handle
        bits = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        return self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) if bits is None else bits

    def power_mw(self) -> int | None:
        """Return instant power in milliwatts; None if not reported. The field has its own return code."""
        nvml = self._pynvml
        try:
            (value,) = nvml.nvmlDeviceGetFieldValues(self._handle, [(FIELD_POWER_INSTANT, self._scope)])
        except nvml.NVMLError:
            return None
        return int(value.value.uiVal) if value.nvmlReturn == nvml.NVML_SUCCESS else None

    def processes(self) -> tuple[int, ...] | None:
        """Return the driver's ids of the compute and graphics processes on the board; None if it does not list them."""
        nvml, pids = self._pynvml, set[int]()
        try:
            for query in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
                pids |= {int(p.pid) for p in query(self._handle)}
        except nvml.NVMLError:
            return None
        return tuple(sorted(pids))

    def _ask(self, question: Callable[[], Any]) -> int | None:
        try:
            return int(question())
        except self._pynvml.NVMLError:
            return None


class Integrated(NvmlCounter):
    """A board without the counter: a thread reads its power every 50 ms and integrates it."""

    step_s = INTEGRATION_S
    integrated = True
    harmed_by_reading = False

    def __init__(self, pynvml: Any, handle: Any, name: str):
        super().__init__(pynvml, handle, name)
        averaged = "" if self.power_mw() is not None else "; each reading averages up to a second"
        self.boundary += f", power integrated (no energy counter{averaged})"
        self._total_uj = 0
        self._error: str | None = None
        self._last = (time.monotonic_ns(), self._watts_mw())
        threading.Thread(target=self._integrate, name="compress-power", daemon=True).start()

    def read_uj(self) -> int:
        """Return the microjoules since this meter was created."""
        if self._error is not None:
            raise MeterError(self._error)
        return self._total_uj

    def _integrate(self) -> None:
        while self._error is None:
            time.sleep(INTEGRATION_S)
            try:
                now = (time.monotonic_ns(), self._watts_mw())
            except MeterError as error:
                self._error = str(error)
                return
            (before_ns, before_mw), self._last = self._last, now
            self._total_uj += (now[0] - before_ns) * (now[1] + before_mw) // 2_000_000  # ns mW = 1e-6 uJ

    def _watts_mw(self) -> int:
        power = self.power_mw()
        if power is not None:
            return power
        try:
            return int(self._pynvml.nvmlDeviceGetPowerUsage(self._handle))
        except self._pynvml.NVMLError as error:
            raise MeterError(sentence(self._pynvml, error)) from None


def find(gpu: Gpu) -> NvmlCounter | Absent:
    """Return the counter of this GPU, or the reason for its absence."""
    import pynvml

    if gpu.uuid is None and gpu.pci is None:
        return Absent(
            "PyTorch reports neither UUID nor PCI address of this GPU, so no NVML counter can be matched to it"
        )
    if gpu.uuid is not None and gpu.uuid.startswith("MIG-"):
        return Absent("under MIG the counter covers the whole GPU, not this instance")
    try:
        pynvml.nvmlInit()
        handle = _handle(pynvml, gpu)
        name = _text(pynvml.nvmlDeviceGetName(handle))
        if gpu.name is not None and name != gpu.name:
            return Absent(
                f"NVML calls GPU {gpu.uuid or gpu.pci} {name!r} but CUDA calls it {gpu.name!r}: not the same device"
            )
        problem = _partial_device(pynvml, handle) or _memory_mismatch(pynvml, handle, gpu.memory_bytes)
        if problem:
            return Absent(problem)
        counter = NvmlCounter(pynvml, handle, name)
        _apply_profile(counter, pynvml, handle, name)
        try:
            counter.read_uj()
        except MeterError as error:
            return _integrated(pynvml, handle, name, str(error))
    except pynvml.NVMLError as error:
        return Absent(sentence(pynvml, error))
    return counter


def seen() -> tuple[str, ...] | Absent:
    """Return name, UUID and PCI address of every GPU in NVML's order, independent of CUDA; or why NVML sees none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            f"{_text(pynvml.nvmlDeviceGetName(h))}, {_text(pynvml.nvmlDeviceGetUUID(h))}, "
            f"PCI {_text(pynvml.nvmlDeviceGetPciInfo(h).busId)}"
            for h in handles
        )
    except pynvml.NVMLError as error:
        return Absent(sentence(pynvml, error))


def _handle(pynvml: Any, gpu: Gpu) -> Any:
    """Return the handle by UUID; by PCI address without a UUID, or if NVML does not know it (an instance under MIG)."""
    if gpu.uuid is not None:
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid if gpu.uuid.startswith("GPU-") else f"GPU-{gpu.uuid}")
        except pynvml.NVMLError as error:
            if gpu.pci is None or sentence(pynvml, error) != REASONS["NVML_ERROR_NOT_FOUND"]:
                raise
    return pynvml.nvmlDeviceGetHandleByPciBusId(gpu.pci)


def _apply_profile(counter: NvmlCounter, pynvml: Any, handle: Any, name: str) -> None:
    """Apply the profile that `doctor` made of this board under this driver, or the known one of its name."""
    counter.uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
    counter.driver = _text(pynvml.nvmlSystemGetDriverVersion())
    own = profile.load(counter.uuid, counter.driver)
    counter.examined = None if own is None else own.made
    known = own or profile.KNOWN.get(name)
    if known is not None:
        counter.step_s, counter.misread, counter.like_another = known.step_s, known.misread, own is None
        counter.harmed_by_reading = known.reading_harm is None or abs(known.reading_harm) > HARM


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _integrated(pynvml: Any, handle: Any, name: str, why: str) -> NvmlCounter | Absent:
    """Return a meter of integrated power if only the counter is missing; Absent with `why` for any other error."""
    if why != REASONS["NVML_ERROR_NOT_SUPPORTED"]:
        return Absent(why)
    try:
        return Integrated(pynvml, handle, name)
    except MeterError:
        return Absent(why)


def _partial_device(pynvml: Any, handle: Any) -> str | None:
    """Return why the board's counter would cover more than the model's device, or None."""
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
        if current == pynvml.NVML_DEVICE_MIG_ENABLE:
            return "MIG is enabled: the counter covers the whole GPU, not one instance"
    except pynvml.NVMLError:
        pass  # boards without MIG answer NOT_SUPPORTED
    try:
        if pynvml.nvmlDeviceGetVirtualizationMode(handle) == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            return "this is a virtual GPU (vGPU): its counter is missing or covers the whole board"
    except pynvml.NVMLError:
        pass  # drivers without virtualization
    return None


def _memory_mismatch(pynvml: Any, handle: Any, memory_bytes: int | None) -> str | None:
    """Return why the board's memory differs from CUDA's device, or None; CUDA sees a few percent less than NVML."""
    if memory_bytes is None:
        return None
    total = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    if not 0.85 * total <= memory_bytes <= total:
        return f"NVML's board has {total} bytes of memory, CUDA's device {memory_bytes}: not the same device"
    return None
