"""Checkpoints whose weights are stored in few bits already, recognised before any of them is loaded.

`config.json` names the format in `quantization_config`. Integer or 8-bit floating-point weights without one would be
taken for the weights themselves: transformers converts their numbers, and their scales are lost.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.data.checkpoints.folder import weights_read

MEASURED = ("nf4", "fp4", "llm_int8")
"""Formats that are measured as they are: bitsandbytes', which layers and artifacts here have too."""
BITS_FIELDS = ("bits", "w_bit", "nbits")
FLOATS = ("F64", "F32", "F16", "BF16")
UNQUANTIZED = "start from the unquantized checkpoint"
ARTIFACT = "is an artifact of compress whose model plain transformers cannot load; give the model it was made from"
HEADER_BYTES = 100_000_000  # safetensors' own limit


def stored_format(config: Mapping[str, Any]) -> str | None:
    """The format that a config.json says its weights have, such as nf4 or `gptq int4`; None for floating point."""
    told = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(told, Mapping):
        return None
    method = str(told.get("quant_method") or "")
    if told.get("load_in_4bit") or method == "bitsandbytes_4bit":
        return str(told.get("bnb_4bit_quant_type") or "fp4")
    if told.get("load_in_8bit") or method == "bitsandbytes_8bit":
        return "llm_int8"
    bits = next((told[name] for name in BITS_FIELDS if isinstance(told.get(name), int)), None)
    if isinstance(weights := told.get("weights"), str):
        return f"{method} {weights}".strip()
    return f"{method or 'an unnamed format'}{f' int{bits}' if bits else ''}"


def is_foreign_artifact(folder: Path) -> bool:
    """Return whether a folder is an artifact of this package that plain transformers cannot load."""
    return (folder / "manifest.json").is_file() and not any(folder.glob("model*.safetensors"))


def folder_problem(folder: Path) -> str | None:
    """Return why a recipe cannot start from a folder's weights, as far as config.json does not state it; or None."""
    files = [file for file in weights_read(folder) if file.suffix == ".safetensors" and file.is_file()]
    if not files and any(folder.glob("*.gguf")):
        return f"holds GGUF files, which are quantized already; {UNQUANTIZED}, as safetensors"
    for file in files:
        for name, dtype in _weights(file):
            if dtype not in FLOATS:
                return (
                    f"{file.name} stores {name} as {dtype}, and config.json has no quantization_config that says how "
                    f"to read it; {UNQUANTIZED}"
                )
    return None


def _weights(file: Path) -> list[tuple[str, str]]:
    """(name, type) of each weight in a safetensors file, from its head; none where it cannot be read."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        head = stream.read(length) if length < HEADER_BYTES else b""
    try:
        entries = json.loads(head)
    except ValueError:
        return []  # loading it says what is wrong
    if not isinstance(entries, dict):
        return []
    found = [(name, entry.get("dtype")) for name, entry in entries.items() if isinstance(entry, dict)]
    return [(name, str(dtype)) for name, dtype in found if name.endswith("weight")]
