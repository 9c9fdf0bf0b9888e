"""Tests use the package as its users and its other rooms do: no test names a private part of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGES = ("compress", "recipes")
PRIVATE = re.compile(r"_[a-zA-Z]\w*(?<!_)")
"""One leading underscore and none at the end: `__file__` and `_repr_html_` are Python's and Jupyter's names."""
DOTTED = re.compile(r"\.(_[a-zA-Z]\w*)")
"""An attribute in a text: a path to patch, or a program for a child process."""
BY_NAME = ("setattr", "getattr", "delattr", "hasattr", "object", "attrgetter", "methodcaller")
"""Functions that reach an attribute by its name as text; `object` is that of `unittest.mock.patch`."""


def private_definitions(tree: ast.Module) -> set[str]:
    """Return the private names of functions, classes, variables, parameters and fields that a file defines."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return {name for name in names if PRIVATE.fullmatch(name)}


def syntax_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def private_names() -> set[str]:
    """Return all private names that the package and the recipes define."""
    return {
        name
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for name in private_definitions(syntax_tree(file))
    }


def mentions(tree: ast.Module) -> Iterator[tuple[int, object]]:
    """Yield line and name of every private name that a file imports, reads of an object, or has in a text."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=aliases) if module.split(".")[0] in PACKAGES:
                yield from ((node.lineno, part) for alias in aliases for part in (*module.split("."), alias.name))
            case ast.Import(names=aliases):
                yield from ((node.lineno, part) for alias in aliases for part in alias.name.split("."))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.Constant(value=str(text)):
                yield from ((node.lineno, name) for name in DOTTED.findall(text))
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=given) if called in BY_NAME:
                yield from ((arg.lineno, arg.value) for arg in given if isinstance(arg, ast.Constant))


def violations(tree: ast.Module, private: set[str]) -> list[str]:
    """Return where a test names a private part of the package; a file may name what it defines itself."""
    forbidden = private - private_definitions(tree)
    return [f"{line}: {name}" for line, name in mentions(tree) if name in forbidden]


def test_no_test_names_a_private_part_of_the_package() -> None:
    private = private_names()
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100 and len(private) > 100
    assert not [f"{file.relative_to(ROOT)}:{line}" for file in files for line in violations(syntax_tree(file), private)]


@pytest.mark.parametrize(
    "program",
    [
        "from compress.harness.plan import _planted",
        "def test():\n    from recipes import _planted",
        "import compress._planted",
        "from compress._planted import x",
        "from compress.harness import plan\nplan._planted()",
        "model.layer._planted",
        "monkeypatch.setattr(plan, '_planted', 1)",
        "patch('compress.harness.plan._planted')",
        "setattr(plan, name, getattr(plan, '_planted'))",
        "CHILD = 'from compress.harness import plan\\nplan._planted = None'",
        "text = f'compress.harness.plan._planted{1}'",
    ],
)
def test_a_planted_private_name_is_found(program: str) -> None:
    assert violations(ast.parse(program), {"_planted"})


@pytest.mark.parametrize(
    "program",
    [
        "class Own:\n    def __init__(self):\n        self._planted = 1\nown = Own()\nown._planted",
        "class Own(Base):\n    def f(self):\n        self._planted()",
        "import torch._dynamo\ntorch._dynamo.reset()",
        "name.endswith('_other')",
        "result._repr_html_()",
    ],
)
def test_names_of_the_test_itself_and_of_libraries_are_free(program: str) -> None:
    assert not violations(ast.parse(program), {"_planted"})
