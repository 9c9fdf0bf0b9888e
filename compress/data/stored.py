"""Detection of checkpoints with quantized weights, before any weight is loaded.

`config.json` names the format in `quantization_config`. Without it, transformers would read integer or 8-bit
floating-point codes as the weights themselves and lose their scales.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.data.checkpoints.folder import weights_read

MEASURED = ("nf4", "fp4", "llm_int8")
"""Formats that are measured unchanged: those of bitsandbytes, which layers and artifacts of this package use too."""
BITS_FIELDS = ("bits", "w_bit", "nbits")
FLOATS = ("F64", "F32", "F16", "BF16")
UNQUANTIZED = "start from the unquantized checkpoint"
ARTIFACT = "is an artifact of compress whose model plain transformers cannot load; use the model it was made from"
HEADER_BYTES = 100_000_000  # safetensors' own limit


def stored_format(config: Mapping[str, Any]) -> str | None:
    """Return the weight format that a config.json states, such as nf4 or `gptq int4`; None for floating point."""
    settings = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(settings, Mapping):
        return None
    method = str(settings.get("quant_method") or "")
    if settings.get("load_in_4bit") or method == "bitsandbytes_4bit":
        return str(settings.get("bnb_4bit_quant_type") or "fp4")
    if settings.get("load_in_8bit") or method == "bitsandbytes_8bit":
        return "llm_int8"
    bits = next((settings[name] for name in BITS_FIELDS if isinstance(settings.get(name), int)), None)
    if isinstance(weights := settings.get("weights"), str):
        return f"{method} {weights}".strip()
    return f"{method or 'an unnamed format'}{f' int{bits}' if bits else ''}"


def is_foreign_artifact(folder: Path) -> bool:
    """Return whether a folder is an artifact of this package that plain transformers cannot load."""
    return (folder / "manifest.json").is_file() and not any(folder.glob("model*.safetensors"))


def folder_problem(folder: Path) -> str | None:
    """Return why a recipe cannot start from a folder's weights, beyond what config.json states; or None."""
    files = [file for file in weights_read(folder) if file.suffix == ".safetensors" and file.is_file()]
    if not files and any(folder.glob("*.gguf")):
        return f"holds GGUF files, which are quantized already; {UNQUANTIZED}, as safetensors"
    for file in files:
        for name, dtype in _weights(file):
            if dtype not in FLOATS:
                return (
                    f"{file.name} stores {name} as {dtype}, without a quantization_config in config.json; {UNQUANTIZED}"
                )
    return None


def _weights(file: Path) -> list[tuple[str, str]]:
    """Return (name, dtype) of each weight in a safetensors file, from its header; empty if it is unreadable."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length < HEADER_BYTES else b""
    try:
        entries = json.loads(header)
    except ValueError:
        return []  # loading it reports the error
    if not isinstance(entries, dict):
        return []
    dtypes = [(name, entry.get("dtype")) for name, entry in entries.items() if isinstance(entry, dict)]
    return [(name, str(dtype)) for name, dtype in dtypes if name.endswith("weight")]
