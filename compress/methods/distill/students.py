"""Students for distillation: the model itself, some of its layers, a fresh smaller one, or another pretrained one.

In a student made of some layers, each kept layer stands for the teacher's layers up to the next kept one. Its last
layer is thus compared with the teacher's last, which the head was trained to read:

    teacher   0 1 2 3 4 5        student of layers 0, 2, 5
    kept      0   2     5        compared with teacher layers 1, 4, 5
"""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from compress.base.config import InputError, did_you_mean
from compress.base.errors import as_input_error
from compress.base.reading import expanded
from compress.data import loading
from compress.data.checkpoints import settings
from compress.data.empty import auto_class, few_modules
from compress.data.tasks import task_of
from compress.methods.depth import keep_layers
from compress.model.architectures import architecture_of, layers_of, layers_path
from compress.model.bundle import Bundle
from compress.model.layers import is_empty
from compress.spec.steps import Distill


@dataclass(frozen=True)
class Student:
    """A model to train and its origin."""

    model: Any
    layers: Mapping[str, Mapping[str, Any]]
    """Entries of its changed layers, under their new names."""
    pairs: tuple[tuple[int, int], ...]
    """(student layer, teacher layer) that are compared; empty when none are."""
    note: str


def make_student(bundle: Bundle, config: Distill, teacher: Any) -> Student:
    """Return the student that the step describes. The bundle's model is cut in place when it is its own student."""
    if config.config is not None:
        return _fresh(bundle, config, teacher)
    if config.model is not None:
        return _pretrained(bundle, config, config.model, teacher)
    model = bundle.model
    if config.keep_every == 1 and config.keep is None and config.layers is None:
        pairs = paired(model, teacher, config)
        return Student(model, bundle.layers, pairs, "distill: the student has all layers of the model")
    present = layers_of(model, "distill")
    count = len(present)
    kept = config.layers
    if kept is None:
        kept_count = -(-count // config.keep_every) if config.keep is None else max(1, round(config.keep * count))
        kept = spread(count, kept_count)
    _check_layers(kept, len(present))
    path = layers_path(model, architecture_of(model, "distill"))
    attributes = keep_layers(model, kept)
    pairs = match(kept, len(present), _depth(teacher)) if config.pairs_layers else ()
    note = f"distill: student has layers {', '.join(map(str, kept))} of {len(present)}"
    moved = replace(bundle, layers=rename(bundle.layers, path, kept)).changed(model, attributes)
    return Student(model, moved.layers, pairs, note)


def spread(count: int, kept: int) -> tuple[int, ...]:
    """Return `kept` of `count` layers, spread evenly from the first to the last."""
    if kept == 1:
        return (0,)
    return tuple(round(i * (count - 1) / (kept - 1)) for i in range(kept))


def match(kept: tuple[int, ...], present: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """Return (student layer, teacher layer) pairs: each kept layer stands for those up to the next kept one.

    If the teacher's depth differs from that of the model the layers came from, layers are matched in proportion.
    """
    ends = [*(index - 1 for index in kept[1:]), present - 1]
    return tuple((i, (end + 1) * teacher // present - 1) for i, end in enumerate(ends))


def rename(layers: Mapping[str, Mapping[str, Any]], path: str, kept: tuple[int, ...]) -> dict[str, Mapping[str, Any]]:
    """Return earlier steps' entries per layer, renamed as `kept` of `path` move up, without the removed layers."""

    def new(name: str) -> str | None:
        if not name.startswith(f"{path}."):
            return name
        index, dot, rest = name.removeprefix(f"{path}.").partition(".")
        return f"{path}.{kept.index(int(index))}{dot}{rest}" if int(index) in kept else None

    moved: dict[str, Mapping[str, Any]] = {}
    for name, entry in layers.items():
        if (new_name := new(name)) is not None:
            lender = {"borrows": new(entry["borrows"])} if "borrows" in entry else {}  # a layer of the same block
            moved[new_name] = {**entry, **lender}
    return moved


def _fresh(bundle: Bundle, config: Distill, teacher: Any) -> Student:
    """Return a student of the model's configuration with changed fields, initialised at random by the bundle's seed."""
    changes = dict(config.config or {})
    new = fresh_config(bundle.model.config, changes)
    empty = is_empty(bundle.model)
    place = torch.device("meta" if empty else "cpu")
    with _refusing(new, changes), torch.random.fork_rng(), few_modules(), place:
        torch.manual_seed(bundle.seed)
        model = type(bundle.model)(new)
    pairs = paired(model, teacher, config)
    model = model.float() if empty else model.to(bundle.device).float()
    return Student(model, {}, pairs, f"distill: fresh student with {', '.join(f'{k}={v}' for k, v in changes.items())}")


def fresh_config(config: Any, changes: dict[str, Any]) -> Any:
    """Return a configuration with changed fields. Raises InputError for unknown fields and invalid values."""
    changed = copy.deepcopy(config)
    known = {*changed.to_dict(), *changed.attribute_map}
    unknown = [name for name in changes if name not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise InputError(f"distill config.{unknown[0]}: {changed.model_type} has no such field{hint}")
    if getattr(changed, "layer_types", None) and {"num_hidden_layers", "n_layer"} & set(changes):
        changes.setdefault("layer_types", None)
    values = {**changed.to_dict(), **changes}
    if problems := settings.problems(values):
        raise InputError(f"distill {problem.replace('config.json ', 'config.')}" for problem in problems)
    with _refusing(changed, changes):
        changed = type(changed).from_dict(values)
    return changed


def _refusing(config: Any, changes: dict[str, Any]) -> AbstractContextManager[None]:
    return as_input_error(lambda reason: f"distill config {changes}: invalid for {config.model_type}: {reason}")


def _pretrained(bundle: Bundle, config: Distill, location: str, teacher: Any) -> Student:
    """Return another model of the same task, labels and tokenizer. Raises InputError for one that is not compatible."""
    task = task_of(bundle.task)
    place = f"distill model {location}"
    named = str(expanded(location))
    location = loading.student_location(named, bundle.task, teacher.config)
    try:
        processor = task.load_processor(location)
        own = loading.student_config(location, bundle.workload, bundle.task)
        model, info = auto_class(bundle.task).from_pretrained(
            location, config=own, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{place}: cannot be loaded ({reason}); expected the id or folder of a saved model") from None
    if info["missing_keys"]:
        raise InputError(f"{place}: has no weights for {min(info['missing_keys'])}; expected a trained model")
    label_count, teacher_labels = (getattr(m.config, "num_labels", None) for m in (model, teacher))
    if task.has_labels and label_count != teacher_labels:
        raise InputError(
            f"{place}: has {label_count} labels, the teacher {teacher_labels}; expected the teacher's labels"
        )
    for field in ("id2label", "label2id"):  # the student learns the teacher's label numbers
        setattr(model.config, field, getattr(teacher.config, field))
    if vocabulary(processor) != vocabulary(bundle.processor):
        raise InputError(f"{place}: has another tokenizer than the teacher; expected a model with the same tokenizer")
    pairs = paired(model, teacher, config)
    return Student(model.to(bundle.device), {}, pairs, f"distill: the student is {named}")


def vocabulary(processor: Any) -> Any:
    """Return a tokenizer's token -> number, or an image processor's preprocessing settings."""
    if hasattr(processor, "get_vocab"):
        return processor.get_vocab()
    settings_by_name = processor.to_dict()
    return {
        key: settings_by_name.get(key) for key in ("size", "crop_size", "image_mean", "image_std", "rescale_factor")
    }


def paired(model: Any, teacher: Any, config: Distill) -> tuple[tuple[int, int], ...]:
    """Return the pairs of layers that the loss compares; none if it compares no layers."""
    return _spread(_depth(model), _depth(teacher)) if config.pairs_layers else ()


def _spread(student: int, teacher: int) -> tuple[tuple[int, int], ...]:
    """Return pairs of layers at the same relative depth, the last with the last."""
    return tuple((i, (i + 1) * teacher // student - 1) for i in range(student))


def _depth(model: Any) -> int:
    return len(layers_of(model, "distill with hidden_weight"))


def _check_layers(kept: tuple[int, ...], count: int) -> None:
    problems = [f"distill layers: {i}; expected numbers from 0 to {count - 1}" for i in kept if i >= count]
    if list(kept) != sorted(set(kept)):
        problems.append(f"distill layers {list(kept)}: expected ascending numbers without duplicates")
    if not kept:
        problems.append("distill layers: empty; expected at least one layer")
    if problems:
        raise InputError(problems)
