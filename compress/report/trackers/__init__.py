"""Results in an experiment tracker: `compress track RESULT... --to tensorboard|wandb|mlflow`. Never torch.

    facts.py         what is told: configuration, metrics as in pareto.csv, the power trace; the same for all of them
    tensorboard.py   mlflow.py   wandb.py      one file each: `send(facts, folder, project) -> where it went`

A result is sent once: where it is already, that is said and nothing is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from compress.base.config import InputError
from compress.base.errors import gathered
from compress.report.trackers.facts import Facts, facts


@dataclass(frozen=True)
class Tracker:
    """How one tracker is reached."""

    package: str
    """What is imported."""
    extra: str
    """The extra that installs it."""


TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker("tensorboard", "tensorboard"),
    "wandb": Tracker("wandb", "wandb"),
    "mlflow": Tracker("mlflow", "mlflow"),
}


def track(paths: Sequence[Path], to: str, folder: Path | None = None, project: str = "compress") -> list[str]:
    """Sends results to a tracker and returns a line for each: where it is.

    Raises InputError for a tracker that is none or not installed, and for results that cannot be read, before any is
    sent.
    """
    if to not in TRACKERS:
        raise InputError(f"--to {to}: expected one of {', '.join(TRACKERS)}")
    tracker = TRACKERS[to]
    if find_spec(tracker.package) is None:
        raise InputError(f"--to {to}: {tracker.package} is not installed; pip install 'compress[{tracker.extra}]'")
    told: list[Facts] = gathered(partial(facts, path) for path in paths)
    send = import_module(f"compress.report.trackers.{to}").send
    return [f"{each.run}: {send(each, folder, project)}{each.untraced}" for each in told]


ALREADY = "is there already; nothing was added"
