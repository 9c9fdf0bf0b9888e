"""What a run will do, stage by stage, with the time that it takes by this machine's own past stages.

workload      the data and model of an offline workload, once
compress      the steps of each recipe whose model is not on disk
references    the dense model, exported for the runtimes of the recipes unless the cache holds it
models        evaluation and warm-up of all models of the session
rounds        as the settings state
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compress.base.config import InputError
from compress.base.devices import pick
from compress.base.errors import gathered
from compress.data import offline
from compress.data.workload import OFFLINE, Workload
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.harness import preflight
from compress.harness.build import check_places
from compress.harness.pacing import GUESSED_BYTES, graph_runtimes, key_of, stage_of, steps_of, weight_bytes
from compress.harness.plan import Options, Planned, artifact_stands, fitting, loaded, plan, standing, why_again
from compress.harness.references import is_exported
from compress.records import machine as machines
from compress.records import pace
from compress.records.pace import Stage
from compress.records.result import Machine
from compress.spec.measure import FEWEST_ROUNDS, Settings
from compress.spec.recipe import Recipe

GUESSED_S: dict[Stage, tuple[float, float]] = {
    "workload": (120, 0.0),
    "compress": (5, 2e-7),
    "train": (15, 1e-8),
    "references": (5, 1e-7),
    "models": (10, 3e-7),
}
"""Stage -> seconds, and seconds per byte of weights (of training: and per optimizer step) where no past stage is known;
otherwise only their proportion."""


@dataclass(frozen=True)
class Work:
    """A recipe of a run, and what of it is done already."""

    recipe: Recipe
    workload: Workload
    size: int
    """Bytes of the dense model's weights."""
    measured: bool = False
    compressed: bool = False
    exported: bool = False
    """Whether the dense model's graph for the recipe's runtime is in the cache."""
    again: str = ""
    """Why it is measured although a result is on disk; empty without one."""
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

    @classmethod
    def of(cls, what: str, seconds: float, rough: bool) -> "Line":
        """Return a stage that takes so many seconds."""
        return cls(what, seconds, seconds, rough)


def of_plans(plans: Sequence[Planned], measured: Collection[Path], options: Options, machine: Machine) -> list[Work]:
    """Return the work of these plans, of which the results at the paths in `measured` are there."""
    sizes = {planned.source.model: weight_bytes(planned.source.model) for planned in plans}
    return [
        Work(
            planned.recipe,
            planned.source.workload,
            sizes[planned.source.model],
            measured=planned.path in measured,
            again="" if planned.path in measured else why_again(planned, options),
            compressed=not options.rebuild and all(map(artifact_stands, (planned, *planned.further))),
            exported=bool(graph_runtimes([planned.recipe], machine, planned.source.workload))
            and is_exported(planned.recipe, planned.source, machine),
        )
        for planned in plans
    ]


def preview(recipes: Sequence[Recipe], options: Options) -> list[str]:
    """Return the plan of a run as lines. Nothing is loaded, trained or written.

    Raises InputError like the run itself, except for what only an offline workload that is still to be made can show.
    """
    recipes = [ordered for recipe in recipes for ordered in recipe.orders]
    machine = machines.describe(pick(options.device))
    recipes, _, excluded = fitting(recipes, options, machine)
    return [*(f"  {line}" for line in excluded), *planned_lines(recipes, options, machine)]


def makes_workload(recipes: Sequence[Recipe], options: Options) -> bool:
    """Return whether a run first makes an offline workload."""
    return any(_unmade(options.workload or recipe.workload, options) is not None for recipe in recipes)


def planned_lines(recipes: Sequence[Recipe], options: Options, machine: Machine) -> list[str]:
    """Return the same lines for recipes that the device can run."""
    named = {recipe.name: _unmade(options.workload or recipe.workload, options) for recipe in recipes}
    made = [recipe for recipe in recipes if named[recipe.name] is None]
    plans = plan(made, options, machine) if made else []
    fresh = options.fresh or options.rebuild
    measured = {planned.path for planned in plans if not fresh and standing(planned, options) is not None}
    left = [planned for planned in plans if planned.path not in measured]
    gathered(partial(check_places, planned) for planned in left)
    by_source = {planned.source.workload.name: planned.source for planned in left}
    gathered(
        partial(preflight.check, [p.recipe for p in left if p.source.workload.name == name], source, machine.target)
        for name, source in by_source.items()
    )
    work = of_plans(plans, measured, options, machine)
    for recipe in recipes:
        if (unmade := named[recipe.name]) is not None:
            work.append(Work(recipe, unmade, GUESSED_BYTES, unmade=unmade.model.removeprefix(OFFLINE)))
    return list(lines(work, options, machine))


def _unmade(workload: str, options: Options) -> Workload | None:
    """Return a workload if it is made from an offline one that is not in the cache. Errors are left to the plan."""
    try:
        found = loaded(workload, options)
    except InputError:
        return None
    name = found.model.removeprefix(OFFLINE)
    absent = found.model.startswith(OFFLINE) and name in offline.names() and not offline.is_made(name)
    return found if absent else None


def lines(work: Sequence[Work], options: Options, machine: Machine) -> Iterator[str]:
    """Yield the plan of a run as text: its stages with minutes, and their sum."""
    left = [each for each in work if not each.measured]
    if len(left) < len(work):
        names = ", ".join(each.recipe.name for each in work if each.measured)
        yield f"  unchanged     {names}: results on disk are reused"
    for each in left:
        if each.again:
            yield f"  again         {each.recipe.name}: the result on disk is replaced ({each.again})"
    if not left:
        return
    stages = [
        line for group in _grouped(left, lambda each: each.workload.name) for line in _stages(group, options, machine)
    ]
    for line in stages:
        yield f"  {line.what}: {_minutes(line.least_s, line.most_s)}{' (a rough guess)' if line.rough else ''}"
    total = _minutes(sum(line.least_s for line in stages), sum(line.most_s for line in stages))
    rough = "; the next run is estimated from this one" if any(line.rough for line in stages) else ""
    yield f"  together      about {total}{rough}"


def _grouped(work: Iterable[Work], key: Callable[[Work], str]) -> list[list[Work]]:
    groups: dict[str, list[Work]] = {}
    for each in work:
        groups.setdefault(key(each), []).append(each)
    return list(groups.values())


def _stages(group: Sequence[Work], options: Options, machine: Machine) -> Iterator[Line]:
    """Yield the stages of the recipes of one workload. Each set of measuring settings has sessions of its own."""
    past, first = pace.read(), group[0]
    workload = first.workload.name

    def stage(
        kind: Stage, what: str, size: int, limit: int | None = options.limit, times: int = 1
    ) -> tuple[float, bool]:
        key = first.unmade if kind == "workload" else key_of(workload, what, limit, machine.device_name)
        fixed_s, per_byte_s = GUESSED_S[kind]
        seconds = pace.estimate(past, kind, key, size, lambda size: fixed_s + per_byte_s * size)
        return times * seconds, not pace.is_known(past, kind, key, size)

    if first.unmade:
        yield Line.of(f"workload      {workload} is made, once", *stage("workload", "", 1))
    for each in group:
        if not each.compressed:
            recipe = each.recipe
            limit, seeds = options.limit if recipe.learns else None, 1 + len(recipe.further)
            label = f"compress      {recipe.name}" + (f", {seeds} seeds" if seeds > 1 else "")
            key = recipe.transform_fingerprint if seeds == 1 else recipe.of_seed(recipe.seed).transform_fingerprint
            size = each.size * steps_of(recipe, limit)
            yield Line.of(label, *stage(stage_of(recipe), key, size, limit, seeds))
    settings = partial(_settings, metered=_metered(machine))
    for session in _grouped(group, lambda work: settings(work).model_dump_json()):
        unexported = [each.recipe for each in session if not each.exported]
        runtimes = graph_runtimes([each.recipe for each in session], machine, first.workload)
        for runtime in graph_runtimes(unexported, machine, first.workload):
            label = f"references    the dense model under {runtime}"
            yield Line.of(label, *stage("references", runtime, first.size, limit=None))
        measured = settings(session[0])
        models = len(session) + 1 + _has_half(machine) + len(runtimes)
        seeds = sum(len(each.recipe.further) for each in session)
        times = measured.sessions * models + seeds
        what = f"models        {models + seeds} are evaluated, {models} warmed up"
        yield Line.of(what + _in_sessions(measured), *stage("models", "", first.size, times=times))
        yield _rounds(measured, models, first.workload)


def _metered(machine: Machine) -> bool:
    meter = find_meter(machine.target.kind, gpus_of(machine.details))
    return not isinstance(meter, Absent) and meter.measured


def _settings(work: Work, metered: bool) -> Settings:
    return work.recipe.measure.resolved(metered)


def _has_half(machine: Machine) -> bool:
    """Return whether a reference in half precision is measured."""
    from compress.base.devices import computes_bf16, torch_device

    return machine.target.on_gpu or computes_bf16(torch_device(machine.target))


def _in_sessions(settings: Settings) -> str:
    return f", in {settings.sessions} sessions" if settings.sessions > 1 else ""


def _rounds(settings: Settings, models: int, workload: Workload) -> Line:
    """Return the stage of the rounds, whose time the settings state, without loading and repeats."""
    further = len(workload.measured_points(settings.points)) - 1
    rounds = settings.rounds + 1 + further * (1 + (settings.rounds if settings.precision is None else FEWEST_ROUNDS))
    least_s = rounds * models * (settings.window_s + settings.preroll_s)
    most_s = max(settings.budget_s or 0.0, least_s)
    what = f"rounds        of {models} models in turn{_in_sessions(settings)}"
    return Line(what, settings.sessions * least_s, settings.sessions * most_s)


def _minutes(least_s: float, most_s: float) -> str:
    """Return a duration, or its range, as text."""
    low, high = _duration(least_s), _duration(most_s)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
