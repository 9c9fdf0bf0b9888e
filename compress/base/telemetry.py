"""Switch off the telemetry of libraries before they are imported: this package sends nothing unasked.

    onnxruntime 1.29+   a DNS look-up, a device id and an event database in the cache folder, even with HF_HUB_OFFLINE
    openvino, nncf      Google Analytics, unless its package is missing: its import is blocked
    hub, transformers   a user agent and usage; a search for converted weights; download counts
    mlflow, wandb, ray  usage and crash reports; trackers still send what they are asked to send

Applied when `compress` is imported: in the measuring process, in notebooks, and in their children. A variable that
the user has set keeps its value.
"""

import os
import sys

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
}
"""Environment variable -> value that switches off a library's telemetry."""
ABSENT = ("openvino_telemetry",)
"""Telemetry packages that openvino and nncf work without; no environment variable switches them off."""


def switch_off() -> None:
    """Switch off the telemetry of libraries in this process and its children."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    for package in ABSENT:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]  # None makes the import fail
    if "onnxruntime" in sys.modules:  # imported before this package, as in a notebook
        sys.modules["onnxruntime"].disable_telemetry_events()
