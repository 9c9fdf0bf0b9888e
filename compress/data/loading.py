"""Loading of a workload's model, processor and examples from their locations.

Weights are loaded in the requested dtype, and a head with new random weights is an error.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.errors import as_input_error, some
from compress.data import checkpoints, configuration
from compress.data.bad_rows import BadRows
from compress.data.checkpoints.folder import unknown_tokenizer
from compress.data.locate import architecture_problem, downloaded, folder_of
from compress.data.source import Source, Split
from compress.data.spacing import spaced_rows
from compress.data.tasks import task_of
from compress.data.tasks.task import untouched
from compress.data.workload import Workload

if TYPE_CHECKING:
    import datasets
    import torch


def load_processor(source: Source) -> Any:
    """Return the tokenizer or image processor stored with the model."""
    place = f"{source.place}: its tokenizer or image processor cannot be loaded"
    way_out = _way_out(source) or "save it beside the model with save_pretrained"
    with as_input_error(lambda reason: f"{place} ({unknown_tokenizer(source.model) or reason}); {way_out}"):
        processor = task_of(source.workload.task).load_processor(source.model, **options_of(source))
    declared = task_of(source.workload.task)
    if not (declared.reads_images or declared.reads_sound):
        _check_inputs(source, processor)
    return processor


def _check_inputs(source: Source, tokenizer: Any) -> None:
    """Raise InputError unless the tokenizer's first input, which decides padding, is input_ids."""
    names = tokenizer.model_input_names
    if list(names[:1]) != ["input_ids"]:
        raise InputError(
            f"{source.place}: tokenizer_config.json model_input_names: {names!r}; expected a list that begins with "
            "input_ids"
        )


def options_of(source: Source) -> dict[str, Any]:
    """Return the arguments of from_pretrained that a workload sets."""
    options: dict[str, Any] = {"trust_remote_code": source.workload.trust_remote_code}
    if source.model_commit:
        options["revision"] = source.model_commit
    return options


def config_of(source: Source) -> Any:
    """Return the configuration of a workload's model, completed by the task. Raises InputError for an invalid one."""
    task = task_of(source.workload.task)
    config = configuration.load(source.model, **options_of(source))
    if task.configure is not untouched:
        task.configure(config, _with_side_files(source), source.workload)
    return config


def student_config(location: str, workload: Workload | None, task: str) -> Any:
    """Return the configuration of another model for the task, a folder or on the hub, completed by the task."""
    from compress.data import hub

    config = configuration.load(location)
    if workload is not None and task_of(task).configure is not untouched:
        folder = Path(location)
        local = folder if folder.exists() else hub.with_side_files(location, hub.commit(location, "model", None))
        task_of(task).configure(config, local, workload)
    return config


def student_location(location: str, task: str, config: Any) -> str:
    """Return the location from which a student is loaded: for some tasks a folder made from it, as the teacher was."""
    from compress.data import hub

    derive = task_of(task).derive_like
    if derive is None:
        return location
    place, folder = f"model {location}", Path(location)
    if not folder.exists():
        folder = downloaded(location, hub.commit(location, "model", None), place)
    return str(derive(folder, place, config))


def _with_side_files(source: Source) -> Path | None:
    """Return the folder of a model with the small files beside its weights; None if they are unavailable."""
    from compress.data import hub

    revision = source.model_commit
    return hub.with_side_files(source.model, revision) if revision else Path(source.model)


def _way_out(source: Source) -> str:
    """Return the remedy for missing files of a hub model; empty for a folder."""
    if not source.model_commit:
        return ""
    from compress.data import hub

    if hub.reachable():
        return "check on the hub that the model is complete"
    return f"the hub could not be reached, and the cache lacks files of the model; {hub.WAYS_OUT}"


def load_model(
    source: Source, device: "torch.device | None" = None, dtype: "torch.dtype | None" = None
) -> tuple[Any, Any]:
    """Return (model in eval mode, processor), on the CPU and in float32 unless given otherwise.

    Raises InputError if weights of the task's model are missing: they would be new and random.
    """
    import torch
    from safetensors import SafetensorError

    from compress.data.empty import auto_class
    from compress.data.precision import takes_any_precision

    quiet_when_piped()
    workload = source.workload
    place = source.place
    options = options_of(source)
    processor = load_processor(source)
    folder = folder_of(source)
    renames = checkpoints.renames(folder) if folder is not None else {}
    try:
        config = config_of(source)
        problem = architecture_problem(config.to_dict(), workload.task)
        if problem:
            raise InputError(f"{place}: {problem}")
        # from_pretrained keeps the stored dtype by default: fp16 weights would make the reference fp16
        model, info = auto_class(workload.task).from_pretrained(
            source.model,
            config=config,
            dtype=dtype or torch.float32,
            output_loading_info=True,
            key_mapping=renames,
            use_safetensors=True,
            **options,
        )
    except InputError as error:
        raise InputError([p if p.startswith(place) else f"{place}: {p}" for p in error.problems]) from None
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        way_out = _way_out(source)
        sentence = f"cannot be loaded ({_first_line(error)})"
        raise InputError(f"{place}: {sentence}{f'; {way_out}' if way_out else ''}") from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{place}: has no weights for {some(missing, 4)}, which would be random; expected a model trained for "
            f"{workload.task}"
        )
    return takes_any_precision(model.to(device or "cpu").eval()), processor


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def load_examples(
    source: Source, split: Split, processor: Any, model_config: Any, limit: int | None = None, dense: Any = None
) -> "datasets.Dataset":
    """Return the prepared examples of a split. `limit` takes evenly spaced ones: the first may share a class. Of the
    test split there are at most the workload's `test_examples`.

    With `dense`, the dense model's tokenizer, they are the examples that it gives, in the tokens of `processor`.
    """
    from compress.data import tables

    quiet_when_piped()
    workload = source.workload if split == "test" else source.workload.of_training
    raw = tables.load(source, split)
    limit = judged(workload, limit) if split == "test" else limit
    task = task_of(workload.task)
    if not task.joins_rows:
        raw = spaced(raw, limit)
    place = f"{workload.name} {split} split"
    try:
        if split == "test" and task.search is not None:
            examples = task.search.prepare(raw, tables.table(source, "corpus"), processor, workload, model_config)
        elif dense is None or task.prepare_like is None:
            examples = task.prepare(raw, processor, workload, model_config)
        else:
            examples = task.prepare_like(raw, processor, workload, model_config, dense)
    except BadRows as error:
        find, taken = tables.places(source, split), spaced_rows(len(tables.load(source, split)), limit)
        raise InputError(
            [f"{place}: {problem}" for problem in BadRows(error.rows, lambda row: find(taken[row])).problems]
        ) from None
    except InputError as error:
        raise InputError([f"{place}: {problem}" for problem in error.problems]) from None
    examples = spaced(examples, limit) if task.joins_rows else examples
    return task.rows(examples) if split == "train" and task.trains_on_rows else examples


_training: "dict[tuple[str, str, str, int | None], datasets.Dataset]" = {}
"""The examples of the last call of `training_examples`."""


def training_examples(
    source: Source, processor: Any, model_config: Any, limit: int | None = None
) -> "datasets.Dataset":
    """Return the prepared examples of the train split, kept until another split is asked for, or `forget_training`.

    The checks of a run and all of its recipes use the same ones.
    """
    key = (source.digest, source.model, source.dataset, limit)
    if key not in _training:
        _training.clear()
        _training[key] = load_examples(source, "train", processor, model_config, limit=limit)
    return _training[key]


def forget_training() -> None:
    """Free the memory of the training examples."""
    _training.clear()


def judged(workload: Workload, limit: int | None) -> int | None:
    """Return how many examples of the test split are used at most: by this limit, and by the workload."""
    return min((each for each in (limit, workload.dataset.test_examples) if each is not None), default=None)


def spaced(examples: "datasets.Dataset", limit: int | None) -> "datasets.Dataset":
    """Return `limit` evenly spaced examples; all of them if there are no more, or without a limit."""
    if limit is None or limit >= len(examples):
        return examples
    return examples.select(spaced_rows(len(examples), limit))


def check(source: Source, model: Any, processor: Any, examples: "datasets.Dataset") -> None:
    """Raise InputError with every mismatch of this model and these examples."""
    problems = task_of(source.workload.task).check(model, processor, examples, source.workload)
    if problems:
        raise InputError([f"{source.place}: {problem}" for problem in problems])


def quiet_when_piped() -> None:
    """Disable the libraries' progress bars unless stderr is a terminal."""
    if sys.stderr.isatty():
        return
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
