"""Imports go down the floors only: the table is the architecture."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import ROOT

PACKAGE = ROOT / "compress"
FLOORS: dict[str, int] = {
    # 0: plain values and small tools, no torch
    "errors": 0, "files": 0, "places": 0, "config": 0, "stats": 0, "result": 0, "result_files": 0, "reading": 0,
    "fields": 0, "telemetry": 0, "terminal": 0,
    "owners": 0, "interrupts": 0, "child": 0, "cgroup": 0, "holders": 0, "trace": 0, "trace_shape": 0,
    "verdict": 0, "loss": 0, "soundness": 0, "sessions": 0, "pareto": 0, "odds": 0, "gate": 0, "merge": 0, "carbon": 0,
    "formats": 0, "steps": 0, "progress": 0, "ranks": 0, "quiet": 0, "startup": 0, "locks": 0, "__init__": 0,
    # 1: a model and its data, in memory and on disk
    "workloads": 1, "metrics": 1, "devices": 1, "bundle": 1, "layers": 1, "graph": 1, "graph_model": 1,
    "openvino_graph": 1, "graph_check": 1, "packing": 1, "providers": 1, "checkpoints": 1, "skeleton": 1, "sharing": 1,
    "changes": 1, "artifact": 1, "unsigned": 1, "manifest": 1, "structure": 1,
    # 2: verbs
    "methods": 2, "runtimes": 2, "energy": 2, "measure": 2,
    # 3: one run
    "layer_map": 1, "flipped": 3, "figures": 3, "grades": 3, "job": 3,
    "recipe": 3, "transform": 3, "cost": 3, "runners": 3, "session": 3, "memory": 3, "preflight": 3, "assemble": 3,
    "prequantized": 3, "plan": 3, "memory_gpu": 3, "building": 3, "harness": 3,
    # 4 and 5: pictures, and the command line
    "questions": 4, "completion": 4,
    "report": 4, "verify": 4, "compare": 4, "checkup": 4, "external": 4, "sensitivity": 4, "cli": 5, "__main__": 5,
}  # fmt: skip
RICH_REPR = {("result", "report"), ("recipe", "report"), ("pareto", "report")}
"""`_repr_html_` and `__rich__` only: the import is inside the method."""
SEPARATE = {("methods", "energy"), ("methods", "measure"), ("energy", "methods"), ("measure", "methods")}
"""A method never measures itself; the harness never knows which method ran."""


def part(module: str) -> str:
    """The first name of a dotted module inside the package."""
    return module.split(".", maxsplit=1)[0] or "__init__"


def imports(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, also inside functions, but not for type checking only."""
    tree = ast.parse(file.read_text())
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "compress":
            names = {alias.name for alias in node.names}
            yield from (
                name if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists() else "" for name in names
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("compress."):
            yield str(node.module).removeprefix("compress.")
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("compress.") for a in node.names if a.name.startswith("compress."))


def edges() -> Iterator[tuple[str, str, Path]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        own = file.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for target in imports(file):
            yield part(own), part(target), file


def test_every_module_has_a_floor() -> None:
    modules = {part(p.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")) for p in PACKAGE.rglob("*.py")}
    assert modules <= set(FLOORS)


def test_no_import_goes_up() -> None:
    up = [
        f"{file.relative_to(ROOT)}: {own} imports {target}"
        for own, target, file in edges()
        if FLOORS[own] < FLOORS[target] and own != "__init__" and (own, target) not in RICH_REPR
    ]
    assert not up, "\n".join(up)


def test_methods_and_measuring_do_not_know_each_other() -> None:
    wrong = [f"{file.name}: {own} imports {target}" for own, target, file in edges() if (own, target) in SEPARATE]
    assert not wrong, "\n".join(wrong)
