"""TensorBoard: one folder per run, with configuration (as hyperparameters and text), metrics and power trace.

Events are written with TensorBoard's own writer, because the writers of training libraries import those libraries.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.places import one_name
from compress.report.text import markdown
from compress.report.trackers import ALREADY
from compress.report.trackers.facts import Facts

FOLDER = Path("runs")


def send(facts: Facts, folder: Path | None, project: str) -> str:
    """Write the run below `folder`/`project` and return its location, with the command to view it."""
    root = folder or FOLDER
    names = (one_name(facts.workload, "workload.name"), one_name(f"{facts.run}-{facts.id}", "name"))
    place = root.joinpath(one_name(project, "--project"), *names)
    if any(place.glob("events.*")):
        return f"{place} {ALREADY}"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--folder {root}: cannot be written ({error.strerror})") from None
    with _writer(place) as write:
        write(_hyperparameters(facts), 0, None)
        write(_text("configuration", _table(facts)), 0, None)
        for name, value in facts.metrics.items():
            write(_scalar(name, value), 0, None)
        for name, pairs in facts.power.items():
            for number, (when_ns, value) in enumerate(pairs):
                write(_scalar(name, value), number, when_ns / 1e9)
    return f"{place}; view it with: tensorboard --logdir {root}"


@contextlib.contextmanager
def _writer(place: Path) -> Iterator[Any]:
    """Yield a function that writes one event into a folder: summary, step, and wall-clock seconds or None for now."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    out = EventFileWriter(str(place))

    def write(summary: Any, step: int, wall_s: float | None) -> None:
        out.add_event(Event(summary=summary, step=step, wall_time=time.time() if wall_s is None else wall_s))

    try:
        yield write
    finally:
        out.close()


def _hyperparameters(facts: Facts) -> Any:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return hparams_pb(facts.config, trial_id=facts.id)


def _scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _text(name: str, content: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(dtype="DT_STRING", string_val=[content.encode()])
    return Summary(value=[Summary.Value(tag=name, metadata=create_summary_metadata(name, ""), tensor=tensor)])


def _table(facts: Facts) -> str:
    """Return the configuration as a Markdown table."""
    lines = (f"| {markdown(name)} | {markdown(value)} |" for name, value in facts.config.items())
    return "\n".join(["| | |", "| --- | --- |", *lines])
