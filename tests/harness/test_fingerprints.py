"""Fingerprints follow what artifacts and results depend on: an edit of a report repeats no work."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import compress
from compress.base.source_code import code_digest
from compress.harness.fingerprints import ARTIFACT_CODE, RESULT_CODE
from tests.helpers import environment

PACKAGE = Path(compress.__file__).parent
PLAN = """
import json, sys
from compress import Recipe
from compress.base.device import CPU
from compress.harness.plan import Options, plan
from compress.records.machine import describe
planned, = plan([Recipe(name="one")], Options(sys.argv[1], "cpu"), describe(CPU))
print(json.dumps([planned.transform_fingerprint, planned.fingerprint]))
"""


def planned_fingerprints(package: Path, workload: Path) -> list[str]:
    """Fingerprints of artifact and result that a copy of the package plans."""
    env = {**environment(), "PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", PLAN, str(workload)]
    done = subprocess.run(command, cwd=package.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fingerprints: list[str] = json.loads(done.stdout.splitlines()[-1])
    return fingerprints


def edit(package: Path, file: str, old: str, new: str) -> None:
    """Replace the first occurrence of a text."""
    path = package / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_an_edit_of_reports_commands_analysis_or_docstrings_plans_the_same_work(tmp_path: Path, workload: Path) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "compress", ignore=shutil.ignore_patterns("__pycache__")))
    shutil.copytree(PACKAGE.parent / "recipes", tmp_path / "recipes")
    before = planned_fingerprints(package, workload)
    for file in ("report/table.py", "cli/reading.py", "analysis/verdict.py"):
        (package / file).write_text((package / file).read_text() + "\nADDED = 1\n")
    (package / "report/added.py").write_text("ADDED = 1\n")
    edit(package, "methods/cast.py", '"""', '"""Otherwise worded. ')
    edit(package, "model/layers.py", "import torch\n", "import torch  # a comment\n\n\n")
    assert planned_fingerprints(package, workload) == before
    (package / "measure/session.py").write_text((package / "measure/session.py").read_text() + "\nADDED = 1\n")
    artifact, result = planned_fingerprints(package, workload)
    assert artifact == before[0]
    assert result != before[1]


@pytest.mark.parametrize("file", ["methods/cast.py", "model/layers.py", "data/loading.py", "harness/transform.py"])
def test_code_that_makes_artifacts_counts(tmp_path: Path, file: str) -> None:
    package = Path(shutil.copytree(PACKAGE, tmp_path / "compress", ignore=shutil.ignore_patterns("__pycache__")))
    (package / file).write_text((package / file).read_text() + "\nADDED = 1\n")
    assert code_digest(ARTIFACT_CODE, package) != code_digest(ARTIFACT_CODE)


def imported_files(file: Path) -> set[Path]:
    """Files of the package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        for name in names:
            if name.startswith("compress."):
                place = PACKAGE.joinpath(*name.split(".")[1:])
                found |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return found


def test_the_code_of_artifacts_is_all_that_transforming_imports() -> None:
    """Except for preflight checks, what they alone import, and the rooms that record what was spent: none of these
    changes a weight."""
    reached, waiting = set(), {PACKAGE / "harness/transform.py"}
    while waiting:
        file = waiting.pop()
        reached.add(file)
        room = file.relative_to(PACKAGE).parts[0]
        if room not in ("analysis", "energy", "records") and file != PACKAGE / "harness/preflight.py":
            waiting |= imported_files(file) - reached
    known = {
        file
        for part in ARTIFACT_CODE
        for file in ([PACKAGE / part], (PACKAGE / part).rglob("*.py"))[(PACKAGE / part).is_dir()]
    }
    missing = {str(file.relative_to(PACKAGE)) for file in reached - known}
    assert {name for name in missing if name.split("/")[0] not in ("analysis", "energy", "records")} == {
        "harness/__init__.py",
        "harness/preflight.py",
    }
    assert set(RESULT_CODE) > set(ARTIFACT_CODE)
