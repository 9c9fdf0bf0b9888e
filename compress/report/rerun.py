"""The command that makes the model of a result again."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

from pydantic import ValidationError

import recipes
from compress.base.errors import InputError
from compress.records.result import Result
from compress.spec.recipe import Recipe


def rerun(result: Result) -> str:
    """Return the advice to make a result's model again: `run it again: python -m compress run bert_int8 --fresh`."""
    command = rerun_command(result)
    return "run the recipe again (--fresh)" if command is None else f"run it again: {command}"


def rerun_command(result: Result) -> str | None:
    """Return the command that makes the model of a shipped recipe again; None for another recipe.

    A recipe counts as shipped if its steps, runtime and seed are those of the shipped one of its name.
    """
    if not _is_shipped(result.name, result.recipe):
        return None
    workload = str(result.workload.get("name", ""))
    place = "" if workload == Recipe.load(result.name).workload else f" --workload {quote(workload_file(workload))}"
    limit = "" if result.limit is None else f" --limit {result.limit}"
    return f"python -m compress run {result.name}{place}{limit} --fresh"


def workload_file(name: str) -> str:
    """Return the name of a shipped workload, or the file name of another one."""
    known = f"{name}.yaml" in {path.name for path in (recipes.FOLDER / "workloads").iterdir()}
    return name if known else f"{name}.yaml"


def _is_shipped(name: str, fields: Mapping[str, Any]) -> bool:
    if name not in recipes.names():
        return False
    try:
        own = Recipe.model_validate({key: value for key, value in fields.items() if key != "name"})
        return own.transform_fingerprint == Recipe.load(name).transform_fingerprint
    except (ValidationError, InputError):
        return False
