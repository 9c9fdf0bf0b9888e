"""Application of a recipe's steps, in order: to a live model without measuring, or into an artifact with metering."""

import copy
import time
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compress.analysis.price import Span, recorded
from compress.base.config import InputError
from compress.base.console import say
from compress.base.device import CPU, Device
from compress.base.devices import computes_bf16, pick, torch_device
from compress.base.ranks import rank
from compress.data import live, loading
from compress.data.finite import check_weights
from compress.data.source import Source
from compress.data.stored import UNQUANTIZED, stored_format
from compress.data.tasks import TASKS, task_of, task_of_class
from compress.data.workload import Workload
from compress.energy.meters import Absent, Meter
from compress.energy.spending import begin, end, spending
from compress.harness import prequantized, streaming
from compress.harness.cost import cost_of
from compress.harness.preflight import step_problems, traceable
from compress.measure.evaluate import BATCH
from compress.measure.size import parameter_counts
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.bundle import Bundle
from compress.model.changes import Change, change, weights
from compress.model.padding import check_padding
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.providers import Shapes
from compress.model.sharing import merged
from compress.model.skeleton import empty_copy
from compress.spec.formats import GRAPH_RUNTIMES
from compress.spec.recipe import Recipe
from compress.spec.steps import Prune, Step

if TYPE_CHECKING:
    import datasets

IN_FP32 = (
    "its floating-point operators run in fp32, on a device that computes bf16 natively: for bf16, add the step "
    "{method: cast, dtype: bf16}, before quantize or last"
)


ROUNDED = "kv_cache {}: accuracy and greedy text are judged token by token, through the rounded cache"
CACHES = {
    **{kind: ROUNDED.format(kind) for kind in ("int8", "int4")},
    "static": "kv_cache static: perplexity is judged on whole texts, without the cache; greedy text through it",
}
"""Value of `kv_cache` -> the note of its rows."""


def task_of_model(model: Any) -> str:
    """Return the task that a transformers model was made for, by its class name."""
    name = type(model).__name__
    task = task_of_class(name, model.config.to_dict())
    if task is None:
        endings = dict.fromkeys(ending for task in TASKS for ending in task_of(task).architectures)
        raise InputError(
            f"{name}: its class and configuration are of none of the tasks {', '.join(TASKS)}; expected a class that "
            f"ends in {', '.join(endings)}"
        )
    if why := task_of(task).unusable(model):
        raise InputError(f"{name}: {why}")
    return task


def load(path: str | Path, device: str | Device = CPU, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Return the model and tokenizer (or image processor) of a saved artifact, ready for inference.

    Raises InputError if the folder is damaged, foreign, or made by a newer version.
    """
    model, processor, manifest = artifact.load(Path(path), pick(device), trust_remote_code)
    return runtimes.runnable_artifact(model, str(manifest.extra.get("runtime", "eager")), manifest), processor


def apply(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    dataset: "datasets.Dataset | None" = None,
    device: str | Device | None = None,
) -> Any:
    """Return the compressed model; the given one is not changed. Nothing is measured or written.

    `dataset` holds training examples (columns text and label, image and label, or text) for steps that need them.
    """
    place = torch_device(pick(device)) if device else next(model.parameters()).device
    if recipe.runtime == "tensorrt":
        raise InputError("apply with runtime tensorrt: its engine is built for a workload's shapes; use run")
    if any(isinstance(step, Prune) and step.structure == "vocabulary" for step in recipe.steps):
        raise InputError(
            "apply with prune vocabulary: it returns a model without its new tokenizer; use run, then load"
        )
    task = task_of_model(model)
    if (kept := stored_format(model.config.to_dict())) is not None:
        raise InputError(f"apply: the model's weights are already stored in {kept}; {UNQUANTIZED}")
    check_weights(type(model).__name__, model.named_parameters())

    def train() -> "datasets.Dataset":
        return live.prepare(dataset, task, tokenizer, model)

    def dense() -> Any:
        return merged(copy.deepcopy(model).to(place).float()).eval()

    bundle = Bundle(
        model=dense(),
        processor=tokenizer,
        task=task,
        device=place,
        train=train if dataset is not None else None,
        teacher=dense,
        runtime=recipe.runtime,
        seed=recipe.seed,
    )
    _check_live(recipe, bundle, model)
    for index, step in enumerate(recipe.steps):
        bundle, changed = _apply_noted(replace(bundle, coming=recipe.steps[index + 1 :]), step)
        say(f"  {step.method}: {changed}")
    for note in bundle.notes:
        say(f"  {note}")
    bundle = runtimes.finish(bundle, bundle.runtime)
    length = live.describe("live", task, tokenizer, model).max_length if recipe.padding == "fixed" else None
    return runtimes.prepare(bundle.model, bundle.runtime, recipe.attention, length, bundle.layers, recipe.kv_cache)


def _check_live(recipe: Recipe, bundle: Bundle, model: Any) -> None:
    """Raise InputError with every problem of a recipe on a live model, before any step runs."""

    def skeleton() -> Any:
        return merged(empty_copy(model).float())  # the bundle's own copy is in fp32 too

    empty = replace(bundle, model=traceable(skeleton()), teacher=skeleton)
    if problems := step_problems(recipe, empty):
        raise InputError(f"{recipe.name} {problem}" for problem in problems)


def open_bundle(
    recipe: Recipe, source: Source, device: torch.device, work: Path | None, limit: int | None = None
) -> Bundle:
    """Return the workload's dense model with everything a step may need. `limit`: at most so many training examples."""
    if refused := list(prequantized.problems([recipe], source, prequantized.found_format(source))):
        raise InputError(refused)
    model, processor = loading.load_model(source, device)
    check_weights(source.place, model.named_parameters())

    def train() -> "datasets.Dataset":
        return loading.training_examples(source, processor, model.config, limit)

    def encoded(tokenizer: Any) -> dict[str, Any]:
        load = partial(loading.load_examples, source, processor=tokenizer, model_config=model.config)
        return {"train": cache(partial(load, "train", limit=limit)), "examples": lambda n: load("test", limit=n)}

    bundle = Bundle(
        model=merged(model),
        processor=processor,
        task=source.workload.task,
        device=device,
        workload=source.workload,
        train=train,
        examples=lambda count: loading.load_examples(source, "test", processor, model.config, limit=count),
        encoded=encoded,
        teacher=lambda: merged(loading.load_model(source, device)[0]),
        cost=cost_of(source, device, processor, recipe.seed),
        runtime=recipe.runtime,
        seed=recipe.seed,
        work=work,
        layers=_stored_layers(model),
    )
    check_padding(bundle, source.place)
    return bundle


def _stored_layers(model: Any) -> dict[str, dict[str, Any]]:
    """Return the layer entries of a model stored in a bitsandbytes format; empty for other models."""
    if not getattr(model, "is_quantized", False):
        return {}
    from compress.model.packing import bnb

    return bnb.stored(model)


def build(
    recipe: Recipe,
    source: Source,
    device: torch.device,
    folder: Path,
    work: Path,
    meter: Meter | Absent,
    fingerprint: str,
    limit: int | None = None,
) -> None:
    """Run the recipe's steps on the workload's model and save the artifact in `folder`.

    `work` keeps checkpoints and the time and energy spent, for the attempt after a killed one. Of several processes
    that train together, the first one saves. `limit`: steps train and calibrate on at most so many examples.
    """
    torch.manual_seed(recipe.seed)
    work.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, Change, Span]] = []
    with spending(meter, work / "spent.json" if rank() == 0 else None) as total:
        by_layer = streaming.wanted(recipe, source, device)
        if by_layer is None:
            bundle = open_bundle(recipe, source, device, work, limit)
        else:
            bundle = streaming.open_streamed(recipe, source, device, work, limit)
        counts = _counts(bundle)
        for index, step in enumerate(recipe.steps):
            place = f"{recipe.name} {index + 1}/{len(recipe.steps)}"
            bundle, changed, span = _metered_step(replace(bundle, coming=recipe.steps[index + 1 :]), step, meter, place)
            steps.append((step.method, changed, span))
            if step.method != "quantize":  # packed weights no longer count one element per parameter
                counts = _counts(bundle)
        bundle = runtimes.finish(bundle, bundle.runtime)
        runtimes.prepare(bundle.model, "eager", recipe.attention)  # raise now, not when measured
    padded_to = source.workload.max_length if recipe.padding == "fixed" else None
    padding = [f"padding fixed: every text is padded to {padded_to} tokens"] if padded_to else []
    cache = [CACHES[recipe.kv_cache]] if recipe.kv_cache in CACHES else []
    if recipe.kv_cache in ("int8", "int4") and bundle.runtime not in GRAPH_RUNTIMES:
        cache = [f"{cache[0]}; the latest 32 to 63 tokens of a text stay as computed"]
    by_layers = [by_layer] if by_layer else []
    limited = [f"--limit {limit}: trained and calibrated on at most {limit} examples"] if limit else []
    fp32 = [IN_FP32] if recipe.steps and _left_in_fp32(bundle) else []
    extra = {
        "fingerprint": fingerprint,
        "runtime": bundle.runtime,
        "attention": recipe.attention,
        "kv_cache": recipe.kv_cache,
        "padded_to": padded_to,
        "shapes": asdict(shapes_of(source.workload)) if bundle.runtime == "tensorrt" else None,
        "transform": recorded(total, [(method, change.layers, change.shares, span) for method, change, span in steps]),
        "notes": [*by_layers, *bundle.notes, *padding, *cache, *limited, *fp32],
        "parameters": counts[0],
        "nonzero": counts[1],
    }
    if rank() == 0:
        artifact.save(bundle, folder, extra)


def _counts(bundle: Bundle) -> tuple[int, int]:
    """Return the parameters and non-zero parameters of a bundle's model."""
    if bundle.stream is None:
        return parameter_counts(bundle.model)
    counted: tuple[int, int] = bundle.stream.counts(bundle.model)
    return counted


def _left_in_fp32(bundle: Bundle) -> bool:
    """Return whether a model computes in fp32 on a device that computes bf16 natively.

    False for graphs: their runtime chooses the precision.
    """
    if isinstance(bundle.model, GraphModel) or not computes_bf16(bundle.device):
        return False
    if bundle.stream is not None:
        return bool(bundle.stream.final == torch.float32)
    return any(type(p.data) is torch.Tensor and p.dtype == torch.float32 for p in bundle.model.parameters())


def shapes_of(workload: Workload) -> Shapes:
    """Return the shapes of a TensorRT engine: usual is the headline's, largest covers evaluation and every point."""
    points = [workload.headline_point, *workload.further_points, *workload.mapped_points]
    usual = workload.headline_point
    longest = max(workload.max_length, *(point.sequence_length or 0 for point in points))
    length = None if usual.sequence_length is None else longest
    return Shapes((usual.batch_size, usual.sequence_length), (max(BATCH, *(p.batch_size for p in points)), length))


def _apply_noted(bundle: Bundle, step: Step) -> tuple[Bundle, Change]:
    """Return the bundle after one step, with the step's notes, and the change."""
    before = weights(bundle.model)
    after = apply_step(bundle, step)
    changed = change(step, before, bundle.layers, after.model, after.layers)
    return replace(after, notes=(*after.notes, *changed.notes)), changed


def _metered_step(bundle: Bundle, step: Step, meter: Meter | Absent, place: str) -> tuple[Bundle, Change, Span]:
    """Return the bundle after one step, the change and the step's cost. Prints them in one line."""
    before = weights(bundle.model)
    span, start = begin(meter), time.monotonic()
    after = apply_step(bundle, step)
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)
    span = end(span, meter, time.monotonic() - start)
    changed = change(step, before, bundle.layers, after.model, after.layers)
    after = replace(after, notes=(*after.notes, *changed.notes))
    say(f"  {place} {step.method}: {changed} in {span.seconds:.1f} s")
    for note in after.notes[len(bundle.notes) :]:
        say(f"    {note}")
    return after, changed, span
