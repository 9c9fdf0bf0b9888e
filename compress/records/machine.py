"""Description of this machine, detailed enough to decide whether two results are comparable."""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from compress.base.cgroup import quota_cores
from compress.base.device import Device
from compress.base.version import __version__
from compress.records.result import Machine

LIBRARIES = (
    "torch", "transformers", "datasets", "accelerate", "optimum-quanto", "bitsandbytes", "torchao",
    "torch-pruning", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "onnxscript", "openvino", "nncf",
    "xllamacpp", "onnxruntime-genai", "numpy", "tokenizers", "safetensors",
    "sentencepiece", "sacrebleu", "rouge-score", "jiwer", "rapidfuzz", "soundfile", "scipy", "pycocotools",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of all installed libraries that can change a figure."""
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def code_version() -> str:
    """Return the package's version and a digest of its source: `0.1.0+1a2b3c4d`."""
    root = Path(__file__).parents[1]
    state = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        state.update(file.relative_to(root).as_posix().encode())
        state.update(file.read_bytes())
    return f"{__version__}+{state.hexdigest()[:8]}"


def _cpu() -> dict[str, Any]:
    """Return model, flags that decide kernels, CPU quota and clock governor, from /proc and /sys if they exist."""
    facts: dict[str, Any] = {"model": platform.processor() or platform.machine(), "threads": os.cpu_count()}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                facts["model"] = value.strip()
            elif key.strip() == "flags":
                relevant = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
                facts["flags"] = [flag for flag in relevant if flag in value.split()]
                break
    quota = quota_cores()
    if quota is not None:
        facts["quota_cores"] = quota
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.is_file():
        facts["governor"] = governor.read_text().strip()
    return facts


def describe(device: Device) -> Machine:
    """Return the machine and the device for a result."""
    details: dict[str, Any] = {"platform": platform.platform(), "cpu": _cpu()}
    if hasattr(os, "getloadavg"):
        details["load_average_1min"] = round(os.getloadavg()[0], 2)
    if hasattr(os, "sysconf"):
        details["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name, uuid = str(details["cpu"]["model"]), None
    if device.on_gpu:
        details["gpus"] = [_gpu(board) for board in device.parts]
        name = " + ".join(gpu["name"] for gpu in details["gpus"])
        uuids = [gpu["uuid"] for gpu in details["gpus"]]
        uuid = None if None in uuids else ",".join(uuids)
    identity = "|".join((platform.node(), str(details["cpu"]), device.kind, name, str(uuid)))
    machine_id = f"{device.kind}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    return Machine(machine_id, str(device), name, uuid, details, versions())


def _gpu(board: Device) -> dict[str, Any]:
    """Return identity and state of a CUDA device."""
    import torch

    from compress.base.devices import identity, torch_device

    device = torch_device(board)
    properties = torch.cuda.get_device_properties(device)
    facts = {
        **identity(device),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }
    return {**facts, **(_nvml_state(facts["uuid"]) if facts["uuid"] is not None else {})}


def _nvml_state(uuid: str) -> dict[str, Any]:
    """Return driver, clocks, power limit, temperature, ECC, MIG and processes of a GPU.

    A value that NVML refuses is None, with the reason in `<key>_reason`.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    except pynvml.NVMLError as error:
        return {"nvml": str(error)}
    queries = {
        "driver": pynvml.nvmlSystemGetDriverVersion,
        "power_limit_w": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        "sm_clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        "event_reasons": lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "ecc": lambda: bool(pynvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0]),
        "processes": lambda: [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)],
    }
    answers: dict[str, Any] = {}
    for key, query in queries.items():
        try:
            answers[key] = query()
        except pynvml.NVMLError as error:
            answers[key] = None
            answers[f"{key}_reason"] = str(error)
    return answers
