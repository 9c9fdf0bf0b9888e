"""The type of a task's name in files that are read."""

from typing import Annotated

from pydantic import AfterValidator

from compress.data.tasks import unknown


def _known(name: str) -> str:
    if problem := unknown(name):
        raise ValueError(problem)
    return name


TaskName = Annotated[str, AfterValidator(_known)]
"""The name of a task, checked wherever it is read."""
