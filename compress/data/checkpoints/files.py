"""Checks of a model folder's files before reading: regular files of bounded size. Also reads their JSON.

Reading a fifo without a writer blocks, and /dev/zero never ends.
"""

import codecs
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.reading import irregular

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Weights for transformers: the whole file or, without it, the files listed in the index."""
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
"""Name pattern of a file that is read whole -> its largest size in MiB. The first matching pattern counts."""
FOLDERS = ("additional_chat_templates",)
"""Subfolders that are read with the model."""
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def problems(folder: Path) -> list[str]:
    """Return a sentence for each file of a model's folder that is not a regular file or is too large."""
    folders = [folder, *(folder / name for name in FOLDERS if (folder / name).is_dir())]
    files = sorted(file for parent in folders for file in parent.iterdir() if not file.is_dir())
    return [problem for file in files if (problem := file_problem(file))]


def file_problem(file: Path) -> str | None:
    """Return why a file cannot be read whole, or None; None also for a missing file."""
    try:
        if kind := irregular(file):
            return f"{file.name} is {kind}; expected a regular file"
        size = file.stat().st_size
    except (OSError, ValueError):
        return None  # reading it reports the error
    most = next((most for pattern, most in MOST_MIB.items() if fnmatch(file.name, pattern)), None)
    return f"{file.name} has {size} bytes; expected at most {most} MiB" if most and size > most * 2**20 else None


def read_json(file: Path) -> Any:
    """Return the value of a JSON file as transformers reads it: UTF-8 without a byte order mark.

    Raises InputError with a message that begins with the file's name.
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
