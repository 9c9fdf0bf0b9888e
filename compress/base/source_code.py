"""Digest of parts of the package's own source, such as the code that an artifact depends on."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def code_digest(parts: Sequence[str], package: Path = PACKAGE) -> str:
    """Return 16 hex digits of the code in `parts`: folders and files, relative to the package.

    Comments, docstrings and formatting are ignored: they change no result.
    """
    state = hashlib.sha256()
    for file in sorted({file for part in parts for file in _files(package / part)}):
        state.update(file.relative_to(package).as_posix().encode())
        state.update(ast.dump(_without_docstrings(ast.parse(file.read_bytes()))).encode())
    return state.hexdigest()[:16]


def _files(place: Path) -> Iterator[Path]:
    return place.rglob("*.py") if place.is_dir() else iter((place,))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Remove docstrings from a tree, those of attributes included: strings that are statements of their own."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_docstring(statement)]  # type: ignore[attr-defined]
    return tree


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
