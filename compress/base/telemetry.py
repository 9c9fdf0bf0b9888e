"""Nothing that this package runs sends anything by itself: the libraries' own telemetry is off before their import.

    onnxruntime 1.29+   a DNS look-up, a device id and a database of events in the cache folder, whatever HF_HUB_OFFLINE
    openvino, nncf      Google Analytics, unless its package is missing: it is kept from being imported
    hub, transformers   a user agent and usage; a look for converted weights; counts of downloads
    mlflow, wandb, ray  usage and crash reports of their own; what a tracker is asked to send it still sends

Applied when `compress` is imported, so it holds in the measuring process, in notebooks, and for what they start. Where
the user has set one of these variables, that stays.
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
"""Variable -> the value that switches a library's own traffic off."""
ABSENT = ("openvino_telemetry",)
"""Packages that only send; openvino and nncf do without them. They have no variable of their own for it."""


def switch_off() -> None:
    """Switches off what libraries would send by themselves, in this process and those that it starts."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    for package in ABSENT:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]  # how Python is told that an import fails
    if "onnxruntime" in sys.modules:  # a notebook that imported it first
        sys.modules["onnxruntime"].disable_telemetry_events()
