"""Sensitivity of layers to a step: the growth of the loss when the step changes one layer alone.

    python -m compress sensitivity bert_int4 --workload my.yaml

The model is the one that the earlier steps produce. The training examples are drawn with another seed than those of
calibration. Sensitive layers are candidates for `overrides` and `exclude`.
"""

import copy
import glob
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from compress.base.config import InputError
from compress.base.console import track
from compress.base.device import AUTO, Device
from compress.base.devices import pick, torch_device
from compress.data import locate
from compress.data.tasks import task_of
from compress.data.tasks.task import Task
from compress.data.workload import Workload
from compress.harness import preflight
from compress.harness.transform import open_bundle
from compress.methods import apply_step, lowrank, quantize
from compress.methods.calibrate import batches
from compress.methods.capture import remembered
from compress.methods.prune import weights as prune_weights
from compress.model.architectures import layers_of
from compress.model.bundle import Bundle, matches
from compress.model.outputs import logits_of
from compress.records.stats import Estimate
from compress.spec.recipe import Recipe
from compress.spec.steps import Layers, LowRank, Prune, Quantize, Sample

EXAMPLES = 256
Losses = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Effect:
    """Growth of the mean loss through a change, paired over the same examples."""

    layer: str
    more: Estimate | None
    error: str | None = None
    """Why the step cannot change this layer alone."""


@dataclass(frozen=True)
class Report:
    """Effects of one step, the worst first."""

    step: Layers
    examples: int
    before: float
    """Mean loss with no layer changed by this step."""
    together: Estimate
    """Growth of the mean loss with all layers changed."""
    effects: tuple[Effect, ...]

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        step: Any = self.step
        width = max(len(effect.layer) for effect in (*self.effects, Effect("all together", None)))
        rows = [("all together", _growth_text(self.together))]
        rows += [(e.layer, _growth_text(e.more) if e.more else str(e.error)) for e in self.effects]
        return [
            f"{step.method}: loss {self.before:.4f} before the step, on {self.examples} training examples; its "
            "increase by layer (95 %):",
            *(f"{name:{width}}  {growth}" for name, growth in rows),
        ]


def _growth_text(more: Estimate) -> str:
    return f"{more.value:+.4f} ({more.low:+.4f} to {more.high:+.4f})"


def sensitivity(
    recipe: Recipe,
    workload: str | None = None,
    device: str | Device = AUTO,
    examples: int = EXAMPLES,
    step: int | None = None,
) -> Report:
    """Return the report of a recipe's step, counted from 0; by default the last one that changes layers.

    Raises InputError for a step that does not change layers one by one.
    """
    picked = pick(device)
    index = _index(recipe, step)
    source = locate.resolve(Workload.load(workload or recipe.workload))
    preflight.check([recipe], source, picked)
    bundle = open_bundle(recipe, source, torch_device(picked), work=None)
    for place, before in enumerate(recipe.steps[:index]):
        bundle = apply_step(replace(bundle, coming=recipe.steps[place + 1 :]), before)
    return effects(bundle, recipe.steps[index], examples)


def effects(bundle: Bundle, step: Any, examples: int = EXAMPLES) -> Report:
    """Return the report of a step on a bundle; the bundle's model is not changed."""
    reseeded = replace(bundle, seed=bundle.seed + 1)
    data = list(batches(reseeded, "sensitivity", Sample(examples)))
    task = task_of(bundle.task)
    _refuse_without_labels(task)
    before = losses(bundle.model, data, task)

    def growth(changed: Any) -> Estimate:
        return _growth(before, losses(changed, data, task))

    measured = []
    names = list(units(bundle, step))
    modules = dict(bundle.model.named_modules())  # inputs of stacked experts, which are parameters, are not captured
    with_inputs = replace(bundle, inputs=remembered(bundle, (name for _, name in names if name in modules)))
    for part, name in track(names, "sensitivity", len(names)):
        alone = part.model_copy(update={"include": (glob.escape(name),), "exclude": ()})
        try:
            measured.append(Effect(name, growth(_changed_model(with_inputs, alone))))
        except InputError as error:
            measured.append(Effect(name, None, error.problems[0]))
    ordered = sorted(measured, key=lambda effect: (effect.more is None, -effect.more.value if effect.more else 0.0))
    sums, counts = before
    together = growth(_changed_model(bundle, step))
    return Report(step, len(sums), float(sums.sum() / counts.sum()), together, tuple(ordered))


def _changed_model(bundle: Bundle, step: Any) -> Any:
    return apply_step(replace(bundle, model=copy.deepcopy(bundle.model)), step).model


def _growth(before: Losses, after: Losses) -> Estimate:
    """Return the growth of the mean loss with its 95 % interval over examples."""
    sums, counts = before
    difference = after[0] - sums  # [n]
    mean = float(difference.sum() / counts.sum())
    half = 1.96 * float(difference.std() * len(difference) ** 0.5 / counts.sum())
    return Estimate(mean, mean - half, mean + half, len(difference))


def units(bundle: Bundle, step: Any) -> Iterator[tuple[Any, str]]:
    """Yield (part, name) for each layer that a step would change: the part that changes it, and the layer's name.

    Names are those that `include` and `exclude` match.
    """
    for part in step.parts:
        if isinstance(part, Prune) and part.structure in ("hidden", "channels", "vocabulary"):
            raise InputError(f"sensitivity: prune {part.structure} cuts all layers together; expected single layers")
        if isinstance(part, Prune) and part.structure in ("feed_forward", "heads"):
            for layer in layers_of(bundle.model, "sensitivity"):
                names = layer.architecture
                name = layer.child(names.query if part.structure == "heads" else names.ffn_in[0])
                if matches(name, part):
                    yield part, name
        else:
            yield from ((part, name) for name in _chosen(bundle, part))


def _chosen(bundle: Bundle, part: Any) -> list[str]:
    """Return the layers, and the stacks of experts, that a part of a step chooses: what its method chooses itself."""
    if isinstance(part, Quantize):
        chosen, experts = quantize.choose_layers(bundle.model, part, bundle.device, bundle.runtime, bundle.task)
    elif isinstance(part, LowRank):
        chosen, experts = lowrank.choose(bundle.model, part)[0], {}
    else:
        chosen, experts = prune_weights.choose(bundle.model, part)
    return [*(name for name, _ in bundle.model.named_modules() if name in chosen), *experts]


def _refuse_without_labels(task: Task) -> None:
    """Raise InputError for a task without a loss of its own."""
    if not task.learns_labels:
        raise InputError(f"sensitivity: {task.name} has no loss by labels; take the metric of runs with `exclude`")


def losses(model: Any, data: list[dict[str, torch.Tensor]], task: Task) -> Losses:
    """Return [n] summed losses and [n] counts of labels by example, of a model or an exported graph; float64."""
    sums: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in data:
            labels = batch["labels"]
            inputs = {name: value for name, value in batch.items() if name != "labels" or not task.trains_by_losses}
            logits = logits_of(model(**inputs)).float()
            lost, counted = task.losses(logits, labels.to(logits.device))
            sums.append(lost.cpu())
            counts.append(counted.cpu())
    return torch.cat(sums), torch.cat(counts)


def _index(recipe: Recipe, step: int | None) -> int:
    of_layers = [index for index, step_of_recipe in enumerate(recipe.steps) if isinstance(step_of_recipe, Layers)]
    if not of_layers:
        raise InputError(f"sensitivity {recipe.name}: expected a step that changes layers (prune, quantize, lowrank)")
    if step is not None and step not in of_layers:
        where = ", ".join(map(str, of_layers))
        raise InputError(f"sensitivity {recipe.name} --step {step}: expected a step that changes layers: {where}")
    return of_layers[-1] if step is None else step
