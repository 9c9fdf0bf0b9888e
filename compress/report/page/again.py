"""How to make a row again: its recipe as a file, and the commands that run and verify it."""

import json
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from compress.records.files import result_path
from compress.records.result import Result
from compress.report.rerun import workload_file
from compress.spec.recipe import Recipe


def commands(result: Result) -> list[str]:
    """Return the commands that rerun this row and verify it."""
    name = str(result.workload.get("name", ""))
    limit = "" if result.limit is None else f" --limit {result.limit}"
    file = result_path(Path(), name, result.name, result.machine.id, result.limit)
    return [
        f"python -m compress run {quote(f'{result.name}.yaml')} --workload {quote(workload_file(name))}{limit}",
        f"python -m compress verify {quote(str(file))}",
    ]


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """Return the settings of a recipe that differ from the defaults as a YAML file for `run`.

    JSON values are valid YAML. A recipe of another version, which this one cannot read, is written in full.
    """
    lines = []
    for key, value in _set(recipe).items():
        if key == "name" or value is None:
            continue
        if key == "steps":
            lines += ["steps:" if value else "steps: []", *(f"  - {json.dumps(step)}" for step in value)]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _set(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the steps, and the settings that differ from the defaults."""
    try:
        read = Recipe.model_validate({key: value for key, value in recipe.items() if key != "name"})
    except ValidationError:
        return recipe
    steps = [{"method": step.method, **step.model_dump(mode="json", exclude_defaults=True)} for step in read.steps]
    return {"steps": steps, **read.model_dump(mode="json", exclude_defaults=True, exclude={"steps"})}
