"""Checks that need no weights: model, data, labels and every step, on an empty skeleton of the model.

Each check has its own module:

folder, config.json, headers of weights    compress.data.checkpoints, when the workload is resolved
weights against the skeleton               compress.data.checkpoints.fit
tokenizer, lengths, data                   the task's own check
steps                                      compress.methods.rehearsal
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.analysis import metrics
from compress.analysis.metrics import lm_eval_task
from compress.base.config import InputError
from compress.base.console import say
from compress.base.device import CPU, Device
from compress.base.errors import Gathering, as_input_error
from compress.base.reading import expanded
from compress.data import checkpoints, hub, loading, locate
from compress.data.finite import check_weights, stored
from compress.data.source import Source, Split
from compress.data.stored import UNQUANTIZED, stored_format
from compress.data.tasks import task_of, texts
from compress.data.tasks.task import only_eager
from compress.harness import prequantized
from compress.spec.formats import GRAPH_RUNTIMES, GRAPHS
from compress.spec.recipe import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Known:
    """Parts of a workload that need no weights; None for a part whose loading failed and was reported."""

    source: Source
    processor: Any
    skeleton: Any
    examples: Any


def check(recipes: Sequence[Recipe], source: Source, device: Device = CPU) -> None:
    """Raise one InputError with every problem of these recipes, this model and this data."""
    from compress.base.devices import torch_device

    place = source.place
    gathering = Gathering()
    if refused := gathering.attempt(
        lambda: list(prequantized.problems(recipes, source, prequantized.found_format(source)))
    ):
        raise InputError(refused)
    skeleton = gathering.attempt(lambda: _skeleton(source, place))
    # a tokenizer is located through config.json: without a skeleton its errors would repeat those above
    processor = None if skeleton is None else gathering.attempt(lambda: loading.load_processor(source))
    fits = skeleton is not None and gathering.attempt(lambda: _fit(source, skeleton, place)) is not None
    examples = None
    if skeleton is not None and processor is not None:
        for note in texts.vocabulary_notes(skeleton, processor) if task_of(source.workload.task).generates else ():
            say(f"{place}: {note}")
        examples = gathering.attempt(lambda: _examples(source, "test", processor, skeleton))
        if examples is not None:
            _print_detected(source, examples.info.description)
        training = [recipe.name for recipe in recipes if recipe.learns]
        if training:
            gathering.attempt(lambda: _train_split(source, processor, skeleton, training))
    gathering.attempt(lambda: _metric_fits(source, examples, processor))
    if fits:
        gathering.attempt(lambda: _check_weights(source, skeleton))
        known = Known(source, processor, skeleton, examples)
        for recipe in recipes:
            if gathering.attempt(partial(_by_layers, recipe, source, torch_device(device))):
                gathering.attempt(partial(_rehearse, recipe, known, torch_device(device)))
    gathering.end()


def _skeleton(source: Source, place: str) -> Any:
    """Return the task's model of this configuration, without weights. Raises InputError if it cannot be made."""
    from compress.data.empty import empty_model

    folder = locate.folder_of(source)
    weight_headers, _ = checkpoints.stored(folder) if folder is not None else (None, [])
    try:
        config = loading.config_of(source)
        tensors = None if weight_headers is None else len(weight_headers.tensors)
        model = empty_model(config, source.workload.task, source.workload.trust_remote_code, tensors)
        return model.float()  # `load_model` loads every checkpoint in fp32
    except InputError as error:
        raise InputError(f"{place}: {problem}" for problem in error.problems) from None


def _fit(source: Source, skeleton: Any, place: str) -> bool:
    """Return True if the weights in a folder fill the skeleton by their headers; raise InputError otherwise."""
    from compress.data.checkpoints import fit

    folder = locate.folder_of(source)
    weight_headers, problems = checkpoints.stored(folder) if folder is not None else (None, [])
    unused: list[str] = []
    if weight_headers is not None:
        problems, unused = fit.problems(skeleton, weight_headers, source.workload.task)
    if problems:
        raise InputError(f"{place}: {problem}" for problem in problems)
    notes = [] if folder is None else checkpoints.notes(folder)
    if unused:
        notes.append(f"{len(unused)} tensors are left out, which this architecture does not have, first {unused[0]}")
    if weight_headers is not None and weight_headers.wrapped:
        notes.append(f"names of tensors are taken without the wrapper's prefix, first {weight_headers.wrapped}")
    for note in notes:
        say(f"{place}: {note}")
    return True


def _check_weights(source: Source, skeleton: Any) -> None:
    """Raise InputError for weights that are not finite."""
    from safetensors import SafetensorError

    folder = locate.folder_of(source)
    if folder is None:
        return  # loading reports why the weights are unavailable
    try:
        check_weights(source.place, stored(folder, skeleton))
    except (OSError, SafetensorError):
        return  # loading reports what is wrong with the files


def _metric_fits(source: Source, examples: Any, processor: Any) -> None:
    """Raise InputError for a metric that does not fit the task, or the test split if its examples are loaded.

    A task of lm-evaluation-harness has examples of its own, which are checked instead.
    """
    if asked := source.workload.harness_task:
        from compress.measure.harness_model import check_requests

        loaded = lm_eval_task.load(asked)
        if processor is not None and (note := check_requests(loaded, processor, source.workload.max_length)):
            say(f"  {note}")
        return
    sample, count = task_of(source.workload.task).sample_outcomes, 0 if examples is None else len(examples)
    one_each = count and "reference" in sample and "labels" in examples.column_names
    labels = examples["labels"] if one_each else None
    metrics.check(source.workload.metric_name, sample, labels, count)


def _examples(source: Source, split: Split, processor: Any, skeleton: Any) -> Any:
    """Return the examples of a split, after checking them with model and processor."""
    load = loading.training_examples if split == "train" else partial(loading.load_examples, split="test")
    examples = load(source, processor=processor, model_config=skeleton.config)
    loading.check(source, skeleton, processor, examples)
    return examples


def _print_detected(source: Source, remark: str) -> None:
    """Print what was detected in the data: dialects of files, and labels numbered by their order."""
    for name, dialect in source.resolved.get("dataset_dialects", {}).items():
        say(f"  {name}: {dialect}")
    if remark:
        say(f"  {remark}")


def _train_split(source: Source, processor: Any, skeleton: Any, training: Sequence[str]) -> None:
    try:
        _examples(source, "train", processor, skeleton)
    except InputError as error:
        names = ", ".join(training)
        raise InputError(f"{names} needs training examples: {problem}" for problem in error.problems) from None


def _rehearse(recipe: Recipe, known: Known, device: "torch.device") -> None:
    """Raise InputError with the problems of a recipe's steps, attention and students on this model."""
    from compress.harness import streaming
    from compress.model.bundle import Bundle
    from compress.model.sharing import merged
    from compress.model.skeleton import empty_copy

    source = known.source
    bundle = Bundle(
        model=merged(traceable(empty_copy(known.skeleton))),
        processor=known.processor,
        task=source.workload.task,
        device=device,
        workload=source.workload,
        teacher=lambda: merged(empty_copy(known.skeleton)),
        runtime=streaming.runtime_of(recipe) if recipe.memory == "layers" else recipe.runtime,
        seed=recipe.seed,
    )
    problems = step_problems(recipe, bundle, known)
    if problems:
        raise InputError(f"{recipe.name} {problem}" for problem in problems)


def _by_layers(recipe: Recipe, source: Source, device: "torch.device") -> bool:
    """Return True. Raises InputError if a recipe demands layer by layer, and a step or the model cannot be made so."""
    from compress.harness import streaming

    if recipe.memory == "layers":
        streaming.check(recipe, source, device)
    return True


def step_problems(recipe: Recipe, bundle: Any, known: Known | None = None) -> list[str]:
    """Return the problems of a recipe on a bundle whose model is a skeleton, one sentence each."""
    from compress.methods.rehearsal import rehearse

    problems: list[str] = []

    def student(step: Any) -> Any:
        gathering = Gathering()
        built = gathering.attempt(lambda: _pretrained(step, bundle, known))
        problems.extend(f"distill model {step.model}: {problem}" for problem in gathering.problems)
        return built

    rehearsed, after = rehearse(bundle, recipe.steps, student)
    problems = rehearsed + problems
    if recipe.attention != "auto" and not rehearsed:
        problems += _attention_problems(recipe, bundle if after is None else after)
    if recipe.kv_cache != "auto" and not rehearsed:
        problems += _cache_problems(recipe.kv_cache, bundle if after is None else after)
    if not rehearsed:
        problems += _export_problems(bundle if after is None else after)
    fresh = any(step.method == "distill" and step.config for step in recipe.steps)
    if fresh and after is not None and known is not None and known.examples is not None:
        reasons = task_of(bundle.task).check(after.model, known.processor, known.examples, known.source.workload)
        problems += [f"student: {problem}" for problem in reasons]
    return problems


def _cache_problems(kv_cache: str, bundle: Any) -> list[str]:
    """Return why the model after all steps cannot have this cache, or no text of the workload is long enough for it."""
    from compress.model.cache_layers import FIRST_ROUNDED
    from compress.model.cache_settings import refusal

    if bundle.runtime in GRAPH_RUNTIMES:
        return []
    problem = refusal(bundle.model, kv_cache)
    longest = None if bundle.workload is None else bundle.workload.max_length
    rounds = problem is None and kv_cache in ("int8", "int4")
    if rounds and longest is not None and longest <= FIRST_ROUNDED:
        problem = (
            f"tokens are rounded once {FIRST_ROUNDED} have been read, and texts have at most max_length {longest}; set "
            f"max_length {2 * FIRST_ROUNDED} or more, or use runtime openvino, which rounds all tokens"
        )
    return [f"kv_cache {kv_cache}: {problem}"] if problem else []


def _attention_problems(recipe: Recipe, bundle: Any) -> list[str]:
    """Return why the model after all steps cannot compute attention as the recipe asks."""
    import torch

    from compress.model.runtimes import take_attention

    if recipe.attention == "flash_attention_2":
        if bundle.device.type != "cuda":
            return ["attention flash_attention_2: runs on CUDA only; take sdpa or eager"]
        if not any(p.dtype in (torch.float16, torch.bfloat16) for p in bundle.model.parameters()):
            return ["attention flash_attention_2: computes in half precision only; add the step {method: cast}"]
    try:
        take_attention(bundle.model, recipe.attention)
    except InputError as error:
        return list(error.problems)
    return []


def _export_problems(bundle: Any) -> list[str]:
    """Return why the runtime of the bundle does not execute the model after all steps, or it cannot be exported."""
    only = only_eager(task_of(bundle.task), bundle.model.config)
    if only and bundle.runtime not in ("auto", "eager"):
        return [f"runtime {bundle.runtime}: does not execute {type(bundle.model).__name__}: {only}"]
    if bundle.runtime not in GRAPH_RUNTIMES:
        return []
    if bundle.runtime == "llama.cpp":
        from compress.model.gguf.architectures import architecture_of

        try:
            architecture_of(bundle.model.config)
        except InputError as error:
            return [f"runtime {bundle.runtime}: {problem}" for problem in error.problems]
        return []
    if bundle.runtime == "onnxruntime-genai":
        from compress.model.runtimes.genai_build import problems

        return [f"runtime {bundle.runtime}: {problem}" for problem in problems(bundle.model.config)]
    from compress.model.runtimes.onnx import memory_problem, unexportable

    problem = unexportable(bundle.model)
    if problem is None and bundle.runtime in GRAPHS["onnx"]:
        problem = memory_problem(bundle.model)
    return [f"runtime {bundle.runtime}: {problem}"] if problem else []


def traceable(skeleton: Any) -> Any:
    """Return the skeleton with attention in plain operators, which run without weights, if it has them."""
    before = skeleton.config._attn_implementation
    try:
        skeleton.set_attn_implementation("eager")
    except ValueError:
        skeleton.config._attn_implementation = before
    return skeleton


def _pretrained(step: Any, bundle: Any, known: Known | None) -> Any:
    """Return the skeleton of another pretrained model as a student. Raises InputError for an unsuitable one."""
    from compress.data.empty import empty_model
    from compress.methods.distill.students import Student, paired, vocabulary

    location, task = str(expanded(step.model)), bundle.task
    local = Path(location).exists()
    location_problems = (
        checkpoints.problems(Path(location)) if local else hub.problems(location, hub.commit(location, "model", None))
    )
    if location_problems:
        raise InputError(location_problems)
    location = loading.student_location(location, task, bundle.model.config)
    config = loading.student_config(location, bundle.workload, task)
    if problem := locate.architecture_problem(config.to_dict(), task):
        raise InputError(problem)
    if (kept := stored_format(config.to_dict())) is not None:
        raise InputError(f"its weights are stored in {kept} already and cannot be trained; {UNQUANTIZED}")
    with as_input_error(lambda reason: f"its tokenizer cannot be loaded ({reason})"):
        own = task_of(task).load_processor(location)
    model = empty_model(config, task).float()
    problems: list[str] = []
    if known is not None and known.examples is not None:
        problems += task_of(task).check(model, own, known.examples, known.source.workload)
    if task_of(task).has_labels and config.num_labels != bundle.model.config.num_labels:
        problems.append(f"has {config.num_labels} labels, the teacher {bundle.model.config.num_labels}")
    if vocabulary(own) != vocabulary(bundle.processor):
        problems.append("has another tokenizer than the teacher; choose a model with the same token ids")
    if problems:
        raise InputError(problems)
    return Student(model, {}, paired(model, bundle.teacher(), step), "")
