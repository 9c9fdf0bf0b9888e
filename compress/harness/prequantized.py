"""Recipes on a model whose weights are already stored in few bits: which can run, and why the others cannot."""

from collections.abc import Iterator, Sequence

from compress.base.config import InputError
from compress.data import configuration, loading
from compress.data.source import Source
from compress.data.stored import MEASURED, UNQUANTIZED, stored_format
from compress.spec.recipe import Recipe


def found_format(source: Source) -> str | None:
    """Return the storage format of the workload's model; None for floating point.

    Raises InputError for an unreadable config.
    """
    try:
        config = configuration.load(source.model, **loading.options_of(source))
    except InputError as error:
        place = f"{source.workload.name} model {source.model}"
        raise InputError(f"{place}: {problem}" for problem in error.problems) from None
    return stored_format(config.to_dict())


def problems(recipes: Sequence[Recipe], source: Source, kept: str | None) -> Iterator[str]:
    """Yield why these recipes cannot start from weights stored as `kept`, one sentence each."""
    if kept is None:
        return
    if kept not in MEASURED:
        yield (
            f"{source.place}: its weights are already stored in {kept}, a format that can "
            f"neither be compressed further nor measured here; {UNQUANTIZED}"
        )
        return
    for recipe in recipes:
        if recipe.steps:
            yield (
                f"{recipe.name} steps.0 {recipe.steps[0].method}: the model's weights are already stored in {kept}, "
                f"and steps need floating-point weights; {UNQUANTIZED}, or remove the steps to measure it unchanged"
            )
        elif recipe.runtime not in ("auto", "eager"):
            yield (
                f"{recipe.name} runtime {recipe.runtime}: the model's weights are stored in {kept}, which runs under "
                f"eager only; use eager, or {UNQUANTIZED}"
            )
