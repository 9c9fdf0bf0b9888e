"""What a run will do, stage by stage, with the time that it takes by this machine's own past stages.

workload      the data and model of an offline workload, once
compress      the steps of each recipe whose model is not on disk
references    the dense model, exported for the runtimes of the recipes
models        evaluation and warm-up of all models of the session
rounds        as the settings state
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.base.devices import pick
from compress.data import offline
from compress.data.workload import OFFLINE, Workload
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.harness.pacing import GUESSED_BYTES, graph_runtimes, key_of, weight_bytes
from compress.harness.plan import Options, Planned, artifact_stands, fitting, plan, standing
from compress.records import machine as machines
from compress.records import pace
from compress.records.pace import Stage
from compress.records.result import Machine
from compress.spec.measure import Settings
from compress.spec.recipe import Recipe

GUESSED_S: dict[Stage, tuple[float, float]] = {
    "workload": (120, 0.0),
    "compress": (5, 2e-7),
    "references": (5, 1e-7),
    "models": (10, 3e-7),
}
"""Stage -> seconds, and seconds per byte of weights, where no past stage is known."""


@dataclass(frozen=True)
class Work:
    """A recipe of a run, and what of it is done already."""

    recipe: Recipe
    workload: str
    size: int
    """Bytes of the dense model's weights."""
    measured: bool = False
    compressed: bool = False
    unmade: str = ""
    """Name of the offline workload that is still to be made."""


@dataclass(frozen=True)
class Line:
    """One stage of the plan."""

    what: str
    least_s: float
    most_s: float
    rough: bool = False
    """Whether no past stage of the same work is known."""


def of_plans(plans: Sequence[Planned], measured: Collection[Path], options: Options) -> list[Work]:
    """Return the work of these plans, of which the results at the paths in `measured` are there."""
    sizes = {planned.source.model: weight_bytes(planned.source.model) for planned in plans}
    return [
        Work(
            planned.recipe,
            planned.source.workload.name,
            sizes[planned.source.model],
            measured=planned.path in measured,
            compressed=not options.rebuild and all(map(artifact_stands, (planned, *planned.further))),
        )
        for planned in plans
    ]


def preview(recipes: Sequence[Recipe], options: Options) -> list[str]:
    """Return the plan of a run as lines. Nothing is loaded, trained or written.

    Raises InputError like the run itself, except for what only an offline workload that is still to be made can show.
    """
    recipes = [ordered for recipe in recipes for ordered in recipe.orders]
    machine = machines.describe(pick(options.device))
    recipes, _ = fitting(recipes, options, machine)
    named = {recipe.name: _unmade(options.workload or recipe.workload) for recipe in recipes}
    made = [recipe for recipe in recipes if named[recipe.name] is None]
    plans = plan(made, options, machine) if made else []
    fresh = options.fresh or options.rebuild
    measured = {planned.path for planned in plans if not fresh and standing(planned, options) is not None}
    work = of_plans(plans, measured, options)
    for recipe in recipes:
        if (unmade := named[recipe.name]) is not None:
            work.append(Work(recipe, unmade.name, GUESSED_BYTES, unmade=unmade.model.removeprefix(OFFLINE)))
    return list(lines(work, options, machine))


def _unmade(workload: str) -> Workload | None:
    """Return a workload if it is made from an offline one that is not in the cache. Errors are left to the plan."""
    try:
        loaded = Workload.load(workload)
    except InputError:
        return None
    name = loaded.model.removeprefix(OFFLINE)
    absent = loaded.model.startswith(OFFLINE) and name in offline.names() and not offline.is_made(name)
    return loaded if absent else None


def lines(work: Sequence[Work], options: Options, machine: Machine) -> Iterator[str]:
    """Yield the plan of a run as text: its stages with minutes, and their sum."""
    left = [each for each in work if not each.measured]
    if len(left) < len(work):
        names = ", ".join(each.recipe.name for each in work if each.measured)
        yield f"  unchanged     {names}: results on disk are reused"
    if not left:
        return
    stages = [line for group in _by_workload(left) for line in _stages(group, options, machine)]
    for line in stages:
        yield f"  {line.what}: {_minutes(line.least_s, line.most_s)}{' (a rough guess)' if line.rough else ''}"
    total = _minutes(sum(line.least_s for line in stages), sum(line.most_s for line in stages))
    rough = "; the next run is estimated from this one" if any(line.rough for line in stages) else ""
    yield f"  together      about {total}{rough}"


def _by_workload(work: Sequence[Work]) -> list[list[Work]]:
    groups: dict[str, list[Work]] = {}
    for each in work:
        groups.setdefault(each.workload, []).append(each)
    return list(groups.values())


def _stages(group: Sequence[Work], options: Options, machine: Machine) -> Iterator[Line]:
    """Yield the stages of the recipes of one workload."""
    past, first = pace.read(), group[0]

    def stage(kind: Stage, label: str, what: str, size: int, limit: int | None = options.limit) -> Line:
        key = first.unmade if kind == "workload" else key_of(first.workload, what, limit, machine.device_name)
        seconds = pace.estimate(past, kind, key, size)
        fixed_s, per_byte_s = GUESSED_S[kind]
        value = fixed_s + per_byte_s * size if seconds is None else seconds
        return Line(label, value, value, rough=not pace.is_known(past, kind, key))

    if first.unmade:
        yield stage("workload", f"workload      {first.workload} is made, once", "", 1)
    for each in group:
        if not each.compressed:
            limit = options.limit if each.recipe.learns else None
            label = f"compress      {each.recipe.name}"
            yield stage("compress", label, each.recipe.transform_fingerprint, each.size, limit)
    if runtimes := graph_runtimes([each.recipe for each in group], machine):
        names = ", ".join(runtimes)
        yield stage("references", f"references    the dense model under {names}", names, first.size)
    models = len(group) + 1 + len(runtimes)
    each_model = stage("models", f"models        {models} are evaluated and warmed up", "", first.size)
    yield Line(each_model.what, models * each_model.least_s, models * each_model.most_s, each_model.rough)
    yield _rounds(group, models, machine)


def _rounds(group: Sequence[Work], models: int, machine: Machine) -> Line:
    """Return the stage of the rounds, whose time the settings state, without loading and repeats."""
    meter = find_meter(machine.target.kind, gpus_of(machine.details))
    metered = not isinstance(meter, Absent) and meter.measured
    settings = {s.model_dump_json(): s for each in group if (s := each.recipe.measure.resolved(metered))}
    least_s = sum(_least_s(each, models) for each in settings.values())
    most_s = sum(max(each.budget_s or 0.0, _least_s(each, models)) for each in settings.values())
    return Line("rounds        of all models in turn", least_s, most_s)


def _least_s(settings: Settings, models: int) -> float:
    """Return the seconds of the fewest rounds at the headline point, in all sessions."""
    return settings.sessions * (settings.rounds + 1) * models * (settings.window_s + settings.preroll_s)


def _minutes(least_s: float, most_s: float) -> str:
    """Return a duration, or its range, as text."""
    low, high = _duration(least_s), _duration(most_s)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
