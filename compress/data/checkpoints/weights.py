"""Which tensors a folder's safetensors files hold, read from their headers.

    8 bytes: length n of the header | n bytes of JSON: name -> dtype, shape, [begin, end] | the tensors' bytes

transformers takes model.safetensors, or the files that model.safetensors.index.json lists, or pytorch_model.bin.
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
MOST_VALUES = 2**48  # of a tensor, its empty dimensions aside; torch counts to 2^63
MOST_LETTERS = 255  # of the name of a file
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "C64": 64,
}  # fmt: skip
WRAPPER = re.compile(r"^(?:(?:_orig_mod|module)\.)+")
"""What torch.compile and DistributedDataParallel put before tensors' names; torch.compile also inside them."""
INSIDE = "._orig_mod."


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """All tensors of a folder's weights, by the names in the files."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def wrapped(self) -> str | None:
        """A name with a wrapper's prefix, or None; only where every tensor could have come from a wrapped model."""
        found = next((name for name in self.tensors if unwrapped(name) != name), None)
        return found if found and len({unwrapped(name) for name in self.tensors}) == len(self.tensors) else None


def unwrapped(name: str) -> str:
    """Return a tensor's name without the prefixes of torch.compile and DistributedDataParallel."""
    return WRAPPER.sub("", name).replace(INSIDE, ".")


def renames(path: Path) -> dict[str, str]:
    """Return the argument `key_mapping` of from_pretrained for a folder's weights; empty where names are plain."""
    held, _ = stored(path)
    if held is None or not held.wrapped:
        return {}
    prefixes = {found.group() for name in held.tensors if (found := WRAPPER.match(name))}
    return {**{f"^{re.escape(p)}": "" for p in sorted(prefixes, key=len, reverse=True)}, re.escape(INSIDE): "."}


def stored(path: Path) -> tuple[Stored | None, list[str]]:
    """Return the tensors of a folder's weights and what is wrong with its files; None where headers do not tell."""
    try:
        files, wanted = _files(path)
    except InputError as error:
        return None, list(error.problems)
    if not files:
        return None, []
    tensors: dict[str, Tensor] = {}
    problems: list[str] = []
    for file in files:
        try:
            tensors |= read_header(file)
        except InputError as error:
            problems += error.problems
    if problems:
        return None, problems
    lacking = sorted(name for name in wanted if name not in tensors)
    if lacking:
        problems = [f"{INDEX} lists {lacking[0]} ({len(lacking)} such), which none of its files holds; save it again"]
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
        placed = content["weight_map"]
        if not placed or not all(isinstance(name, str) for name in placed.values()):
            raise ValueError("weight_map names no files")
        if not isinstance(content["metadata"], dict):
            raise ValueError("metadata is no mapping")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{INDEX} cannot be read ({type(error).__name__}: {error}); save or download it again"
        ) from None
    names = sorted(set(placed.values()))
    if outside := [name for name in names if not _names_file(name)]:
        raise InputError(f"{INDEX} names the file {shortened(repr(outside[0]))}; expected names of files beside it")
    if missing := [name for name in names if not (index.parent / name).exists()]:
        raise InputError(f"has {len(names) - len(missing)} of {len(names)} files of weights; {missing[0]} is missing")
    return [index.parent / name for name in names], placed


def _names_file(name: str) -> bool:
    """Return whether a name is that of a file in the same folder."""
    return Path(name).name == name not in ("", "..") and "\0" not in name and len(name) <= MOST_LETTERS


def read_header(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises InputError for one that is cut off, damaged or another file."""
    if is_pointer(file):
        return {}  # said of the folder
    if problem := file_problem(file):
        raise InputError(problem)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= min(size - 8, MOST_HEADER_BYTES):
                what = "is empty" if size == 0 else f"is no safetensors file, or cut off ({size} bytes)"
                raise InputError(f"{file.name} {what}; download or save it again")
            header: Any = json.loads(stream.read(length))
        notes = header.pop("__metadata__", None) or {}
        if not all(isinstance(value, str) for value in notes.values()):
            raise TypeError("__metadata__ maps names to texts")
        found = {name: Tensor(str(each["dtype"]), _whole(each["shape"])) for name, each in header.items()}
        spans = [(_whole(each["data_offsets"]), name) for name, each in header.items()]
        places = sorted((begin, end, name) for (begin, end), name in spans)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise InputError(f"{file.name} has no readable header; it is damaged: download or save it again") from None
    _check_places(file, found, places, size - 8 - length)
    return found


def _whole(values: Iterable[Any]) -> tuple[int, ...]:
    """Return whole numbers. Raises TypeError where one of them is none."""
    numbers = tuple(values)
    if any(type(number) is not int for number in numbers):
        raise TypeError(f"{numbers}: expected whole numbers")
    return numbers


def _check_places(file: Path, found: Mapping[str, Tensor], places: list[tuple[int, int, str]], held: int) -> None:
    """Raise InputError where the tensors do not cover the file's bytes one after another, each by its own size."""
    needed = max((end for _, end, _ in places), default=0)
    if needed != held:
        raise InputError(
            f"{file.name} is cut off or damaged: its header lists {needed} bytes of tensors, the file holds {held}; "
            "download or save it again"
        )
    gaps = any(one[1] != two[0] for one, two in pairwise(places))
    for begin, end, name in places:
        tensor = found[name]
        bits = BITS.get(tensor.dtype)
        if prod(max(n, 1) for n in tensor.shape) > MOST_VALUES:
            shape = shortened(str(list(tensor.shape)))
            raise InputError(f"{file.name} is damaged: {name} has the shape {shape}; save it again")
        if (
            gaps
            or any(n < 0 for n in tensor.shape)
            or (bits is not None and prod(tensor.shape) * bits != 8 * (end - begin))
        ):
            raise InputError(f"{file.name} is damaged: {name} does not lie where its header says; save it again")
