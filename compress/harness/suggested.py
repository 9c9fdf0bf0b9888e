"""The shipped recipes that fit a model on this device, planned on the model's skeleton without its weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import recipes
from compress.base.config import InputError
from compress.base.device import AUTO
from compress.base.devices import pick, torch_device
from compress.base.reading import expanded
from compress.data import configuration
from compress.data.empty import empty_model
from compress.data.stored import stored_format
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.harness.preflight import step_problems, traceable
from compress.harness.supported import check_native, supported_runtime
from compress.model.bundle import Bundle
from compress.model.sharing import merged
from compress.model.skeleton import empty_copy
from compress.records import machine as machines
from compress.spec.recipe import Recipe

STARTS = ("llama_int4", "prune_half", "lowrank_half", "distill_half")
"""Recipes that follow a task's first recipe: smaller integers of language models, and the other methods."""
FEWEST = 3
"""Recipes that are named, if as many run."""


def to_start_with(fitting: Sequence[str]) -> list[str]:
    """Return a few recipes of different methods, from those that `suggested` returns: the task's own first."""
    by_method = [name for name in STARTS if name in fitting[1:]]
    return list(dict.fromkeys([*fitting[:1], *by_method, *fitting[1 : FEWEST - len(by_method)]]))


def suggested(model: str, task: str, trains: bool) -> list[str] | None:
    """Return the names of the shipped recipes for models of a task that run here on one in a folder, simplest first.

    `trains`: whether the data has a train split, without which steps cannot learn. None without a readable
    folder, and for a model that is stored in few bits: `run` reports what is wrong.
    """
    if not expanded(model).is_dir():
        return None
    try:
        config = configuration.load(str(expanded(model)))
        if stored_format(config.to_dict()) is not None:
            return None
        fitting = list(_fitting(empty_model(config, task).float(), task))
    except InputError:
        return None
    names = [recipe.name for recipe in fitting if trains or not recipe.learns]
    first = task_of(task).first_recipe
    return sorted(names, key=lambda name: (name != first, name))


def _fitting(skeleton: Any, task: str) -> Iterator[Recipe]:
    machine = machines.describe(pick(AUTO))
    device = torch_device(machine.target)
    for recipe in map(Recipe.load, recipes.names()):
        if task_of(Workload.load(recipe.workload).task).first_recipe != task_of(task).first_recipe:
            continue  # recipes of another kind of model: encoders of texts or of images, language models
        try:
            supported_runtime(recipe, machine, task)
            check_native(recipe, machine)
        except InputError:
            continue
        bundle = Bundle(
            model=merged(traceable(empty_copy(skeleton))),
            processor=None,
            task=task,
            device=device,
            teacher=lambda: merged(empty_copy(skeleton)),
            runtime=recipe.runtime,
            seed=recipe.seed,
        )
        if not step_problems(recipe, bundle):
            yield recipe
