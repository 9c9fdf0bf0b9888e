"""The artifact of a recipe: reused from disk if unchanged, else made by one process or by several that train.

Each of several processes (torchrun, accelerate) runs the steps of recipes that train; only the first one saves.
An artifact that is not kept has a temporary name from the start, so that the next run sweeps it if this one is killed.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from compress.base import files, owners
from compress.base.config import InputError
from compress.base.console import say
from compress.base.locks import locked
from compress.base.places import check_writable
from compress.base.ranks import local_device, processes, wait
from compress.energy.meters import Absent, Meter
from compress.harness.assemble import Built
from compress.harness.pacing import key_of, stage_of, steps_of, timed
from compress.harness.plan import Options, Planned
from compress.model.manifest import Manifest, verify
from compress.model.replacing import refuse_foreign
from compress.records import files as result_files
from compress.records.result import Machine


def check_launch(plans: Sequence[Planned], machine: Machine) -> None:
    """Raise InputError for plans that several processes cannot run together."""
    place = f"{processes()} processes"
    if len({planned.source.workload.name for planned in plans}) > 1:
        raise InputError(f"{place}: they train for one workload at a time; run the others on their own")
    if machine.target.indices not in ((), (0,)):
        raise InputError(f"{place}: each takes the GPU of its own number; leave --device {machine.device} out, and "
                         "choose GPUs with CUDA_VISIBLE_DEVICES")  # fmt: skip
    for planned in plans:
        if any(step.method == "prune" and step.cost == "latency" for step in planned.recipe.steps):
            raise InputError(f"{place}: {planned.recipe.name} prunes to a latency that each would measure alone; "
                             "use cost: macs, or one process")  # fmt: skip


def check_places(planned: Planned) -> None:
    """Raise InputError if a recipe's artifact or result would replace foreign files or cannot be written."""
    check_writable(planned.folder.parent, "--artifacts")
    check_writable(planned.path.parent, "--out")
    for each in (planned, *planned.further):
        refuse_foreign(each.folder)
    result_files.refuse_other(planned.path)


def sweep(plans: Sequence[Planned]) -> None:
    """Remove leftovers of killed runs: temporary folders, and partial artifacts and results."""
    files.clear()
    for folder in {folder for planned in plans for folder in (planned.path.parent, planned.folder.parent)}:
        owners.sweep_below(folder)
    for folder in {folder for planned in plans for folder in planned.folder.parents[1].glob("*/")}:
        owners.sweep(folder)  # artifacts of other workloads


def build(planned: Planned, options: Options, machine: Machine, meter: Meter | Absent) -> Built:
    """Return the artifact of a recipe with those of its further seeds: the ones on disk if unchanged, else new ones."""
    first = _built(planned, options, machine, meter)
    made: list[Built] = []
    try:
        for each in planned.further:
            made.append(_built(each, options, machine, meter))
    except BaseException:
        drop(replace(first, further=tuple(made)))
        raise
    return replace(first, further=tuple(made))


def _built(planned: Planned, options: Options, machine: Machine, meter: Meter | Absent) -> Built:
    folder, kept = planned.folder, True
    with locked(
        folder.parent / f".{planned.recipe.name}.lock", f"{planned.recipe.name}: another run is building it; waiting"
    ):
        manifest = _reusable_manifest(planned, options)
        if manifest is None:
            if options.rebuild:
                shutil.rmtree(planned.work, ignore_errors=True)
            if planned.recipe.trains and processes() > 1:
                meter = Absent(f"{processes()} processes trained, and only the first one's device has a meter here")
                wait(machine.target)
            if not options.keep:  # a temporary name also protects an artifact that an earlier run kept
                folder, kept = owners.beside(planned.folder, "tmp"), False
            _transform(planned, folder, machine, meter)
            manifest = verify(folder)
            shutil.rmtree(planned.work, ignore_errors=True)
        else:
            say(f"  {planned.recipe.name}: artifact unchanged")
    return Built(planned.recipe, planned.source, planned.fingerprint, planned.path, folder, manifest, kept)


@contextmanager
def dropping(built: Mapping[Path, Built]) -> Iterator[None]:
    """Remove the artifacts in `built` that are not kept when the block ends."""
    try:
        yield
    finally:
        for item in built.values():
            drop(item)


def drop(built: Built) -> None:
    """Remove the artifacts of a recipe that are not kept."""
    for item in (built, *built.further):
        if not item.kept:
            shutil.rmtree(item.folder, ignore_errors=True)


def train_along(planned: Planned, options: Options, machine: Machine) -> None:
    """Run the steps of a recipe, for each of its seeds, in a process that is not the first one; it saves nothing."""
    for each in (planned, *planned.further):
        if _reusable_manifest(each, options) is None:
            wait(machine.target)
            _transform(each, each.folder, machine, Absent("the first process counts"))  # only the first one saves


def _reusable_manifest(planned: Planned, options: Options) -> Manifest | None:
    """Return the manifest of the artifact on disk if that is intact and made by this recipe, else None."""
    if not planned.folder.exists():
        return None
    refuse_foreign(planned.folder)
    if options.rebuild:
        return None
    try:
        manifest = verify(planned.folder)
    except InputError as error:
        say(f"  {error}; made again")
        return None
    return manifest if manifest.extra.get("fingerprint") == planned.transform_fingerprint else None


def _transform(planned: Planned, folder: Path, machine: Machine, meter: Meter | Absent) -> None:
    from compress.base.devices import pick, torch_device
    from compress.harness import transform

    recipe, source, fingerprint = planned.recipe, planned.source, planned.transform_fingerprint
    device = torch_device(pick(local_device(machine.target)))
    key = key_of(source.workload.name, recipe.transform_fingerprint, planned.limit, machine.device_name)
    with timed(stage_of(recipe), key, source.model, steps_of(recipe, planned.limit)):
        transform.build(recipe, source, device, folder, planned.work, meter, fingerprint, planned.limit)
