"""Tab completion of the command line: names that are known without loading large libraries.

It completes shipped names and the user's own files. `compress --install-completion` sets up the shell.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from compress.base.device import AUTO, Device, DeviceKind

GPUS = Path("/proc/driver/nvidia/gpus")
"""The driver's list of boards: one folder per board."""


PROGRAM = "compress"
"""The command that shells complete, also if the script is asked for by `python -m compress`."""


def program(arguments: Iterable[str]) -> str | None:
    """Return the name that a script for a shell completes; None if none is asked for: usage lines name what was run."""
    options = ("--install-completion", "--show-completion")
    return PROGRAM if any(argument.startswith(options) for argument in arguments) else None


def recipes(incomplete: str) -> list[str]:
    """Return shipped recipes and YAML files."""
    import recipes as shipped

    return [*_starting(shipped.names(), incomplete), *_files(incomplete)]


def workloads(incomplete: str) -> list[str]:
    """Return shipped workloads and YAML files."""
    import recipes as shipped

    names = sorted(path.stem for path in (shipped.FOLDER / "workloads").glob("*.yaml"))
    return [*_starting(names, incomplete), *_files(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Return auto, cpu, cuda and the boards that the driver lists; after a comma, further boards."""
    count = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    before, comma, last = incomplete.rpartition(",")
    boards = [str(Device("cuda", (index,))) for index in range(count)]
    if comma:
        return [f"{before},{name}" for name in _starting(boards, last) if name not in before.split(",")]
    return _starting([AUTO, *get_args(DeviceKind), *boards], incomplete)


def tasks(incomplete: str) -> list[str]:
    """Return the tasks of workloads."""
    from compress.data.tasks import TASKS

    return _starting(TASKS, incomplete)


def kinds(incomplete: str) -> list[str]:
    """Return the kinds of charts."""
    return _starting(["break-even", "points", "map", "layers", "trace", "rounds"], incomplete)


def phases(incomplete: str) -> list[str]:
    """Return the phases of a map."""
    return _starting(["decode", "prefill"], incomplete)


def exports(incomplete: str) -> list[str]:
    """Return the formats of exports."""
    from compress.spec.exports import TARGETS

    return _starting(TARGETS, incomplete)


def trackers(incomplete: str) -> list[str]:
    """Return the experiment trackers."""
    return _starting(["tensorboard", "wandb", "mlflow"], incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    """Return YAML files and folders whose path starts with `incomplete`; hidden ones only after a dot."""
    parent, _, start = incomplete.rpartition("/")
    folder = Path(parent or ("/" if incomplete.startswith("/") else "."))
    if not folder.is_dir():
        return []
    prefix = incomplete[: len(incomplete) - len(start)]
    paths = sorted(p for p in folder.iterdir() if p.name.startswith(start) and (start or not p.name.startswith(".")))
    return [f"{prefix}{p.name}{'/' * p.is_dir()}" for p in paths if p.is_dir() or p.suffix in (".yaml", ".yml")]
