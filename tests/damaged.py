"""Files as others may leave them: real results and traces with a node replaced, or with bytes changed."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, str, str]]
"""Runs the command line; gives exit code, standard output and standard error."""
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**6, 2**63, -(10**30), 10**400, 0.0, -1.5, 1e-320, 1e308, -1e308, 0.5,
    float("nan"), float("inf"), float("-inf"), "", "NaN", "Infinity", "1", "x" * 20_000, "\ud800", "\x1b[31m", "\x00",
    "../../etc", "ff", "  ", "\n\n", 2**62, [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}, [1, 2, 3],
)  # fmt: skip
"""What stands in place of a node: other types, extremes, and text that is no text."""


def deep(levels: int) -> Any:
    """A list inside a list, so many times."""
    made: Any = []
    for _ in range(levels):
        made = [made]
    return made


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node."""
    yield path
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def change_nodes(chance: random.Random, node: Any) -> Any:
    """The same plain value with one to three of its nodes replaced, removed or repeated."""
    made = {"": json.loads(json.dumps(node))}
    for _ in range(chance.randint(1, 3)):
        paths = [("", *path) for path in places(made[""])]
        *before, last = chance.choice(paths)
        owner: Any = made
        for key in before:
            owner = owner[key]
        what = chance.choice(("junk", "junk", "junk", "remove", "deep", "twice"))
        if what == "junk" or (what == "remove" and last == ""):
            owner[last] = chance.choice(JUNK)
        elif what == "deep":
            owner[last] = deep(chance.choice((40, 150, 5000)))
        elif what == "twice" and isinstance(owner, MutableSequence):
            owner.insert(last, owner[last])
        elif isinstance(owner, MutableMapping | MutableSequence) and what == "remove":
            del owner[last]
        if isinstance(made[""], dict | list) and what != "deep":
            continue
        break
    return made[""]


def text_of(node: Any) -> bytes:
    """JSON of a plain value, also of one nested too deep for json's own encoder."""
    try:
        return json.dumps(node).encode()
    except RecursionError:
        return b"[" * 100_000


def scramble(chance: random.Random, data: bytes) -> bytes:
    """The same bytes cut, or with some replaced, inserted or swapped."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(made) + 1)
        how = chance.randint(0, 3)
        if how == 0:
            del made[place:]
        elif how == 1:
            made[place : place + 1] = bytes([chance.randrange(256)])
        elif how == 2:
            made[place:place] = chance.randbytes(4)
        else:
            made[place : place + chance.randrange(64)] = b""
    return bytes(made)


def rewrite(path: Path, data: bytes) -> None:
    """Writes a file that may be a link to one that is shared."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
