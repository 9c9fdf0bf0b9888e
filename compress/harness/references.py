"""References of a session: the uncompressed model in the precisions and runtimes that verdicts compare with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.files import cache_folder
from compress.data.cached import keep_used, made_once
from compress.data.source import Source
from compress.energy.meters import Absent
from compress.harness.assemble import Built
from compress.harness.fingerprints import transform_inputs
from compress.harness.pacing import key_of, timed, weight_bytes
from compress.harness.prequantized import found_format
from compress.harness.supported import supported_runtime
from compress.measure.job import Spec
from compress.model.manifest import verify
from compress.records.result import PADDED, STATIC, Machine
from compress.spec.formats import BATCH_DEPENDENT, GRAPH_RUNTIMES
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast

CACHED = "references"
MOST_CACHED_BYTES = 2_000_000_000


def build_references(items: Sequence[Built], machine: Machine, scratch: Path) -> list[Spec]:
    """Return the references of these recipes. Graphs of the dense model are exported once, or into `scratch`.

    They are: fp32 eager; half precision eager where native; the dense model under every other runtime of the recipes.
    The dense model of another runtime is padded to a fixed length, and has a static cache, if the recipe does, so that
    their savings are not credited to compression. A model that is stored in few bits has one reference, itself, named
    after its format.
    """
    from compress.base.devices import computes_bf16, torch_device

    def reference(
        dtype: str, runtime: Any, path: str | None = None, padded_to: int | None = None, kv_cache: str = "auto"
    ) -> Spec:
        name = f"{dtype} {runtime}" + (PADDED if padded_to else "") + (STATIC if kv_cache == "static" else "")
        return Spec(name, path, dtype, runtime, False, False, reference=True, padded_to=padded_to, kv_cache=kv_cache)

    kept = found_format(items[0].source)
    if kept is not None:
        batch_dependent = (kept, "bitsandbytes") in BATCH_DEPENDENT
        return [
            Spec(f"{kept} eager", None, kept, "eager", low_bit=True, batch_dependent=batch_dependent, reference=True)
        ]
    device = torch_device(machine.target)
    half = "bf16" if computes_bf16(device) else "fp16" if device.type == "cuda" else None
    references = [reference("fp32", "eager")]
    if half is not None:
        references.append(reference(half, "eager"))
    extras = [(item.manifest.extra, _graph_dtype(item)) for item in items]
    variants = {
        (str(extra["runtime"]), cast, extra.get("padded_to") or 0, extra.get("kv_cache") == "static")
        for extra, cast in extras
    }
    for runtime, cast, length, static in sorted(variant for variant in variants if variant[0] != "eager"):
        if runtime in GRAPH_RUNTIMES:
            dense = _dense(runtime, half=cast == "fp16", fixed=bool(length))
            folder = _exported(dense, items[0].source, machine, scratch)
            dtype = half if half is not None and runtime == "openvino" else cast
            references.append(reference(dtype, runtime, str(folder), length or None))
        else:
            dtype = half if half is not None and device.type == "cuda" else "fp32"
            references.append(reference(dtype, runtime, None, length or None, "static" if static else "auto"))
    return references


def is_exported(recipe: Recipe, source: Source, machine: Machine) -> bool:
    """Return whether the cache holds the graph of the dense model that the recipe is compared with."""
    half = any(isinstance(step, Cast) and step.dtype == "fp16" for step in recipe.steps)
    runtime = supported_runtime(recipe, machine, source.workload.task, source.workload.writes)
    dense = _dense(runtime, half, recipe.padding == "fixed")
    return _is_complete(_cached(dense, source, machine))


def _dense(runtime: Any, half: bool, fixed: bool) -> Recipe:
    """Return the recipe of the dense model as a graph of this runtime, its precision and its padding."""
    steps = (Cast(dtype="fp16"),) if half else ()
    return Recipe(name="dense", runtime=runtime, steps=steps, padding="fixed" if fixed else "dynamic")


def _cached(dense: Recipe, source: Source, machine: Machine) -> Path:
    """Return the folder of the dense model's graph in the cache; its name is the fingerprint."""
    return cache_folder() / CACHED / digest([dense.transform_fingerprint, *transform_inputs(source, machine)])


def _is_complete(folder: Path) -> bool:
    try:
        return verify(folder).extra.get("fingerprint") == folder.name
    except InputError:
        return False


def _exported(dense: Recipe, source: Source, machine: Machine, scratch: Path) -> Path:
    """Return the dense model's graph for this recipe: the one in the user's cache, exported once, or in `scratch`.

    The cache holds graphs of models up to `MOST_CACHED_BYTES`, and removes those that no run has used for a month.
    """
    from compress.base.devices import torch_device
    from compress.harness import transform

    cached = _cached(dense, source, machine)

    def build(folder: Path) -> None:
        device = torch_device(machine.target)
        stage = key_of(source.workload.name, dense.runtime, None, machine.device_name)
        with timed("references", stage, source.model):
            transform.build(dense, source, device, folder, scratch / "work", Absent("reference"), cached.name)

    if weight_bytes(source.model) <= MOST_CACHED_BYTES:
        try:
            made = made_once(cached, f"the dense model for {dense.runtime}", _is_complete, build)
            keep_used(made)
            return made
        except InputError as error:
            say(f"  {error}; exported for this run alone")
    build(scratch / cached.name)
    return scratch / cached.name


def _graph_dtype(item: Built) -> str:
    """Return the floating-point precision of a recipe's graph, which its dense reference shares; fp32 for others."""
    graph = item.manifest.extra["runtime"] in GRAPH_RUNTIMES
    return str(item.manifest.layers.get("", {}).get("dtype", "fp32")) if graph else "fp32"
