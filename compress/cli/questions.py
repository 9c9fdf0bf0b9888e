"""`compress init`: a workload file made from options, or from answers to questions in a terminal.

Questions go to standard error, so that `compress init > my.yaml` works. Each question proposes a detected value: a
model and data in this folder, the task from the model's config.json, columns from the data.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from compress.base.config import InputError
from compress.base.reading import expanded
from compress.base.terminal import print
from compress.data import checkpoints
from compress.data.checkpoints import folder
from compress.data.checkpoints.files import read_json
from compress.data.locate import architecture_problem
from compress.data.split_files import holds
from compress.data.tasks import TASKS, task_of, task_of_class
from compress.data.template import TESTS, check_data, check_place, check_task, found_in
from compress.data.template import init as template
from compress.harness.suggested import suggested, to_start_with

NONE = "-"
"""The answer for a column that the data does not have."""


def init(model: str | None, data: str | None, task: str | None) -> None:
    """Print the workload, or write it to the file named in the answers.

    Raises InputError for missing or invalid values.
    """
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    if model is not None:
        check_place("--model", model)
    if task is None and model is not None and not interactive and (task := task_of_folder(model)) is not None:
        _say(f"{model}: task {task}, by its config.json")
    options = {"--model": model, "--data": data, "--task": task}
    missing = [option for option, value in options.items() if value is None]
    if missing and not interactive:
        unread = f" ({model}: no config.json that names a task)" * (missing == ["--task"])
        raise InputError(f"init: {', '.join(missing)} missing{unread}; set them, or run init in a terminal to be asked")
    if missing:
        _say("A workload names the model, the data and the metric. Press Enter to accept the default in [brackets].")
    model = model or ask("Model, a folder or hub id", lambda v: check_place("model", v), _models())
    data = data or ask("Data, a folder, file or hub id", lambda v: check_data("data", v), _data())
    task = task or ask(f"Task, one of {', '.join(TASKS)}", lambda v: _check_fits(model, v), task_of_folder(model))
    _check_fits(model, task)
    check_place("--model", model)
    check_data("--data", data)
    found = found_in(data, task)
    chosen = _columns(found.columns, task) if missing else None
    fitting = suggested(model, task, trains=found.train is not None)
    first = next(iter(fitting or ()), task_of(task).first_recipe)
    text = template(model, data, task, chosen, first)
    if not missing or not sys.stdout.isatty():
        print(text, end="")
        _propose(model, fitting)
        return
    place = ask(
        "File to write", _check_new, next((n for n in ("my.yaml", "workload.yaml") if not Path(n).exists()), None)
    )
    Path(place).write_text(text, encoding="utf-8")
    _propose(model, fitting)
    _say(f"\n{text}\nwritten to {place}; now: python -m compress run {first} --workload {place}")


def ask(question: str, check: Callable[[str], object], proposed: str | None = None) -> str:
    """Ask until an answer passes the check, and return it. Enter takes the proposal.

    Raises InputError at the end of input.
    """
    while True:
        print(f"{question}{f' [{proposed}]' if proposed else ''}: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise InputError("init: stopped before all questions were answered; nothing was written")
        answer = line.strip() or proposed or ""
        try:
            if not answer:
                raise InputError("an answer is needed")
            check(answer)
        except InputError as error:
            _say(f"  {error}")
            continue
        return answer


def task_of_folder(model: str) -> str | None:
    """Return the task of the model class that config.json of a folder names; None without one."""
    try:
        config = read_json(expanded(model) / "config.json")
        return next((task for name in config["architectures"] if (task := task_of_class(name, config))), None)
    except (InputError, KeyError, TypeError, AttributeError):
        return None


def _check_fits(model: str, task: str) -> None:
    """Raise InputError for an unknown task, or a folder whose config.json names a model of another task."""
    check_task(task)
    path: Path = expanded(model)
    config = checkpoints.config_of(path)[0] if path.is_dir() else None
    if config is not None and (problem := architecture_problem(config, task)):
        own = task_of_folder(model)
        raise InputError(f"--task {task}: {model} {problem}{'' if own is None else f'; its task is {own}'}")


def _columns(columns: Sequence[str], task: str) -> dict[str, str | None]:
    """Ask for the column of every field: detected columns are proposed; a column not in the data is asked again."""
    if not columns:
        return {}
    _say(f"Columns of the data: {', '.join(columns)}")
    chosen: dict[str, str | None] = {}
    for column in task_of(task).columns:
        none = NONE if column.optional else None

        def check(answer: str, none: str | None = none) -> None:
            if answer not in columns and answer != none:
                raise InputError(f"{answer}: no such column; expected one of {', '.join(columns)}")

        question = f"Column of {column.words}{f', {none} for none' if none else ''}"
        answer = ask(question, check, column.among(columns) or none)
        chosen[column.field] = None if answer == none else answer
    return chosen


def _models() -> str | None:
    return next((str(p) for p in _folders() if (p / "config.json").is_file()), None)


def _data() -> str | None:
    return next((str(p) for p in _folders() if any(holds(p, split) for split in TESTS)), None)


def _folders() -> Iterable[Path]:
    """Return the folders here and one level below, the usual places of a model and data."""
    here = sorted(p for p in Path().iterdir() if p.is_dir() and not p.name.startswith("."))
    below = (q for p in here for q in sorted(p.iterdir()) if q.is_dir() and not q.name.startswith("."))
    return [*here, *below]


def _check_new(value: str) -> None:
    path = Path(value)
    if path.exists():
        raise InputError(f"{value}: already exists; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"{value}: no such folder")


def _propose(model: str, fitting: Sequence[str] | None) -> None:
    """Name what is wrong with the model's folder, such as missing weights, and the recipes that run here.

    Nothing for a model that could not be looked at.
    """
    path: Path = expanded(model)
    wrong = folder.problems(path) if path.is_dir() and not folder.is_adapter(path) else []
    for problem in wrong:
        _say(f"{model}: {problem}; run refuses the folder as it is")
    if fitting:
        whose = "a model of this config.json" if wrong else "this model"
        others = len(fitting) - len(first := to_start_with(fitting))
        more = f" and {others} more (of those that python -m compress recipes lists; run --fitting skips the others)"
        _say(f"recipes that run here on {whose}: {', '.join(first)}{more * (others > 0)}")
    elif fitting is not None:
        _say("no shipped recipe runs here on this model; docs/cookbook.md shows how to write one")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
