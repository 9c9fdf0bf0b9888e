"""Imports go down the list of rooms only; the tuple is the architecture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGE = ROOT / "compress"
ROOMS = (
    "base", "spec", "records", "analysis", "energy", "data", "model", "export", "methods", "report", "measure",
    "harness", "cli",
)  # fmt: skip
"""A room imports itself and the rooms before it."""
SEPARATE = ({"methods", "energy"}, {"methods", "measure"})
"""A method never measures itself; the harness never knows which method ran."""
ENTRANCES = ("__init__.py", "__main__.py")
"""Public names and the command line: they may import every room."""


def imports_of(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, also inside functions and for type checking, as `room.module`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["compress.relative imports"]
        else:
            continue
        yield from (name.removeprefix("compress.") for name in names if name.split(".")[0] == "compress")


def violations(package: Path) -> list[str]:
    """Imports that break the rule, one sentence each."""
    found = []
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        if len(place.parts) == 1:
            if place.name not in ENTRANCES:
                found.append(f"{place}: lies in no room")
            continue
        room = place.parts[0]
        for name in imports_of(file):
            target = name.split(".")[0]
            if room not in ROOMS or target not in ROOMS:
                found.append(f"{place}: imports {name}; one of them is in no room")
            elif ROOMS.index(target) > ROOMS.index(room) or {room, target} in SEPARATE:
                found.append(f"{place}: imports {name}, and {room} may not import {target}")
    return found


def graph(package: Path) -> dict[str, set[str]]:
    """Module -> modules that it imports; a package stands for its `__init__`."""
    modules = {
        ".".join(f.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): f
        for f in package.rglob("*.py")
        if f.parent != package
    }
    edges: dict[str, set[str]] = {}
    for module, file in modules.items():
        targets = (t if t in modules else t.rpartition(".")[0] for t in imports_of(file))
        edges[module] = {t for t in targets if t in modules and t != module}
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules of one circle of imports, or none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for target in sorted(edges[module]):
            if found := visit(target, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(edges) if (found := visit(module, []))), [])


def test_no_import_breaks_the_order_of_rooms() -> None:
    assert not violations(PACKAGE), "\n".join(violations(PACKAGE))


def test_no_circle_of_imports() -> None:
    assert not circle(graph(PACKAGE)), " -> ".join(circle(graph(PACKAGE)))


@pytest.mark.parametrize(
    ("place", "line", "told"),
    [
        ("base/files.py", "def f():\n    from compress.cli import running\n", "base may not import cli"),
        ("methods/cast.py", "from compress.energy.find import find_meter\n", "methods may not import energy"),
        ("utils.py", "", "lies in no room"),
        (
            "base/files.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import compress.spec.recipe\n",
            "spec",
        ),
    ],
    ids=["upward inside a function", "between separate rooms", "outside of rooms", "for type checking"],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, line: str, told: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(line)
    assert any(told in sentence for sentence in violations(tmp_path))


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/one.py").write_text("from compress.base import two\n")
    (tmp_path / "base/two.py").write_text("def f():\n    from compress.base.one import g\n")
    assert sorted(circle(graph(tmp_path))) == ["base.one", "base.two"]
