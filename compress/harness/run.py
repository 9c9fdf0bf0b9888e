"""Runs recipes: transforms what is new, measures all of it in one session with shared references, leaves results.

Nothing is measured twice: a result on disk stands when its fingerprint (recipe, workload, data, device, versions,
settings) is the same.
"""

import json
import shutil
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.analysis import pareto
from compress.base.config import InputError
from compress.base.console import say
from compress.base.errors import NotWritten, gathered
from compress.base.files import passing
from compress.base.interrupts import raise_again
from compress.base.locks import locked, measuring_lock
from compress.base.processes import run_child, threads
from compress.base.quiet import quiet_transformers
from compress.base.ranks import end_training, processes, rank
from compress.data import live
from compress.energy.block import holds_gpu
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Meter, gpus_of
from compress.harness import build as building
from compress.harness import preflight
from compress.harness.assemble import Built, assemble, failed
from compress.harness.plan import Options, Planned, measured, plan, standing
from compress.harness.prequantized import found_format
from compress.measure.job import Job, Spec, write_job
from compress.records import files as result_files
from compress.records import machine as machines
from compress.records.result import PADDED, Machine, Result
from compress.spec.formats import BATCH_DEPENDENT, GRAPH_RUNTIMES
from compress.spec.measure import Settings
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast

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
    """The result of one recipe, on its default workload, another one, or a live model with its data.

    `dataset` maps `train` and `test` to examples (columns text and label, image and label, or text). Other keywords
    are those of `Options`. Raises InputError on bad input; a recipe that fails comes back as a result with `error`.
    """
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


def run_all(recipes: Sequence[Recipe], options: Options) -> list[Result]:
    """The results of several recipes, in their order; those of one workload share a session.

    A recipe whose order is searched for has a result for every order.
    """
    recipes = [each for recipe in recipes for each in recipe.orders]
    device = _device(options.device)
    machine = machines.describe(device)
    plans = plan(recipes, options, machine)
    launched = processes() > 1
    if launched:
        building.check_launch(plans, machine)
    building.sweep(plans)
    finished: dict[Path, Result] = {}
    by_workload: dict[str, list[Planned]] = {}
    for planned in plans:
        before = None if options.fresh or options.rebuild else standing(planned)
        if before is not None and not (options.keep and before.artifact is None):
            say(f"{planned.recipe.name} on {planned.found.workload.name}: unchanged, result stands")
            finished[planned.path] = before
        else:
            by_workload.setdefault(planned.found.workload.name, []).append(planned)
    gathered(partial(building.check_places, planned) for group in by_workload.values() for planned in group)
    if by_workload:
        quiet_transformers()
    else:
        end_training()
    gathered(
        partial(preflight.check, [p.recipe for p in group], group[0].found, machine.device)
        for group in by_workload.values()
    )
    stood = frozenset(finished)
    for group in by_workload.values():
        finished |= _run_group(group, options, machine)
    for group in [] if launched else _contradicted(plans, finished, stood):
        finished |= _run_group(group, options, machine, again=True)
    return [finished[planned.path] for planned in plans]


def _contradicted(
    plans: Sequence[Planned], finished: Mapping[Path, Result], stood: frozenset[Path]
) -> list[list[Planned]]:
    """Recipes whose results come from sessions that contradict one another: to be measured together.

    Sessions of this very run are left alone: they are apart because their settings differ.
    """
    found = []
    for table in pareto.group(finished.values()):
        members = [p for p in plans if finished[p.path] in table.results]
        if table.stale and any(p.path in stood for p in members):
            for each in table.stale:
                say(f"  {each}: beyond their intervals")
            say(f"  so {', '.join(p.recipe.name for p in members)} are measured again, together")
            found.append(members)
    return found


def _device(asked: str) -> str:
    """`cpu`, `cuda:N` or several of these. `cpu` is answered without importing torch."""
    if asked == "cpu":
        return "cpu"
    from compress.base.devices import pick_all

    return ",".join(map(str, pick_all(asked)))


def _run_group(group: Sequence[Planned], options: Options, machine: Machine, again: bool = False) -> dict[Path, Result]:
    """Transforms and measures recipes of one workload; failures become results, the others go on.

    `again` measures also what has a result that stands.
    """
    say(f"{group[0].found.workload.name}: {', '.join(p.recipe.name for p in group)} on {machine.device_name}")
    meter = find_meter(machine.device.partition(":")[0], gpus_of(machine.details))
    finished: dict[Path, Result] = {}
    built: dict[Path, Built] = {}
    unwritten: list[str] = []
    unwanted = [] if options.keep else [planned.folder for planned in group if not planned.folder.exists()]
    in_turn = sorted(group, key=lambda p: processes() > 1 and not p.recipe.trains)  # nobody waits for what others skip
    for planned in in_turn:
        try:
            if rank() == 0:
                built[planned.path] = building.build(planned, options, machine, meter)
            elif planned.recipe.trains:
                building.train_along(planned, options, machine)
        except Exception as error:  # noqa: BLE001  one recipe's failure is a result; the others go on
            raise_again()
            if rank() == 0:
                finished[planned.path] = _fail(planned, options, machine, error)
            if processes() > 1 and planned.recipe.trains:
                sys.exit(1)  # the others wait for this one; the launcher ends them
    end_training()
    if not built:  # nothing to measure, nothing to wait for
        return finished
    with locked(measuring_lock(), "another measurement is running on this machine; waiting for it to end") as waited:
        if waited and not (options.fresh or options.rebuild or again):  # it may have measured the same
            others = {p.path: before for p in group if p.path in built and (before := standing(p)) is not None}
            finished |= others
            built = {path: item for path, item in built.items() if path not in others}
        for items in _measured_alike(list(built.values()), meter):
            for item, result in zip(items, _measured(items, options, machine, meter), strict=True):
                gone = result.artifact is not None and Path(result.artifact) in unwanted
                finished[item.path] = replace(result, artifact=None) if gone else result
                unwritten += _write(item.path, finished[item.path])
    for folder in unwanted:  # what an earlier run kept stays
        shutil.rmtree(folder, ignore_errors=True)
    if unwritten:
        raise NotWritten(unwritten)
    return finished


def _settings(item: Built, meter: Meter | Absent) -> Settings:
    return item.recipe.measure.resolved(metered=not isinstance(meter, Absent) and meter.measured)


def _measured_alike(built: Sequence[Built], meter: Meter | Absent) -> list[list[Built]]:
    """Recipes with the same measuring settings: each such list has a session; most runs have a single one."""
    alike: dict[str, list[Built]] = {}
    for item in built:
        alike.setdefault(_settings(item, meter).model_dump_json(), []).append(item)
    return list(alike.values())


def _measured(items: Sequence[Built], options: Options, machine: Machine, meter: Meter | Absent) -> list[Result]:
    """Results of one session; when its process dies (of memory, of a full disk) all of them say so."""
    try:
        return _measure(items, options, machine, meter)
    except NotWritten:
        raise
    except (RuntimeError, OSError, InputError) as error:
        return [failed(i.recipe, i.found, i.fingerprint, machine, options.limit, error) for i in items]


def _write(path: Path, result: Result) -> list[str]:
    """Writes a result; what kept it from being written, if anything did: the artifact is kept, and found again.

    A failure never replaces figures of the same fingerprint, which hold as before.
    """
    try:
        if result.error is not None and measured(path, result.fingerprint) is not None:
            say(f"  {path}: keeps the figures that the same run measured before; {result.name} failed this time")
            return []
        result_files.replace_file(path, result)
    except OSError as error:
        return [
            f"{path}: the result of {result.name} cannot be written ({error.strerror}); make room and run the same "
            "command again: what was compressed is kept"
        ]
    return []


def _fail(planned: Planned, options: Options, machine: Machine, error: Exception) -> Result:
    result = failed(planned.recipe, planned.found, planned.fingerprint, machine, options.limit, error)
    for problem in _write(planned.path, result):
        say(f"  {problem}")
    say(f"  {planned.recipe.name} failed: {result.error}")
    return result


def _measure(items: Sequence[Built], options: Options, machine: Machine, meter: Meter | Absent) -> list[Result]:
    """One session over artifacts and references, in a fresh process; the results it yields."""
    from compress.base.devices import release_memory

    found = items[0].found
    release_memory()  # what making artifacts took: the session needs it
    with passing("session") as scratch:
        references = _references(items, machine, scratch)
        specs = [*references, *(_spec(item) for item in items)]
        job = Job(
            workload=found.workload,
            source=found,
            runners=tuple(specs),
            settings=_settings(items[0], meter),
            device=machine.device,
            gpus=gpus_of(machine.details),
            seed=items[0].recipe.seed,
            limit=options.limit,
            threads=threads(),
            parent_on_device=holds_gpu(),
        )
        path = scratch / "job.json"
        write_job(path, job)
        run_child([sys.executable, "-m", "compress.measure.session", str(path)], machine.device)
        answer = json.loads(path.with_name("session.json").read_text())
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
        return assemble(
            items, references, job, answer, machine, name, options.out
        )  # while the references' files are there


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
    )


def _references(items: Sequence[Built], machine: Machine, scratch: Path) -> list[Spec]:
    """fp32 eager; half precision eager where native; the dense model under every other runtime the recipes use.

    There it is padded like a recipe that pads to a fixed length: what that saves is the runtime's, no compression's.
    A model that is stored in few bits is its own only reference, named after its format.
    """
    from compress.base.devices import computes_bf16, pick
    from compress.harness import transform

    def reference(dtype: str, runtime: Any, path: str | None = None, padded_to: int | None = None) -> Spec:
        name = f"{dtype} {runtime}" + (PADDED if padded_to else "")
        return Spec(name, path, dtype, runtime, False, False, reference=True, padded_to=padded_to)

    kept = found_format(items[0].found)
    if kept is not None:
        batch_dependent = (kept, "bitsandbytes") in BATCH_DEPENDENT
        return [
            Spec(f"{kept} eager", None, kept, "eager", low_bit=True, batch_dependent=batch_dependent, reference=True)
        ]
    device = pick(machine.device)
    half = "bf16" if computes_bf16(device) else "fp16" if device.type == "cuda" else None
    found = [reference("fp32", "eager")]
    if half is not None:
        found.append(reference(half, "eager"))
    of = [(item.manifest.extra, _graph_dtype(item)) for item in items]
    wanted = {(str(extra["runtime"]), cast, extra.get("padded_to") or 0) for extra, cast in of}
    for runtime, cast, length in sorted(each for each in wanted if each[0] != "eager"):
        if runtime in GRAPH_RUNTIMES:
            steps = (Cast(dtype="fp16"),) if cast == "fp16" else ()
            dense = Recipe(name="dense", runtime=runtime, steps=steps, padding="fixed" if length else "dynamic")
            folder = scratch / f"dense-{cast}-{runtime}-{length}"
            transform.build(dense, items[0].found, device, folder, scratch / "work", Absent("reference"), "")
            dtype = half if half is not None and runtime == "openvino" else cast
            found.append(reference(dtype, runtime, str(folder), length or None))
        else:
            dtype = half if half is not None and device.type == "cuda" else "fp32"
            found.append(reference(dtype, runtime, None, length or None))
    return found


def _graph_dtype(item: Built) -> str:
    """Precision of what a recipe's graph left in floating point; that of the dense graph beside it. fp32 for others."""
    graph = item.manifest.extra["runtime"] in GRAPH_RUNTIMES
    return str(item.manifest.layers.get("", {}).get("dtype", "fp32")) if graph else "fp32"
