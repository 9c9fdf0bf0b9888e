"""What can be known to be wrong before weights are loaded: data, labels and layer shapes, on an empty skeleton."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compress import metrics, prequantized
from compress.config import InputError
from compress.errors import gathered
from compress.recipe import Recipe
from compress.steps import Layers, LowRank
from compress.workloads import Workload, source, task_of
from compress.workloads.stored import UNQUANTIZED, stored_format


def check(recipes: Sequence[Recipe], found: source.Source) -> None:
    """Raises one InputError with everything about these recipes, this model and this data that cannot work."""
    import transformers

    workload = found.workload
    processor = source.load_processor(found)
    options: dict[str, Any] = {"trust_remote_code": workload.trust_remote_code}
    if found.resolved["model_revision"]:
        options["revision"] = found.resolved["model_revision"]
    config = transformers.AutoConfig.from_pretrained(found.model, **options)
    _refuse(prequantized.problems(recipes, found, stored_format(config.to_dict())))
    try:
        skeleton = _skeleton(config, workload)
    except InputError as error:
        raise InputError([f"{workload.name} model {found.model}: {problem}" for problem in error.problems]) from None
    learning = [recipe.name for recipe in recipes if any(needs_training_data(step) for step in recipe.steps)]

    def test_split() -> None:
        examples = source.load_examples(found, "test", processor, config)
        source.check(found, skeleton, processor, examples)
        _refuse(_student_problems(recipes, found, processor, config, examples))

    def train_split() -> None:
        try:
            source.load_examples(found, "train", processor, config)
        except InputError as error:
            names = ", ".join(learning)
            raise InputError(f"{names} needs training examples: {problem}" for problem in error.problems) from None

    gathered(
        [
            test_split,
            lambda: metrics.check(workload.metric_name, workload.task),
            lambda: _refuse(f"{r.name} {problem}" for r in recipes for problem in shape_problems(r, skeleton)),
            *([train_split] if learning else []),
        ]
    )


def _refuse(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise InputError(found)


def _student_problems(
    recipes: Sequence[Recipe], found: source.Source, processor: Any, config: Any, examples: Any
) -> Iterator[str]:
    for recipe in recipes:
        for index, step in enumerate(recipe.steps):
            if step.method == "distill" and step.model is not None:
                for problem in student_problems(step.model, found, processor, config, examples):
                    yield f"{recipe.name} steps.{index}.model {step.model}: {problem}"


def _skeleton(config: Any, workload: Workload) -> Any:
    """The task's model of this configuration, without weights. Raises InputError where none can be made."""
    import torch
    import transformers

    auto = task_of(workload.task).auto_model
    try:
        with torch.device("meta"):
            return getattr(transformers, auto).from_config(config, trust_remote_code=workload.trust_remote_code)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        told = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise InputError(f"no {auto} can be made from its config.json ({told})") from None


def student_problems(model: str, found: source.Source, processor: Any, config: Any, examples: Any) -> list[str]:
    """Why another pretrained model cannot be the student of this workload's, as far as is known without weights."""
    import transformers

    from compress.methods.students import vocabulary

    workload, location = found.workload, str(Path(model).expanduser())
    task = task_of(workload.task)
    try:
        theirs, own = transformers.AutoConfig.from_pretrained(location), task.load_processor(location)
        problem = source.architecture_problem(theirs.to_dict(), workload.task)
        if problem:
            return [problem]
        if (kept := stored_format(theirs.to_dict())) is not None:
            return [f"its weights are stored in {kept} already and cannot be trained; {UNQUANTIZED}"]
        skeleton = _skeleton(theirs, workload)
    except InputError as error:
        return list(error.problems)
    except (OSError, ValueError, KeyError) as error:
        return [f"cannot be loaded ({str(error).strip().splitlines()[0] if str(error) else type(error).__name__})"]
    problems = task.check(skeleton, own, examples, workload)
    if workload.task != "causal-lm" and theirs.num_labels != config.num_labels:
        problems.append(f"has {theirs.num_labels} labels, the teacher {config.num_labels}")
    if vocabulary(own) != vocabulary(processor):
        problems.append("has another tokenizer; the same numbers would be other words to it")
    return problems


def needs_training_data(step: Any) -> bool:
    """Whether a step, or what it overrides in some layers, calibrates or trains."""
    return step.method == "distill" or any(part.calibrates for part in getattr(step, "parts", ()))


def shape_problems(recipe: Recipe, skeleton: Any) -> list[str]:
    """Steps whose patterns choose nothing, and ranks that save nothing, one sentence each."""
    from compress.layers import matrix, weight_layers
    from compress.methods.lowrank import groups_of

    problems = []
    for index, step in enumerate(recipe.steps):
        if not isinstance(step, Layers) or getattr(step, "structure", "unstructured") != "unstructured":
            continue
        try:
            chosen = dict(weight_layers(skeleton, step))
            groups = groups_of(skeleton, step, chosen) if isinstance(step, LowRank) else []
        except InputError as error:
            problems += [f"steps.{index}: {problem}" for problem in error.problems]
            continue
        rank = getattr(step, "rank", None)
        pruned_before = any(s.method in ("prune", "distill") for s in recipe.steps[:index])
        if rank is None or pruned_before:  # after pruning the shapes are other ones; the step checks them itself
            continue
        for group in groups:
            columns = matrix(chosen[group[0]]).shape[1]
            rows = sum(matrix(chosen[name]).shape[0] for name in group)  # [out, in], all of a group below one another
            limit = rows * columns / (rows + columns)
            if rank >= limit:
                problems.append(
                    f"steps.{index}.rank: {rank} saves nothing on {group[0]} [{rows}, {columns}]: two factors of rank "
                    f"r hold r*({rows}+{columns}) parameters, so r must be under {limit:.0f}"
                )
                break
    return problems
