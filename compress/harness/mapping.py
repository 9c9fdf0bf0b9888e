"""A map: recipes measured at every point of a grid, in the sessions of an ordinary run.

The headline of the workload is measured first, as in every run, so each result has its verdict; the points of the grid
follow. Artifacts are those of `run`: what a step does depends on no point.
"""

from collections.abc import Sequence
from dataclasses import replace

from compress.base.devices import pick
from compress.data.grid import Grid
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.harness.forecast import preview
from compress.harness.plan import Options
from compress.harness.run import run_all
from compress.records import machine as machines
from compress.records.result import Result
from compress.spec.measure import FIRST_PARTS
from compress.spec.recipe import Recipe

POINT_S = 20.0
"""Seconds of rounds for each point where rounds end by precision: near the 22 s of a second point under `quick`."""


def map_all(recipes: Sequence[Recipe], grid: Grid, options: Options) -> list[Result]:
    """Return the results of the recipes, in order, with the points of the grid. Raises InputError on bad input."""
    return run_all(measured_for(recipes, grid, options), replace(options, grid=grid))


def preview_map(recipes: Sequence[Recipe], grid: Grid, options: Options) -> list[str]:
    """Return the plan of a map as lines. Nothing is loaded, trained or written."""
    return preview(measured_for(recipes, grid, options), replace(options, grid=grid))


def measured_for(recipes: Sequence[Recipe], grid: Grid, options: Options) -> list[Recipe]:
    """Return the recipes with measuring settings for a map: no further points of the workload, and time for each point.

    A budget that a recipe states itself stays.
    """
    machine = machines.describe(pick(options.device))
    meter = find_meter(machine.target.kind, gpus_of(machine.details))
    metered = not isinstance(meter, Absent) and meter.measured
    parts = FIRST_PARTS + 1 + len(grid.batch_sizes) * len(grid.lengths or (0,))  # with headline and companion
    made = []
    for recipe in recipes:
        measure = recipe.measure.model_copy(update={"points": "headline"})
        budget_s = measure.resolved(metered).budget_s
        if budget_s is not None and measure.budget_s is None:
            measure = measure.model_copy(update={"budget_s": max(budget_s, parts * POINT_S)})
        made.append(recipe.model_copy(update={"measure": measure}))
    return made
