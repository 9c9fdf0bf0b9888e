"""The artifact of a recipe: taken from disk where it is the same, else made; by one process, or by several that train.

Of several processes (torchrun, accelerate) each takes the steps of recipes that train; the first one alone saves.
"""

import shutil
from collections.abc import Sequence

from compress.base import files
from compress.base.config import InputError
from compress.base.console import say
from compress.base.locks import locked
from compress.base.owners import sweep_below
from compress.base.ranks import local_device, processes, wait
from compress.energy.meters import Absent, Meter
from compress.harness.assemble import Built
from compress.harness.plan import Options, Planned, check_writable
from compress.model.manifest import Manifest, verify
from compress.model.replacing import refuse_foreign
from compress.records import files as result_files
from compress.records.result import Machine


def check_launch(plans: Sequence[Planned], machine: Machine) -> None:
    """Raises InputError for what several processes cannot do together."""
    place = f"{processes()} processes"
    if len({planned.found.workload.name for planned in plans}) > 1:
        raise InputError(f"{place}: they train for one workload at a time; run the others on their own")
    if machine.device not in ("cpu", "cuda", "cuda:0"):
        raise InputError(f"{place}: each takes the GPU of its own number; leave --device {machine.device} out, and "
                         "choose GPUs with CUDA_VISIBLE_DEVICES")  # fmt: skip
    for planned in plans:
        if any(step.method == "prune" and step.cost == "latency" for step in planned.recipe.steps):
            raise InputError(f"{place}: {planned.recipe.name} prunes to a latency that each would measure alone; "
                             "use cost: macs, or one process")  # fmt: skip


def check_places(planned: Planned) -> None:
    """Raises InputError where a recipe's artifact or result would replace something else, or cannot be written."""
    check_writable(planned.folder.parent, "--artifacts")
    check_writable(planned.path.parent, "--out")
    refuse_foreign(planned.folder)
    result_files.refuse_other(planned.path)


def sweep(plans: Sequence[Planned]) -> None:
    """Removes what killed runs left: temporary folders, and parts of artifacts and results."""
    files.clear()
    for folder in {folder for planned in plans for folder in (planned.path.parent, planned.folder.parent)}:
        sweep_below(folder)


def build(planned: Planned, options: Options, machine: Machine, meter: Meter | Absent) -> Built:
    """The artifact of a recipe: the one on disk when it is the same, else made now."""
    folder = planned.folder
    with locked(
        folder.parent / f".{planned.recipe.name}.lock", f"{planned.recipe.name}: another run is building it; waiting"
    ):
        manifest = _kept(planned, options)
        if manifest is None:
            if options.rebuild:
                shutil.rmtree(planned.work, ignore_errors=True)
            if planned.recipe.trains and processes() > 1:
                meter = Absent(f"{processes()} processes trained, and only the first one's device has a meter here")
                wait(machine.device)
            _transform(planned, machine, meter)
            manifest = verify(folder)
            shutil.rmtree(planned.work, ignore_errors=True)
        else:
            say(f"  {planned.recipe.name}: artifact unchanged")
    return Built(planned.recipe, planned.found, planned.fingerprint, planned.path, folder, manifest)


def train_along(planned: Planned, options: Options, machine: Machine) -> None:
    """The part of one of several processes that is not the first: it takes the same steps and leaves nothing."""
    if _kept(planned, options) is None:
        wait(machine.device)
        _transform(planned, machine, Absent("the first process counts"))


def _kept(planned: Planned, options: Options) -> Manifest | None:
    """The manifest of the artifact on disk, when it is whole and what this recipe makes."""
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


def _transform(planned: Planned, machine: Machine, meter: Meter | Absent) -> None:
    from compress.base.devices import pick
    from compress.harness import transform

    device = pick(local_device(machine.device))
    fingerprint = planned.transform_fingerprint
    transform.build(planned.recipe, planned.found, device, planned.folder, planned.work, meter, fingerprint)
