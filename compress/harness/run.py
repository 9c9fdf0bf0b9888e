"""Runs of recipes: make the artifacts, measure them in one session with shared references, write the results.

Nothing is measured twice: a result on disk is reused if its fingerprint (recipe, workload, data, device, versions,
settings) is unchanged.
"""

import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError, did_you_mean
from compress.base.console import say
from compress.base.devices import pick, release_memory
from compress.base.errors import NotWritten, gathered
from compress.base.files import cache_folder, passing
from compress.base.processes import threads
from compress.base.quiet import quiet_transformers
from compress.base.ranks import end_training, processes, rank
from compress.data import live, loading
from compress.energy.block import holds_gpu
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Meter, gpus_of
from compress.harness import build as building
from compress.harness import fingerprints, forecast, kept, preflight
from compress.harness.assemble import Built, assemble, failed
from compress.harness.contradictions import contradicting_groups
from compress.harness.engine import engine
from compress.harness.pacing import note_session
from compress.harness.plan import Options, Planned, fitting, plan, standing
from compress.harness.references import build_references
from compress.harness.writing import Measured, write_failure
from compress.measure.job import Job, Spec
from compress.measure.remembered import FOLDER
from compress.records import machine as machines
from compress.records.result import Machine, Result
from compress.records.session import Session
from compress.spec.formats import BATCH_DEPENDENT
from compress.spec.measure import Settings
from compress.spec.recipe import Recipe

if TYPE_CHECKING:
    import datasets


def run(
    recipe: Recipe | str | Path,
    workload: str | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    dataset: "datasets.DatasetDict | Mapping[str, datasets.Dataset] | None" = None,
    **options: Any,
) -> Result:
    """Return the result of one recipe, on its default workload, another one, or a live model with its data.

    `dataset` maps `train` and `test` to examples (columns text and label, image and label, or text). Other keywords
    are those of `Options`. Raises InputError on bad input. A recipe that fails returns a result with `error`.
    """
    _check_options(options)
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    if loaded.order == "search":
        raise InputError(
            f"{loaded.name} order search: makes a result for every order; use run_all, or the command line"
        )
    if model is None:
        return run_all([loaded], Options(workload=workload, **options))[0]
    if tokenizer is None or dataset is None:
        raise InputError("run(recipe, model=...) needs tokenizer= and dataset= as well")
    from compress.harness.transform import task_of_model

    with passing("live") as folder:
        written = live.write(folder, model, tokenizer, dataset, task_of_model(model))
        return run_all([loaded], Options(workload=str(written), **options))[0]


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword of `run` that is no field of `Options`."""
    known = [field.name for field in fields(Options)]
    for name in options:
        if name not in known:
            suggestion = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
            raise TypeError(f"run() got an unexpected keyword argument {name!r}{suggestion}")


def run_all(recipes: Sequence[Recipe], options: Options) -> list[Result]:
    """Return the results of several recipes, in their order. Recipes of one workload share a session.

    A recipe with `order: search` has a result for every order of its steps.
    """
    engine(options.engine)  # fail first on an unknown name
    recipes = [ordered for recipe in recipes for ordered in recipe.orders]
    device = pick(options.device)
    machine = machines.describe(device)
    recipes, _, excluded = fitting(recipes, options, machine)
    for line in excluded:
        say(line)
    makes_workload = forecast.makes_workload(recipes, options)
    if makes_workload:  # the plan comes before its first stage
        say("plan")
        for line in forecast.planned_lines(recipes, options, machine):
            say(line)
    plans = plan(recipes, options, machine)
    launched = processes() > 1
    if launched:
        building.check_launch(plans, machine)
    building.sweep(plans)
    finished: dict[Path, Result] = {}
    by_workload: dict[str, list[Planned]] = {}
    for planned in plans:
        existing = None if options.fresh or options.rebuild else standing(planned, options)
        if existing is not None:
            say(f"{planned.recipe.name} on {planned.source.workload.name}: unchanged, result is reused")
            finished[planned.path] = existing
        else:
            by_workload.setdefault(planned.source.workload.name, []).append(planned)
    gathered(partial(building.check_places, planned) for group in by_workload.values() for planned in group)
    if by_workload:
        quiet_transformers()
        ahead = forecast.of_plans(plans, finished, options, machine)
        for line in () if makes_workload else ("plan", *forecast.lines(ahead, options, machine)):
            say(line)
    else:
        end_training()
    gathered(
        partial(preflight.check, [p.recipe for p in group], group[0].source, device) for group in by_workload.values()
    )
    reused_paths = frozenset(finished)
    for group in by_workload.values():
        finished |= _run_group(group, options, machine)
    for group in [] if launched else contradicting_groups(plans, finished, reused_paths):
        finished |= _run_group(group, options, machine, again=True)
    return [finished[planned.path] for planned in plans]


def _run_group(group: Sequence[Planned], options: Options, machine: Machine, again: bool = False) -> dict[Path, Result]:
    """Transform and measure recipes of one workload; a failure becomes a result, and the other recipes go on.

    `again`: measure even where a valid result exists.
    """
    say(f"{group[0].source.workload.name}: {', '.join(p.recipe.name for p in group)} on {machine.device_name}")
    meter = find_meter(machine.target.kind, gpus_of(machine.details))
    finished: dict[Path, Result] = {}
    built: dict[Path, Built] = {}
    # training recipes first: the other processes skip the rest and would wait for the first one
    ordered = sorted(group, key=lambda p: processes() > 1 and not p.recipe.trains)
    with building.dropping(built):
        for planned in ordered:
            try:
                if rank() == 0:
                    built[planned.path] = building.build(planned, options, machine, meter)
                elif planned.recipe.trains:
                    building.train_along(planned, options, machine)
            except Exception as error:  # noqa: BLE001  one recipe's failure is a result; the others go on
                if rank() == 0:
                    finished[planned.path] = write_failure(planned, options, machine, error)
                if processes() > 1 and planned.recipe.trains:
                    sys.exit(1)  # the other processes wait for this one; the launcher ends them
        end_training()
        if built:  # without an artifact there is nothing to measure
            finished |= _measure_all(group, built, options, machine, meter, again)
    return finished


def _measure_all(
    group: Sequence[Planned],
    built: Mapping[Path, Built],
    options: Options,
    machine: Machine,
    meter: Meter | Absent,
    again: bool,
) -> dict[Path, Result]:
    """Measure the artifacts, in one session per set of measuring settings, and write the results."""
    finished: dict[Path, Result] = {}
    unwritten: list[str] = []
    plans = {planned.path: planned for planned in group}
    adopts = not (options.fresh or options.rebuild or again)
    for items in _grouped_by_settings(list(built.values()), meter):
        measured = _measured(items, plans if adopts else {}, options, machine, meter)
        finished |= measured.adopted | measured.made
        unwritten += measured.unwritten
    if unwritten:
        raise NotWritten(unwritten)
    return finished


def _settings(item: Built, meter: Meter | Absent) -> Settings:
    return item.recipe.measure.resolved(metered=not isinstance(meter, Absent) and meter.measured)


def _grouped_by_settings(built: Sequence[Built], meter: Meter | Absent) -> list[list[Built]]:
    """Return the artifacts grouped by measuring settings. Each group has a session; most runs have one group."""
    groups: dict[str, list[Built]] = {}
    for item in built:
        groups.setdefault(_settings(item, meter).model_dump_json(), []).append(item)
    return list(groups.values())


def _measured(
    items: Sequence[Built], plans: Mapping[Path, Planned], options: Options, machine: Machine, meter: Meter | Absent
) -> Measured:
    """Return the results of one session. If its process dies (out of memory, full disk), all of them record the error.

    `plans`: plans whose results may be adopted from other processes.
    """
    measured = Measured()
    try:
        _measure(items, plans, options, machine, meter, measured)
    except NotWritten:
        raise
    except (RuntimeError, OSError, InputError) as error:
        left = [item for item in items if item.path not in measured.adopted | measured.made]
        measured.write({i.path: failed(i.recipe, i.source, i.fingerprint, machine, options.limit, error) for i in left})
    if not measured.unwritten:
        kept.drop(measured.kept)
    return measured


def _measure(
    items: Sequence[Built],
    plans: Mapping[Path, Planned],
    options: Options,
    machine: Machine,
    meter: Meter | Absent,
    measured: Measured,
) -> None:
    """Run the sessions over artifacts and references with the engine, and fill `measured`."""
    job: Job | None = None
    left: list[Built] = []
    began = 0.0
    with passing("session") as scratch:
        references = build_references(items, machine, scratch)  # an export takes minutes: before the engine's turn

        def prepare(waited: bool) -> Job | None:
            nonlocal job, left, began
            began = time.monotonic()
            for path in {item.path for item in items} & set(plans) if waited else ():
                if (result := standing(plans[path], options)) is not None:
                    measured.adopted[path] = result
            left = [item for item in items if item.path not in measured.adopted]
            job = kept.keeping(_job(left, references, options, machine, meter), left, options) if left else None
            measured.kept = None if job is None else job.kept
            return job

        def finish(sessions: Sequence[Session]) -> None:
            assert job is not None
            note_session(job, sessions, time.monotonic() - began, machine)
            name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
            results = assemble(left, references, job, sessions, machine, name, options.out)
            measured.write({item.path: result for item, result in zip(left, results, strict=True)})

        loading.forget_training()
        release_memory()  # memory that making artifacts took is needed by the session
        engine(options.engine).run(prepare, finish, scratch)


def _job(
    items: Sequence[Built], references: Sequence[Spec], options: Options, machine: Machine, meter: Meter | Absent
) -> Job:
    source, seed = items[0].source, items[0].recipe.seed
    anew = options.fresh or options.rebuild
    remembered = cache_folder() / FOLDER / fingerprints.evaluation(source, options.limit, seed, machine)
    return Job(
        workload=source.workload,
        source=source,
        runners=(*references, *(spec for item in items for spec in _specs(item))),
        settings=_settings(items[0], meter),
        device=machine.target,
        gpus=gpus_of(machine.details),
        seed=seed,
        limit=options.limit,
        threads=threads(),
        parent_on_device=holds_gpu(),
        evaluations=None if anew else str(remembered),
    )


def _specs(item: Built) -> Iterator[Spec]:
    """Yield what to measure of a recipe: its artifact, and the accuracy of the artifacts of its further seeds."""
    own = _spec(item)
    yield own
    for further in item.further:
        seed = further.recipe.seed
        yield replace(_spec(further), name=f"{own.name} seed {seed}", further_of=own.name, seed=seed)


def _spec(item: Built) -> Spec:
    layers = item.manifest.layers
    formats = {(entry["format"], entry["backend"]) for entry in layers.values() if "format" in entry}
    return Spec(
        name=item.recipe.name,
        path=str(item.folder),
        dtype="",
        runtime=item.manifest.extra["runtime"],
        low_bit=bool(formats),
        batch_dependent=bool(formats & BATCH_DEPENDENT),
        reference=False,
        own_vocabulary=any("vocabulary" in entry for entry in layers.values()),
    )
