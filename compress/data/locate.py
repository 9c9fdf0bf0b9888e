"""Location of a workload's model and data: folders, files, hub commits, or offline workloads.

`resolve` locates everything and loads nothing. It needs torch only to train an offline workload on first use. Its
digest covers the content of model and data files (for the hub: their commits), so that a result is never reused for
other data.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError, digest
from compress.base.files import content_hash
from compress.base.reading import exists, expanded
from compress.data import adapters, checkpoints, pickles, stored
from compress.data.checkpoints.folder import is_pointer, is_whole, pointer_problem
from compress.data.source import ORIGIN, Source, Split
from compress.data.tasks import task_of
from compress.data.workload import OFFLINE, Workload

if TYPE_CHECKING:
    import datasets


def resolve(workload: Workload) -> Source:
    """Return the locations of model and data. Raises InputError with everything that is missing."""
    from compress.data.hub import Unreachable

    problems: list[str] = []
    unreachable: list[Unreachable] = []
    located: dict[str, tuple[str, str | None, str]] = {}
    for part, value in (("model", workload.model), ("dataset", workload.dataset.path)):
        try:
            located[part] = _find(workload, part, value)
        except Unreachable as error:
            unreachable.append(error)
        except InputError as error:
            problems.extend(error.problems)
    if unreachable:
        no_folder = next((error.no_folder for error in unreachable if error.no_folder), "")
        problems.extend(Unreachable(" and ".join(error.what for error in unreachable), no_folder).problems)
    if problems:
        raise InputError(dict.fromkeys(problems))  # both parts of one offline workload fail with the same message
    model, model_revision, model_content = located["model"]
    workload = _of_kind(workload, model, model_revision)
    data, data_revision, data_content = located["dataset"]
    dialects = {} if data_revision else _dialects(workload, Path(data))
    settings = workload.model_dump(mode="json", exclude={"name": True, "model": True, "dataset": {"path"}})
    given = model if Path(model).exists() else workload.model
    model = _derived(workload, located["model"], located["dataset"])
    origin = {ORIGIN: given} if model != located["model"][0] else {}
    return Source(
        workload=workload,
        model=model,
        dataset=data,
        digest=digest([settings, model_content, data_content]),
        resolved={
            "model": model,
            **(origin or _adapter(workload, model)),
            "model_revision": model_revision,
            "model_content": model_content,
            "dataset": data,
            "dataset_revision": data_revision,
            "dataset_content": data_content,
            **({"dataset_dialects": dialects} if dialects else {}),
            **_stated(workload, model_revision),
        },
    )


def _of_kind(workload: Workload, model: str, commit: str | None) -> Workload:
    """Return the workload, marked if its model writes token by token and others of its task do not."""
    written_by = task_of(workload.task).written_by
    if written_by is None:
        return workload
    from compress.data import hub

    folder = Path(model) if commit is None else hub.with_side_files(model, commit)
    config, _ = checkpoints.config_of(folder) if folder is not None else (None, [])
    return workload.model_copy(update={"writes": bool(config and written_by(config))})


def _derived(workload: Workload, located: tuple[str, str | None, str], data: tuple[str, str | None, str]) -> str:
    """Return the location of the model that is judged: a folder made from the located one, if the task makes one.

    `located` and `data` are location, commit and content, as `_find` returns them.
    """
    derive, place = task_of(workload.task).derive, f"{workload.name} model {workload.model}"
    model, commit, content = located
    if derive is None:
        return model
    from compress.data import tables

    folder = Path(model) if commit is None else downloaded(model, commit, place)
    if commit is not None and (problems := _model_problems(folder, workload, model)):
        raise InputError(problems)
    found = Source(workload, model, data[0], "", {"dataset_revision": data[1]})
    splits: dict[Split, datasets.Dataset] = {}

    def load(split: Split) -> "datasets.Dataset":
        if split not in splits:
            splits[split] = tables.load(found, split, splits.get("test"))
        return splits[split]

    made = derive(folder, place, workload, load, content if commit is None else content_hash(folder))
    return model if made == folder else str(made.resolve())


def downloaded(model: str, commit: str, place: str) -> Path:
    """Return the cache folder of a hub model with its weights, settings and tokenizer."""
    from compress.data import hub

    hub.with_side_files(model, commit)
    folder = hub.fetched(model, commit) or hub.cached(model, commit)
    if folder is None or not is_whole(folder):
        raise InputError(f"{place}: its weights are not on this machine, and the hub cannot be reached; {hub.WAYS_OUT}")
    return folder


def _adapter(workload: Workload, model: str) -> dict[str, str]:
    """Return the adapter's own folder if `model` is its merged copy, as an entry of `resolved`."""
    given = expanded(workload.model)
    merged = not workload.model.startswith(OFFLINE) and exists(given) and str(given.resolve()) != model
    return {"adapter": str(given.resolve())} if merged else {}


def _stated(workload: Workload, commit: str | None) -> dict[str, Any]:
    """Return what the model's own card and configuration state of it, as an entry of `resolved`."""
    from compress.data import hub
    from compress.data.model_card import STATED, stated

    if workload.model.startswith(OFFLINE):
        return {STATED: {}}
    folder = expanded(workload.model) if commit is None else hub.with_card(workload.model, commit)
    return {STATED: {} if folder is None else stated(folder)}


def _find(workload: Workload, part: str, value: str) -> tuple[str, str | None, str]:
    """Return (location, commit or None, content hash) of the model or the data set."""
    if value.startswith(OFFLINE):
        from compress.data import offline

        folder = offline.ensure(value.removeprefix(OFFLINE)) / ("model" if part == "model" else "data")
        return str(folder), None, content_hash(folder)
    path = expanded(value)
    if exists(path):
        if not (path.is_dir() or path.is_file()):
            raise InputError(f"{workload.name} {part} {value}: is neither a folder nor a file")
        if part == "model" and checkpoints.is_adapter(path) and task_of(workload.task).derive is not None:
            raise InputError(
                f"{workload.name} model {path}: is an adapter, which {workload.task} does not read; merge it into its "
                "base model (peft: merge_and_unload), and save that with its processor"
            )
        if part == "model" and adapters.can_merge(path):
            path = adapters.merged(path, workload)
        problems = _model_problems(path, workload, str(path)) if part == "model" else _data_problems(path, workload)
        if problems:
            raise InputError(problems)
        return str(path.resolve()), None, content_hash(path)
    from compress.data import hub

    if not hub.is_id(value):
        expected = "a folder of a saved transformers model" if part == "model" else "a folder or file of data"
        raise InputError(f"{workload.name} {part} {value}: no such folder or file; expected {expected}, or a hub id")
    commit = _hub_commit(workload, part, value)
    pickled = hub.pickles(value, commit) if part == "model" else []
    if pickled:
        raise InputError(f"{workload.name} model {value}: {pickles.conversion(value, workload.task, pickled)}")
    cached = hub.cached(value, commit) if part == "model" else None
    if cached is not None and (problems := _model_problems(cached, workload, value)):
        raise InputError(problems)
    return value, commit, commit


def _hub_commit(workload: Workload, part: str, value: str) -> str:
    """Return the commit of the model or the data set on the hub. Its errors name the workload and the field."""
    from compress.data import hub

    is_model = part == "model"
    revision = workload.revision if is_model else workload.dataset.revision
    field = f"field {'model' if is_model else 'dataset.path'} of workload {workload.name}"
    try:
        return hub.commit(value, "model" if is_model else "dataset", revision)
    except hub.Unreachable as error:
        no_folder = "" if revision else f"no such folder relative to the workload file or to {Path.cwd()}"
        raise hub.Unreachable(f"{error.what} ({field})", no_folder) from None
    except InputError as error:
        raise InputError(f"{field}: {problem}" for problem in error.problems) from None


def _model_problems(path: Path, workload: Workload, name: str) -> list[str]:
    """Return why a folder is not a saved model for this task, by its files, without loading any weights.

    For a cached hub model with incomplete weights, only the configuration is checked.
    """
    place = f"{workload.name} model {name}"
    if stored.is_foreign_artifact(path):
        return [f"{place}: {stored.ARTIFACT}"]
    is_partial = name != str(path) and not is_whole(path)
    problems = checkpoints.config_problems(path) if is_partial else checkpoints.problems(path)
    config, _ = checkpoints.config_of(path)
    if config is not None and not problems:
        problem = architecture_problem(config, workload.task)
        problem = problem or (None if is_partial else _weights_problem(path, config, workload.task))
        problems = [problem] if problem else []
    return [f"{place}: {problem}" for problem in problems]


def _weights_problem(path: Path, config: dict[str, Any], task: str) -> str | None:
    """Return why a folder's weights cannot be read: pickles, or integers without scales in config.json; or None."""
    if not any(path.glob(pickles.WEIGHTS)):
        return pickles.conversion(str(path), task, pickles.in_folder(path))
    return None if stored.stored_format(config) else stored.folder_problem(path)


def architecture_problem(config: dict[str, Any], task: str) -> str | None:
    """Return why a model with this config.json does not fit the task, or None."""
    names = config.get("architectures") or []
    endings = task_of(task).architectures
    if not names or any(ending in name for name in names for ending in endings):
        return None
    return f"is a {names[0]}; {task} needs a model whose class ends in {' or '.join(endings)}"


def _data_problems(path: Path, workload: Workload) -> list[str]:
    from compress.data.tables import location_problems

    if problems := location_problems(path, workload):
        return problems
    if pointers := sorted(file for file in _split_files(path, workload) if is_pointer(file)):
        return [f"{workload.name} dataset {path}: {pointer_problem(pointers)}"]
    return []


def _split_files(path: Path, workload: Workload) -> frozenset[Path]:
    """Return the files of the test split and, if there is one, of the train split."""
    from compress.data.split_files import split_files

    if path.is_file():
        return frozenset([path])
    spec = workload.dataset
    splits = (split_files(path, name) for name in (spec.test, spec.train, spec.corpus, spec.qrels) if name)
    return frozenset().union(*(split.all for split in splits if split is not None))


def _dialects(workload: Workload, path: Path) -> dict[str, str]:
    """Return the detected dialects of the test split's csv and tsv files; the result records them."""
    from compress.data.tables import dialects

    try:
        return dialects(path, workload.dataset)
    except InputError as error:
        raise InputError([f"{workload.name} dataset {path}: {problem}" for problem in error.problems]) from None


def folder_of(source: Source) -> Path | None:
    """Return the folder with a model's files; None for a hub model whose weights are unavailable.

    Weights missing in the cache are downloaded now. Raises InputError if they cannot be loaded.
    """
    from compress.data import hub

    revision = source.model_commit
    if not revision:
        return Path(source.model)
    folder = hub.cached(source.model, revision)
    if folder is None or is_whole(folder):  # already checked when the workload was resolved
        return folder
    folder = hub.fetched(source.model, revision)
    if folder is not None and (problems := _model_problems(folder, source.workload, source.model)):
        raise InputError(problems)
    return folder
