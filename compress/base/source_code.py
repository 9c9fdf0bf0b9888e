"""A digest of the package's own source, of the parts that something depends on."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def code_digest(parts: Sequence[str], package: Path = PACKAGE) -> str:
    """Return 16 hex digits of the code in `parts`: folders and files, relative to the package.

    Comments, docstrings and formatting do not count: they change no result.
    """
    state = hashlib.sha256()
    for file in sorted({file for part in parts for file in _files(package / part)}):
        state.update(file.relative_to(package).as_posix().encode())
        state.update(ast.dump(_bare(ast.parse(file.read_bytes()))).encode())
    return state.hexdigest()[:16]


def _files(place: Path) -> Iterator[Path]:
    return place.rglob("*.py") if place.is_dir() else iter((place,))


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings, those of attributes included: strings that stand alone as statements."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
