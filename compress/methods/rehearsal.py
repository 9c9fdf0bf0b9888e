"""Run steps on an empty model: errors due to settings and shapes appear here, before weights are loaded.

    skeleton --step 0--> shapes after step 0 --step 1--> ...      each step sees the shapes that the ones before leave

Structures are really cut, but not chosen by their weights: any choice gives the same shapes. Some shapes depend on
weights or measurements: ranks by energy, allocations, fractions of latency. Steps after such a shape are not rehearsed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.methods import lowrank, quantize, transform
from compress.methods.distill import adapters, comparing
from compress.methods.distill.batches import check_device, check_divergence
from compress.methods.distill.students import make_student
from compress.methods.prune import vocabulary as prune_vocabulary
from compress.methods.prune import weights as prune_weights
from compress.model.bundle import Bundle
from compress.model.skeleton import empty_copy
from compress.spec.steps import Distill, Layers, LowRank, Prune, Quantize

MOST_TOLD = 3
Known = Bundle | None
"""The bundle after a step; None if its shapes are not known in advance."""


def rehearse(bundle: Bundle, steps: tuple[Any, ...], student: Callable[[Distill], Any]) -> tuple[list[str], Known]:
    """Return the problems of these steps, as `steps.N: ...`, and the bundle after them.

    The bundle's model is a skeleton and is changed in place. `student` returns the skeleton of another pretrained
    model.
    """
    problems = []
    for index, step in enumerate(steps):
        bundle = replace(bundle, coming=steps[index + 1 :])
        try:
            after = _distill(bundle, step, student) if isinstance(step, Distill) else _step(bundle, step)
        except InputError as error:
            problems += [f"steps.{index}: {problem}" for problem in shortened(error.problems)]
            continue
        if after is None:
            return problems, None
        bundle = after
    return problems, bundle


def shortened(problems: Sequence[str]) -> list[str]:
    """Return the first problems and the number of the others: every layer of a model may have the same one."""
    omitted = len(problems) - MOST_TOLD
    return [*problems[:MOST_TOLD], *([f"{omitted} similar problems not shown"] if omitted > 0 else [])]


def _step(bundle: Bundle, step: Any) -> Known:
    """Return the bundle after a step and its per-layer overrides; problems of all parts are raised together."""
    problems: list[str] = []
    known = True
    parts: tuple[Any, ...] = step.parts if isinstance(step, Layers) else (step,)
    for part in parts:
        try:
            after = REHEARSALS[part.method](bundle, part)
        except InputError as error:
            problems += error.problems
            continue
        known = known and after is not None
        bundle = after or bundle
    if problems:
        raise InputError(problems)
    return bundle if known else None


def _cast(bundle: Bundle, step: Any) -> Known:
    return transform("cast")(bundle, step)


def _prune(bundle: Bundle, step: Prune) -> Known:
    if step.structure == "unstructured":
        prune_weights.choose(bundle.model, step)
        return bundle
    if step.structure == "vocabulary":
        prune_vocabulary.check(bundle)
        return bundle  # its rows depend on the corpus; no other shape does
    plain = step
    if step.cost != "parameters":  # the cost is measured in the real run; any fraction reveals a missing structure
        plain = step.model_copy(update={"cost": "parameters", "fraction": 0.5})
    after = transform("prune")(bundle, plain)
    return after if plain is step and step.allocation == "uniform" else None


def _quantize(bundle: Bundle, step: Quantize) -> Known:
    row = quantize.rehearse(bundle.model, step, bundle.device, bundle.runtime, bundle.task)
    return replace(bundle, runtime=row.runtime)


def _lowrank(bundle: Bundle, step: LowRank) -> Known:
    return bundle if lowrank.rehearse(bundle.model, step) else None


def _distill(bundle: Bundle, step: Distill, student: Callable[[Distill], Any]) -> Known:
    check_device(bundle.device)
    check_divergence(task_of(bundle.task), step)
    teacher = empty_copy(bundle.model) if bundle.teacher is None else bundle.teacher()
    if step.model is not None:
        learner = student(step)
        if learner is None:
            return None  # its problem is already reported
    else:
        learner = make_student(bundle, step, teacher)
    with comparing(learner, teacher, step, bundle.seed):
        pass
    if step.quantization_aware:
        adapters.trained_for(learner.model, bundle)
    if step.lora_rank is not None:
        adapters.check_rank(learner.model, step.lora_rank)
    return replace(bundle, model=learner.model, layers=learner.layers)


REHEARSALS: dict[str, Callable[[Bundle, Any], Known]] = {
    "cast": _cast,
    "prune": _prune,
    "quantize": _quantize,
    "lowrank": _lowrank,
}
