"""Files as others may leave them: real results and traces with a node replaced, or with bytes changed."""

import json
import random
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 10**6, 2**63, -(10**30), 10**400, 0.0, -1.5, 1e-320, 1e308, -1e308, 0.5,
    float("nan"), float("inf"), float("-inf"), "", "NaN", "Infinity", "1", "x" * 20_000, "\ud800", "\x1b[31m", "\x00",
    "../../etc", "ff", [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}, [1, 2, 3],
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


def changed(draw: st.DrawFn, node: Any) -> Any:
    """The same plain value with one to three of its nodes replaced, removed or repeated."""
    made = {"": json.loads(json.dumps(node))}
    for _ in range(draw(st.integers(1, 3))):
        paths = [("", *path) for path in places(made[""])]
        *before, last = paths[draw(st.integers(0, len(paths) - 1))]
        owner: Any = made
        for key in before:
            owner = owner[key]
        what = draw(st.sampled_from(("junk", "junk", "junk", "remove", "deep", "twice")))
        if what == "junk" or (what == "remove" and last == ""):
            owner[last] = draw(st.sampled_from(JUNK))
        elif what == "deep":
            owner[last] = deep(draw(st.sampled_from((40, 150, 5000))))
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


def scrambled(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes cut, or with some replaced, inserted or swapped."""
    generator = random.Random(draw(st.integers(0, 2**32)))
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        place = generator.randrange(len(made) + 1)
        how = draw(st.integers(0, 3))
        if how == 0:
            del made[place:]
        elif how == 1:
            made[place : place + 1] = bytes([generator.randrange(256)])
        elif how == 2:
            made[place:place] = generator.randbytes(4)
        else:
            made[place : place + generator.randrange(64)] = b""
    return bytes(made)


def rewrite(path: Path, data: bytes) -> None:
    """Writes a file that may be a link to one that is shared."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
