"""The tensors of a folder's safetensors files, read from their headers.

    8 bytes: length n of the header | n bytes of JSON: name -> dtype, shape, [begin, end] | the tensors' bytes

transformers reads model.safetensors, or the files in model.safetensors.index.json, or pytorch_model.bin.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.reading import shortened
from compress.data.checkpoints.files import INDEX, WHOLE, file_problem, read_json
from compress.data.checkpoints.folder import is_pointer

MOST_HEADER_BYTES = 32 * 1024**2
MOST_VALUES = 2**48  # of a tensor, without its empty dimensions; torch's limit is 2^63
MOST_LETTERS = 255  # of a file name
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "C64": 64,
}  # fmt: skip
WRAPPER = re.compile(r"^(?:(?:_orig_mod|module)\.)+")
"""Prefixes that torch.compile and DistributedDataParallel add to tensor names; torch.compile also adds `INSIDE`."""
INSIDE = "._orig_mod."


@dataclass(frozen=True)
class Tensor:
    """A tensor's description in its file's header."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """All tensors of a folder's weights, by the names in the files."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def wrapped(self) -> str | None:
        """A name with a wrapper's prefix, or None. Set only if unwrapping keeps all names distinct."""
        first = next((name for name in self.tensors if unwrapped(name) != name), None)
        return first if first and len({unwrapped(name) for name in self.tensors}) == len(self.tensors) else None


def unwrapped(name: str) -> str:
    """Return a tensor's name without the prefixes of torch.compile and DistributedDataParallel."""
    return WRAPPER.sub("", name).replace(INSIDE, ".")


def renames(path: Path) -> dict[str, str]:
    """Return the argument `key_mapping` of from_pretrained for a folder's weights; empty without wrapper prefixes."""
    weights, _ = stored(path)
    if weights is None or not weights.wrapped:
        return {}
    prefixes = {match.group() for name in weights.tensors if (match := WRAPPER.match(name))}
    return {**{f"^{re.escape(p)}": "" for p in sorted(prefixes, key=len, reverse=True)}, re.escape(INSIDE): "."}


def stored(path: Path) -> tuple[Stored | None, list[str]]:
    """Return the tensors of a folder's weights and the errors of its files; None if no headers are readable."""
    try:
        files, listed = _files(path)
    except InputError as error:
        return None, list(error.problems)
    if not files:
        return None, []
    tensors: dict[str, Tensor] = {}
    problems: list[str] = []
    file_of: dict[str, str] = {}
    for file in files:
        try:
            header = read_header(file)
        except InputError as error:
            problems += error.problems
            continue
        twice = sorted(header.keys() & file_of.keys())
        if twice:
            problems.append(
                f"{twice[0]} is in {file_of[twice[0]]} and in {file.name} ({len(twice)} in total); expected every "
                "tensor in one file: save the model again"
            )
        tensors |= header
        file_of |= dict.fromkeys(header, file.name)
    if problems:
        return None, problems
    missing = sorted(name for name in listed if name not in tensors)
    if missing:
        problems = [
            f"{INDEX} lists {missing[0]} ({len(missing)} in total), which is in none of its files; save it again"
        ]
    return Stored(tensors), problems


def _files(path: Path) -> tuple[list[Path], Iterable[str]]:
    """Return the files that transformers would read, and the tensors that their index lists."""
    whole, index = path / WHOLE, path / INDEX
    if whole.exists():
        return [whole], ()
    if index.exists():
        return _sharded(index)
    loose = sorted(file.name for file in path.glob("*.safetensors") if not file.name.startswith("adapter_"))
    if loose and not any(path.glob("pytorch_model*.bin")):
        raise InputError(
            f"has {loose[0]}{f' and {len(loose) - 1} more' if len(loose) > 1 else ''}, but no {WHOLE} or {INDEX}; "
            "rename a single file, or download the index as well"
        )
    return [], ()


def _sharded(index: Path) -> tuple[list[Path], Iterable[str]]:
    try:
        content = read_json(index)
        file_of = content["weight_map"]
        if not file_of or not all(isinstance(name, str) for name in file_of.values()):
            raise ValueError("weight_map names no files")
        if not isinstance(content["metadata"], dict):
            raise ValueError("metadata is not a mapping")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{INDEX} cannot be read ({type(error).__name__}: {error}); save or download it again"
        ) from None
    names = sorted(set(file_of.values()))
    if outside := [name for name in names if not _names_file(name)]:
        raise InputError(f"{INDEX} names the file {shortened(repr(outside[0]))}; expected files in the same folder")
    if missing := [name for name in names if not (index.parent / name).exists()]:
        raise InputError(f"has {len(names) - len(missing)} of {len(names)} weight files; {missing[0]} is missing")
    return [index.parent / name for name in names], file_of


def _names_file(name: str) -> bool:
    """Return whether a name is a file name without a folder part."""
    return Path(name).name == name not in ("", "..") and "\0" not in name and len(name) <= MOST_LETTERS


def read_header(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError if it is truncated, damaged or another format."""
    if is_pointer(file):
        return {}  # reported by the folder check
    if problem := file_problem(file):
        raise InputError(problem)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= min(size - 8, MOST_HEADER_BYTES):
                what = "is empty" if size == 0 else f"is not a safetensors file, or truncated ({size} bytes)"
                raise InputError(f"{file.name} {what}; download or save it again")
            header: Any = json.loads(stream.read(length))
        metadata = header.pop("__metadata__", None) or {}
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("__metadata__ maps names to texts")
        tensors = {name: Tensor(str(entry["dtype"]), _integers(entry["shape"])) for name, entry in header.items()}
        spans = [(_integers(entry["data_offsets"]), name) for name, entry in header.items()]
        places = sorted((begin, end, name) for (begin, end), name in spans)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise InputError(f"{file.name} has no readable header; it is damaged: download or save it again") from None
    _check_places(file, tensors, places, size - 8 - length)
    return tensors


def _integers(values: Iterable[Any]) -> tuple[int, ...]:
    """Return whole numbers as a tuple. Raises TypeError for any other value."""
    numbers = tuple(values)
    if any(type(number) is not int for number in numbers):
        raise TypeError(f"{numbers}: expected whole numbers")
    return numbers


def _check_places(file: Path, tensors: Mapping[str, Tensor], places: list[tuple[int, int, str]], held: int) -> None:
    """Raise InputError unless the tensors cover the file's bytes without gaps, each with its own size."""
    needed = max((end for _, end, _ in places), default=0)
    if needed != held:
        raise InputError(
            f"{file.name} is truncated or damaged: its header lists {needed} bytes of tensors, the file holds {held}; "
            "download or save it again"
        )
    gaps = any(left[1] != right[0] for left, right in pairwise(places))
    for begin, end, name in places:
        tensor = tensors[name]
        bits = BITS.get(tensor.dtype)
        if prod(max(n, 1) for n in tensor.shape) > MOST_VALUES:
            shape = shortened(str(list(tensor.shape)))
            raise InputError(f"{file.name} is damaged: {name} has the shape {shape}; save it again")
        if (
            gaps
            or any(n < 0 for n in tensor.shape)
            or (bits is not None and prod(tensor.shape) * bits != 8 * (end - begin))
        ):
            raise InputError(f"{file.name} is damaged: {name} does not match its offsets in the header; save it again")
