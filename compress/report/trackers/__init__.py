"""Export of results to an experiment tracker: `compress track RESULT... --to tensorboard|wandb|mlflow`, without torch.

    facts.py         the exported data, shared by all trackers: configuration, metrics as in pareto.csv, power trace
    tensorboard.py   mlflow.py   wandb.py      one file each: `send(facts, folder, project) -> location`

A result is sent once. If the tracker already has it, this is reported and nothing is added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from compress.analysis.among import all_among, with_place
from compress.base.config import InputError, did_you_mean
from compress.base.errors import gathered
from compress.report.trackers.facts import Facts, facts


@dataclass(frozen=True)
class Tracker:
    """Package and extra of one tracker."""

    package: str
    """Name of the imported package."""
    extra: str
    """Name of the extra that installs it."""


TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker("tensorboard", "tensorboard"),
    "wandb": Tracker("wandb", "wandb"),
    "mlflow": Tracker("mlflow", "mlflow"),
}


def track(paths: Sequence[Path], to: str, folder: Path | None = None, project: str = "compress") -> list[str]:
    """Send results to a tracker and return a line with the location of each.

    Raises InputError before sending if the tracker is unknown or not installed, or if a result cannot be read.
    """
    if to not in TRACKERS:
        raise InputError(f"--to {to}: expected one of {', '.join(TRACKERS)}{did_you_mean(to, TRACKERS)}")
    tracker = TRACKERS[to]
    if find_spec(tracker.package) is None:
        raise InputError(f"--to {to}: {tracker.package} is not installed; pip install {tracker.package}")
    read = gathered(partial(with_place, path) for path in paths)
    judged = zip(read, all_among(read), strict=True)
    exports: list[Facts] = gathered(partial(facts, path, among.result) for (path, _), among in judged)
    send = import_module(f"compress.report.trackers.{to}").send
    return [f"{export.run}: {send(export, folder, project)}{export.untraced}" for export in exports]


ALREADY = "already exists; nothing was added"
