"""The way to use the model of a result: where it is, the lines that load it, and the next command."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from compress.base.errors import InputError
from compress.base.reading import content, exists, shortened
from compress.data.tasks import TASKS, task_of
from compress.model.manifest import MANIFEST, MOST_BYTES
from compress.records.files import holding
from compress.records.result import Result
from compress.report.rerun import rerun
from compress.report.text import plain


@dataclass(frozen=True)
class Use:
    """The way to use the model of a result. Without a model here, there is only the reason."""

    where: str
    """Path of the model, or why there is none."""
    code: tuple[str, ...] = ()
    """Lines of Python that load and call the model."""
    command: str | None = None
    """The next command; None if no file holds the result."""


def how_to_use(result: Result, folder: Path | None) -> Use:
    """Return the lines that load the model of a result, and the next command.

    `folder` is that of the results; the command is about the file in it that holds this result.
    """
    if result.artifact is None:
        return Use("Its model was not kept; run the recipe without --no-keep.")
    where = plain(shortened(result.artifact))
    if not exists(Path(result.artifact) / MANIFEST):
        return Use(f"Its model was made in {where}, which is not here: {rerun(result)}.")
    if _manifest_sha256(Path(result.artifact)) != result.artifact_sha256:
        return Use(
            f"Its model was made in {where}, which holds a different model now (from another run): {rerun(result)}."
        )
    file = None if folder is None else holding(folder, result)
    code = [
        "from compress import load",
        f"model, processor = load({json.dumps(result.artifact)})",
    ]
    if (task := result.workload.get("task")) in TASKS:
        code.append(f"outputs = {task_of(task).call}")
    return Use(
        f"Its model is in {plain(result.artifact)}.",
        tuple(code),
        None if file is None else f"python -m compress card {quote(plain(str(file)))}",
    )


def _manifest_sha256(artifact: Path) -> str | None:
    """Return the digest of an artifact's manifest; None if it cannot be read."""
    try:
        return hashlib.sha256(content(artifact / MANIFEST, "manifest", MOST_BYTES)).hexdigest()
    except InputError:
        return None
