"""The plan of a run, made before any weight is loaded: fingerprints, paths, and all errors that can be found early.

A result's fingerprint covers everything its raw samples depend on; a transform fingerprint covers the artifact. Equal
fingerprints let a run reuse results and artifacts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.analysis import loss, metrics
from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.device import AUTO, Device
from compress.base.files import home
from compress.base.limits import parse_limit
from compress.base.places import check_writable
from compress.base.processes import threads
from compress.base.ranks import processes
from compress.base.reading import content
from compress.base.source_code import code_digest
from compress.data import loading, locate
from compress.data.empty import empty_model
from compress.data.grid import Grid
from compress.data.source import Source
from compress.data.tasks import names_where, task_of
from compress.data.workload import Workload
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.harness.fingerprints import RESULT_CODE, environment, named_content, transform_inputs
from compress.harness.names import checked_name, name_conflicts
from compress.harness.supported import check_native, left_out, supported_runtime
from compress.model.manifest import MANIFEST, MOST_BYTES
from compress.records import files as result_files
from compress.records.result import METRIC_CONTENT, Machine, Result
from compress.spec.recipe import Recipe

RESULTS = Path("results")
ARTIFACTS = Path("artifacts")


@dataclass(frozen=True)
class Options:
    """Options of a run that are not part of its recipes."""

    workload: str | None = None
    device: str | Device = AUTO
    out: Path = RESULTS
    artifacts: Path = ARTIFACTS
    fresh: bool = False
    """Measure again even if a valid result exists; artifacts are reused."""
    limit: int | None = None
    """Most examples to evaluate on, and most to train and calibrate on."""
    keep: bool = True
    fitting: bool = False
    """Skip recipes whose runtime, format or half precision the device lacks, instead of rejecting the whole run."""
    rebuild: bool = False
    """Make artifacts again too, in place of those on disk."""
    engine: str = "local"
    """Name of the engine that runs the sessions, from `compress.harness.engine.ENGINES`."""
    grid: Grid | None = None
    """Points of a map, which every workload is measured at too; None: those that it states."""

    def __post_init__(self) -> None:
        """Convert folders given as text to paths."""
        for name in ("out", "artifacts"):
            object.__setattr__(self, name, Path(getattr(self, name)))


@dataclass(frozen=True)
class Planned:
    """A recipe with everything decided before any weight is loaded."""

    recipe: Recipe
    source: Source
    fingerprint: str
    transform_fingerprint: str
    path: Path
    folder: Path
    limit: int | None = None
    """Most training examples that its steps use; None: all, or they use none."""
    further: tuple["Planned", ...] = ()
    """Plans of the artifacts of the recipe's further seeds, each stored like that of a recipe with this seed alone."""

    @property
    def work(self) -> Path:
        """Folder of checkpoints and of the time and energy spent, until the artifact is complete."""
        return self.folder.parent / ".work" / f"{self.recipe.name}-{self.transform_fingerprint}"


def plan(recipes: Sequence[Recipe], options: Options, machine: Machine) -> list[Planned]:
    """Return the plans of the recipes, one per result file.

    Raises one InputError with all errors that can be found before weights are loaded.
    """
    if options.limit is not None and options.limit < 2:
        raise InputError(f"--limit {options.limit}: expected at least 2 test examples")
    fit, workloads, excluded = fitting(recipes, options, machine)  # before resolving a workload, which may train
    for line in excluded:
        say(line)
    for option in ("out", "artifacts"):
        check_writable(getattr(options, option), f"--{option}")
    home()
    problems: list[str] = []
    plans: list[Planned] = []
    sources: dict[str, Source] = {}
    seen: dict[tuple[str, str], str] = {}
    made: dict[Path, tuple[str, str]] = {}
    meter = find_meter(machine.target.kind, gpus_of(machine.details))
    metering = meter.reason if isinstance(meter, Absent) else [meter.source, meter.boundary]
    setup = [metering, threads()]  # a new meter or core count: measure again, from the same artifact
    for recipe in fit:
        name = options.workload or recipe.workload
        try:
            source = sources.get(name) or sources.setdefault(name, _located(workloads[name], options, problems))
            if left_out(recipe, machine, source, options.fitting):
                continue
            metric = metrics.digest(source.workload.metric_source)
            _check_margin(recipe, source.workload.metric_name)
            if source.workload.metric_source not in metrics.NAMES:
                source = replace(source, resolved={**source.resolved, METRIC_CONTENT: metric})
            named = named_content(recipe)
            trained_by = [processes()] if recipe.trains and processes() > 1 else []  # it sets the batch
        except InputError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
            continue
        measured: list[Any] = [recipe.fingerprint, source.digest, metric, options.limit, *setup]
        measured += [code_digest(RESULT_CODE), *environment(machine), *named, *trained_by]
        inputs = [*transform_inputs(source, machine), *named, *trained_by]
        key = (source.workload.name, recipe.name)
        if key in seen and seen[key] != recipe.fingerprint:
            problems.append(f"two different recipes are called {recipe.name}; rename one: their results share a file")
        seen[key] = recipe.fingerprint
        path = result_files.result_path(options.out, source.workload.name, recipe.name, machine.id, options.limit)
        root = options.artifacts / source.workload.name
        limit = options.limit if recipe.learns else None
        limited = "" if limit is None else f"-limit{limit}"  # an artifact of all examples stays
        inputs += [] if limit is None else [limit]
        first, *further = (
            Planned(
                each,
                source,
                digest(measured),
                digest([each.transform_fingerprint, *inputs]),
                path,
                root / f"{each.name}{limited}",
                limit,
            )
            for each in (recipe, *recipe.further)
        )
        plans.append(replace(first, further=tuple(further)))
        for each in (first, *further):
            name, fingerprint = made.setdefault(each.folder, (recipe.name, each.transform_fingerprint))
            if name != recipe.name and fingerprint != each.transform_fingerprint:
                problems.append(f"{name} and {recipe.name} store different models in {each.folder}; rename one")
    if problems:
        raise InputError(problems)
    return list({planned.path: planned for planned in plans}.values())


def _located(workload: Workload, options: Options, problems: list[str]) -> Source:
    """Return the source of a workload; errors of its name and its map are added to `problems`."""
    source = locate.resolve(workload)
    problems.extend([*name_conflicts(options.out / workload.name, source), *_mapped_problems(source)])
    return source


def _mapped_problems(source: Source) -> list[str]:
    """Return errors for points of a map that end beyond the model's positions, before the plan is printed."""
    workload = source.workload
    if not any(point.longest for point in workload.mapped_points):
        return []
    try:
        model = empty_model(loading.config_of(source), workload.task, workload.trust_remote_code)
    except InputError:
        return []  # the preflight reports the reason, with the weights' own
    return [f"{source.place}: {problem}" for problem in task_of(workload.task).mapped_problems(model, workload)]


def _check_margin(recipe: Recipe, metric: str) -> None:
    """Raise InputError if the unit of the recipe's margin is not that of the metric's differences."""
    margin = recipe.measure.margin
    if margin is not None:
        unit = parse_limit(margin, "measure.margin")[1]
        if reason := loss.unfit(Path(metric).stem, metrics.unit(metric), unit, "measure.margin"):
            raise InputError(f"{recipe.name} measure.margin: {margin}: {reason}")


def fitting(
    recipes: Sequence[Recipe], options: Options, machine: Machine
) -> tuple[list[Recipe], dict[str, Workload], list[str]]:
    """Return the recipes that the device can run, their workloads by name, and lines on those that are left out.

    Raises InputError with all problems of the recipes and workloads.
    """
    problems: list[str] = []
    workloads: dict[str, Workload] = {}
    fit: list[Recipe] = []
    excluded: list[str] = []
    for recipe in recipes:
        name = options.workload or recipe.workload
        try:
            workload = workloads.get(name) or loaded(name, options)
        except InputError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
            continue
        try:
            supported_runtime(recipe, machine, workload.task)
            if options.fitting:
                check_native(recipe, machine)
        except InputError as error:
            if not options.fitting:
                problems.extend(error.problems)
                continue
            own = f"{recipe.name}: "
            excluded.extend(f"{recipe.name} is left out: {problem.removeprefix(own)}" for problem in error.problems)
            continue
        fit.append(recipe)
        workloads[name] = workload
        longest = max((point.sequence_length or 0 for point in workload.mapped_points), default=0)
        if recipe.padding == "fixed" and longest > workload.max_length:
            problems.append(
                f"{recipe.name} padding: fixed pads every text to max_length {workload.max_length}; expected no longer "
                f"--length, got {longest}"
            )
        if recipe.padding == "fixed" and not task_of(workload.task).pads_fixed:
            problems.append(
                f"{recipe.name} padding: {name} is of {workload.task}, whose batches keep their own shapes; only "
                f"{names_where('pads_fixed')} can be padded to a fixed length; remove `padding`"
            )
    if problems:
        raise InputError(problems)
    if excluded and not fit:
        excluded.append("nothing is left to run: every recipe is left out (--fitting)")
    return fit, workloads, excluded


def loaded(name: str, options: Options) -> Workload:
    """Return the workload of this name or file, with the points of the options' grid. Raises InputError."""
    workload = checked_name(Workload.load(name))
    return workload if options.grid is None else options.grid.on(workload)


def measured_before(path: Path, fingerprint: str) -> Result | None:
    """Return the result in a file if it has figures and exactly this fingerprint, else None."""
    if not path.is_file():
        return None
    try:
        before = result_files.read(path)
    except InputError:
        return None  # damaged: it is measured again and replaced
    return before if before.fingerprint == fingerprint and before.error is None else None


def standing(planned: Planned, options: Options) -> Result | None:
    """Return the result on disk if it matches this plan and its artifact folder holds no other model, else None.

    A result without an artifact is not reused if the artifact is to be kept.
    """
    before = measured_before(planned.path, planned.fingerprint)
    if before is not None and before.artifact is None:
        return None if options.keep else before
    return None if before is None or _replaced(planned) else before


def why_again(planned: Planned, options: Options) -> str:
    """Return why a recipe with a result on disk is measured again; empty without one, or if the user asks for it."""
    if options.fresh or options.rebuild or not planned.path.is_file():
        return ""
    try:
        before = result_files.read(planned.path)
    except InputError:
        return "its result cannot be read"
    if before.error is not None:
        return "it failed"
    if before.fingerprint != planned.fingerprint:
        changed = before.recipe != planned.recipe.model_dump(mode="json")
        return "the recipe differs" if changed else "the workload, the code, the libraries or the machine differ"
    return "its artifact was not kept" if before.artifact is None else "its artifact's folder holds another model"


def artifact_stands(planned: Planned) -> bool:
    """Return whether the artifact on disk is this plan's, by its manifest alone."""
    return _stored_fingerprint(planned) == planned.transform_fingerprint


def _replaced(planned: Planned) -> bool:
    """Return whether the artifact's folder now holds another model; a deleted artifact is fine."""
    return _stored_fingerprint(planned) not in ("", planned.transform_fingerprint)


def _stored_fingerprint(planned: Planned) -> Any:
    """Return the fingerprint in the manifest of the artifact's folder; empty without a readable one."""
    try:
        return json.loads(content(planned.folder / MANIFEST, "manifest", MOST_BYTES))["extra"].get("fingerprint")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
