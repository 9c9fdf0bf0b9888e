"""Runs recipes: transforms what is new, measures all of it in one session with shared references, leaves results.

Nothing is measured twice: a result on disk stands when its fingerprint (recipe, workload, data, device, versions,
settings) is the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import metrics, preflight, results
from compress.assemble import Built, assemble, failed
from compress.config import InputError, digest
from compress.energy import Absent, Meter, find_meter
from compress.formats import DYNAMIC_ACTIVATIONS, DeviceType, choose
from compress.locks import locked, measuring_lock
from compress.measure import machine as machines
from compress.progress import say
from compress.quiet import quiet_transformers
from compress.recipe import Recipe
from compress.results import Machine, Result
from compress.workloads import Workload, live, source

if TYPE_CHECKING:
    import datasets

RESULTS = Path("results")
ARTIFACTS = Path("artifacts")


@dataclass(frozen=True)
class Options:
    """How a run goes, apart from what the recipes say."""

    workload: str | None = None
    device: str = "auto"
    out: Path = RESULTS
    artifacts: Path = ARTIFACTS
    fresh: bool = False
    limit: int | None = None
    keep: bool = True


@dataclass(frozen=True)
class Planned:
    """A recipe with everything decided before any weight is loaded."""

    recipe: Recipe
    found: source.Source
    fingerprint: str
    transform_fingerprint: str
    path: Path
    folder: Path


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
    if model is None:
        return run_all([loaded], Options(workload=workload, **options))[0]
    if tokenizer is None or dataset is None:
        raise InputError("run(recipe, model=...) needs tokenizer= and dataset= as well")
    from compress.transform import task_of_model

    with tempfile.TemporaryDirectory(prefix="compress-live-") as folder:
        written = live.write(Path(folder), model, tokenizer, dataset, task_of_model(model))
        return run_all([loaded], Options(workload=str(written), **options))[0]


def run_all(recipes: Sequence[Recipe], options: Options) -> list[Result]:
    """The results of several recipes, in their order; those of one workload share a session."""
    device = _device(options.device)
    machine = machines.describe(device)
    plans = plan(recipes, options, machine)
    finished: dict[Path, Result] = {}
    by_workload: dict[str, list[Planned]] = {}
    for planned in plans:
        before = None if options.fresh else _standing(planned)
        if before is not None:
            say(f"{planned.recipe.name} on {planned.found.workload.name}: unchanged, result stands")
            finished[planned.path] = before
        else:
            by_workload.setdefault(planned.found.workload.name, []).append(planned)
    if by_workload:
        quiet_transformers()
    for group in by_workload.values():
        preflight.check([planned.recipe for planned in group], group[0].found)
    for folder in {p.path.parent for p in plans} | {p.folder.parent for p in plans}:
        _check_writable(folder)
    for group in by_workload.values():
        finished |= _run_group(group, options, machine)
    return [finished[planned.path] for planned in plans]


def _device(asked: str) -> str:
    """`cpu` or `cuda:N`. `cpu` is answered without importing torch."""
    if asked == "cpu":
        return "cpu"
    from compress.devices import pick

    return str(pick(asked))


def plan(recipes: Sequence[Recipe], options: Options, machine: Machine) -> list[Planned]:
    """Everything that can be decided, and every mistake that can be met, before weights are loaded."""
    problems: list[str] = []
    plans: list[Planned] = []
    sources: dict[str, source.Source] = {}
    seen: dict[tuple[str, str], str] = {}
    code = machines.code_version()
    if options.limit is not None and options.limit < 2:
        raise InputError(f"--limit {options.limit}: expected at least 2 test examples")
    for recipe in recipes:
        name = options.workload or recipe.workload
        try:
            _check_pairs(recipe, machine)
            if name not in sources:
                sources[name] = source.resolve(Workload.load(name))
            found = sources[name]
            metric = metrics.digest(found.workload.metric_name)
        except InputError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
            continue
        where = [code, machine.versions, machine.device, machine.device_name, machine.uuid]
        measured = [recipe.fingerprint, found.digest, metric, options.limit, *where]
        transformed = digest([recipe.transform_fingerprint, _transformed(found), *where])
        key = (found.workload.name, recipe.name)
        if key in seen and seen[key] != recipe.fingerprint:
            problems.append(f"two different recipes are called {recipe.name}; rename one: their results share a file")
        seen[key] = recipe.fingerprint
        folder = options.artifacts / found.workload.name / recipe.name
        path = options.out / found.workload.name / f"{recipe.name}-{machine.id}.json"
        plans.append(Planned(recipe, found, digest(measured), transformed, path, folder))
    if problems:
        raise InputError(problems)
    return list({planned.path: planned for planned in plans}.values())


def _transformed(found: source.Source) -> list[Any]:
    """What of a workload a transform depends on: not what is tested, by which metric, at which points."""
    judged: Any = {
        "name": True,
        "model": True,
        "metric": True,
        "headline": True,
        "points": True,
        "dataset": {"path", "test"},
    }
    settings = found.workload.model_dump(mode="json", exclude=judged)
    return [settings, found.resolved["model_content"], found.resolved["dataset_content"]]


def _check_pairs(recipe: Recipe, machine: Machine) -> None:
    """Refuses format, runtime and device combinations that do not exist."""
    device: DeviceType = "cuda" if machine.device.startswith("cuda") else "cpu"
    for index, step in enumerate(recipe.steps):
        if step.method == "quantize":
            try:
                choose(bits=step.bits, format=step.format, backend=step.backend, runtime=recipe.runtime, device=device)
            except InputError as error:
                raise InputError([f"{recipe.name} steps.{index}: {problem}" for problem in error.problems]) from None
    if recipe.runtime == "onnxruntime":
        if device == "cuda":
            raise InputError(
                f"{recipe.name} runtime: onnxruntime runs on the CPU only; use eager or compile, or --device cpu"
            )
        if any(step.method == "cast" for step in recipe.steps):
            raise InputError(f"{recipe.name} runtime: onnxruntime takes fp32 models here; remove the cast step")


def _check_writable(folder: Path) -> None:
    """Meets a folder that cannot be written before an hour of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another with --out") from None


def _standing(planned: Planned) -> Result | None:
    """The result on disk when it answers exactly this plan."""
    if not planned.path.is_file():
        return None
    try:
        before = results.read(planned.path)
    except InputError:
        return None  # unreadable: it is measured again and replaced
    return before if before.fingerprint == planned.fingerprint and before.error is None else None


def _run_group(group: Sequence[Planned], options: Options, machine: Machine) -> dict[Path, Result]:
    """Transforms and measures recipes of one workload; failures become results, the others go on."""
    say(f"{group[0].found.workload.name}: {', '.join(p.recipe.name for p in group)} on {machine.device_name}")
    meter = find_meter(machine.device.partition(":")[0], machine.uuid, machine.device_name)
    finished: dict[Path, Result] = {}
    built: list[Built] = []
    for planned in group:
        try:
            built.append(_build(planned, options, machine, meter))
        except Exception as error:  # noqa: BLE001  one recipe's failure is a result; the others go on
            finished[planned.path] = _fail(planned, options, machine, error)
    # one session holds recipes that are measured alike; most runs have a single kind
    by_settings: dict[str, list[Built]] = {}
    for item in built:
        settings = item.recipe.measure.resolved(metered=not isinstance(meter, Absent) and meter.measured)
        by_settings.setdefault(settings.model_dump_json(), []).append(item)
    with locked(measuring_lock(), "another measurement is running on this machine; waiting for it to end"):
        for items in by_settings.values():
            try:
                measured = _measure(items, options, machine, meter)
            except RuntimeError as error:  # the child died: of memory, of a full disk; what was built stays built
                measured = [failed(i.recipe, i.found, i.fingerprint, machine, options.limit, error) for i in items]
            for result in measured:
                finished[results.write(options.out, result)] = result
    if not options.keep:
        for planned in group:
            shutil.rmtree(planned.folder, ignore_errors=True)
    return finished


def _fail(planned: Planned, options: Options, machine: Machine, error: Exception) -> Result:
    result = failed(planned.recipe, planned.found, planned.fingerprint, machine, options.limit, error)
    results.write(options.out, result)
    say(f"  {planned.recipe.name} failed: {result.error}")
    return result


def _build(planned: Planned, options: Options, machine: Machine, meter: Meter | Absent) -> Built:
    """The artifact of a recipe: the one on disk when it is the same, else made now."""
    from compress import artifact

    folder = planned.folder
    work = folder.parent / ".work" / f"{planned.recipe.name}-{planned.transform_fingerprint}"
    with locked(
        folder.parent / f".{planned.recipe.name}.lock", f"{planned.recipe.name}: another run is building it; waiting"
    ):
        manifest = None
        if not options.fresh and folder.exists():
            try:
                manifest = artifact.verify(folder)
            except InputError as error:
                say(f"  {error}; made again")
        if manifest is None or manifest.extra.get("fingerprint") != planned.transform_fingerprint:
            from compress import transform
            from compress.devices import pick

            if options.fresh:
                shutil.rmtree(work, ignore_errors=True)
            for part in folder.parent.glob(f".{folder.name}.*.part"):  # what a run killed while saving left
                shutil.rmtree(part, ignore_errors=True)
            fingerprint = planned.transform_fingerprint
            transform.build(planned.recipe, planned.found, pick(machine.device), folder, work, meter, fingerprint)
            manifest = artifact.verify(folder)
            shutil.rmtree(work, ignore_errors=True)
        else:
            say(f"  {planned.recipe.name}: artifact unchanged")
    return Built(planned.recipe, planned.found, planned.fingerprint, folder, manifest)


def _measure(items: Sequence[Built], options: Options, machine: Machine, meter: Meter | Absent) -> list[Result]:
    """One session over artifacts and references, in a fresh process; the results it yields."""
    from compress import session

    found = items[0].found
    with tempfile.TemporaryDirectory(prefix="compress-session-") as scratch:
        references = _references(items, machine, Path(scratch))
        specs = [*references, *(_spec(item) for item in items)]
        job = session.Job(
            workload=found.workload,
            source=found,
            runners=tuple(specs),
            settings=items[0].recipe.measure.resolved(metered=not isinstance(meter, Absent) and meter.measured),
            device=machine.device,
            uuid=machine.uuid,
            device_name=machine.device_name,
            seed=items[0].recipe.seed,
            limit=options.limit,
            threads=_threads(),
        )
        path = Path(scratch) / "job.json"
        session.write_job(path, job)
        _child([sys.executable, "-m", "compress.session", str(path)])
        answer = json.loads(path.with_name("session.json").read_text())
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    return assemble(items, references, job, answer, machine, name)


def _threads() -> int:
    """CPU threads a model gets: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pinned() -> dict[str, str]:
    """OpenMP settings while measuring: one thread per core. Two on one core wait for each other, ten times as long."""
    if not hasattr(os, "sched_getaffinity"):
        return {}
    places = ",".join(f"{{{core}}}" for core in sorted(os.sched_getaffinity(0)))
    return {"OMP_PROC_BIND": "close", "OMP_PLACES": places}


def _spec(item: Built) -> Any:
    from compress.session import Spec

    layers = item.manifest.layers
    formats = {entry["format"] for entry in layers.values() if "format" in entry}
    return Spec(
        name=item.recipe.name,
        path=str(item.folder),
        dtype="",
        runtime=item.manifest.extra["runtime"],
        low_bit=bool(formats),
        dynamic_activations=bool(formats & DYNAMIC_ACTIVATIONS),
        reference=False,
    )


def _references(items: Sequence[Built], machine: Machine, scratch: Path) -> list[Any]:
    """fp32 eager; half precision eager where native; the dense model under every other runtime the recipes use."""
    import torch

    from compress import transform
    from compress.devices import computes_bf16, pick
    from compress.session import Spec

    def reference(name: str, path: str | None, dtype: str, runtime: Any) -> Spec:
        return Spec(name, path, dtype, runtime, low_bit=False, dynamic_activations=False, reference=True)

    device = pick(machine.device)
    half = "bf16" if computes_bf16(device) else "fp16" if device.type == "cuda" else None
    found = [reference("fp32 eager", None, "fp32", "eager")]
    if half is not None:
        found.append(reference(f"{half} eager", None, half, "eager"))
    for runtime in sorted({item.manifest.extra["runtime"] for item in items} - {"eager"}):
        if runtime == "onnxruntime":
            dense = Recipe(name="dense", runtime=runtime)
            folder = scratch / f"dense-{runtime}"
            transform.build(
                dense, items[0].found, torch.device("cpu"), folder, scratch / "work", Absent("reference"), ""
            )
            found.append(reference(f"fp32 {runtime}", str(folder), "fp32", runtime))
        else:
            dtype = half if half is not None and device.type == "cuda" else "fp32"
            found.append(reference(f"{dtype} {runtime}", None, dtype, runtime))
    return found


@contextmanager
def _forwarding_interrupts(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ends the child when this process is interrupted, so that nothing keeps running behind the user's back."""
    try:
        yield
    except BaseException:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
        raise


def _child(command: Sequence[str]) -> None:
    """Runs a child to its end; it ends by itself when this process is killed. Raises RuntimeError when it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")} | _pinned()
    own = str(Path(__file__).parents[1])  # the package that runs now, also when it is not installed
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own, environment.get("PYTHONPATH"))))
    child = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # the pipe closes when we are gone
    with child, _forwarding_interrupts(child):
        code = child.wait()
    if code != 0:
        raise RuntimeError(f"the measuring process ended with {code}; its messages are above")
