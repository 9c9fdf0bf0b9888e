"""The files of a model's folder before any is read: regular files of at most so many bytes, and their JSON.

A fifo without a writer blocks its reader, and /dev/zero never ends.
"""

import codecs
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.reading import irregular

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""What transformers takes weights from: the one, or else the files that the other lists."""
ADAPTER = "adapter_config.json"
JSON_FILES = ("tokenizer_config.json", "preprocessor_config.json", "generation_config.json", "special_tokens_map.json")
MOST_MIB = {
    "config.json": 16,  # with 100,000 labels 5 MiB
    "preprocessor_config.json": 16,
    "processor_config.json": 16,
    "generation_config.json": 16,
    "special_tokens_map.json": 16,
    ADAPTER: 16,
    "chat_template*": 16,
    "*.py": 16,
    "tokenizer_config.json": 64,
    INDEX: 256,  # DeepSeek-V3's has 9 MiB
    "*token*": 512,  # Gemma's tokenizer.json has 33 MiB
    "vocab*": 512,
    "merges*": 512,
    "*.model": 512,
    "*.spm": 512,
    "*.tiktoken": 512,
    "*.codes": 512,
    "dict*.txt": 512,
    "emoji.json": 16,
}
"""Name of a file that is read whole -> its largest size. The first name that matches counts."""
FOLDERS = ("additional_chat_templates",)
"""Folders inside a model's that are read with it."""
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def problems(folder: Path) -> list[str]:
    """Return a sentence for each file of a model's folder that cannot be read whole: no regular file, or too large."""
    inside = [folder, *(folder / name for name in FOLDERS if (folder / name).is_dir())]
    files = sorted(file for place in inside for file in place.iterdir() if not file.is_dir())
    return [problem for file in files if (problem := file_problem(file))]


def file_problem(file: Path) -> str | None:
    """Return why a file cannot be read whole, or None; also for a file that is not there."""
    try:
        if kind := irregular(file):
            return f"{file.name} is {kind}; expected a regular file"
        size = file.stat().st_size
    except (OSError, ValueError):
        return None  # whoever reads it says why it cannot
    most = next((most for pattern, most in MOST_MIB.items() if fnmatch(file.name, pattern)), None)
    return f"{file.name} has {size} bytes; expected at most {most} MiB" if most and size > most * 2**20 else None


def read_json(file: Path) -> Any:
    """Return the value in a JSON file as transformers reads it: UTF-8 without a mark.

    Raises InputError, a sentence that begins with the file's name.
    """
    if problem := file_problem(file):
        raise InputError(problem)
    try:
        data = file.read_bytes()
        if data.startswith(MARKS):
            raise InputError(f"{file.name} begins with a byte order mark (BOM); save it as UTF-8 without one")
        return json.loads(data.decode())
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file.name} cannot be read ({_reason(error)}); expected JSON: save the model again"
        ) from None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
