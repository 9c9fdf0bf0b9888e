"""A workload with resolved locations of its model and data."""

from dataclasses import dataclass
from typing import Any, Literal

from compress.data.workload import Workload

Split = Literal["train", "test"]
ORIGIN = "derived_from"
"""Key of `resolved`: the folder or hub id that the measured model was made from."""


@dataclass(frozen=True)
class Source:
    """A workload with the locations of its model and data."""

    workload: Workload
    model: str
    """Folder or hub id of the model."""
    dataset: str
    """Folder, file or hub id of the data."""
    digest: str
    """Changes with the workload's settings and with the content of model and data."""
    resolved: dict[str, Any]
    """Locations of model and data with their commits or content hashes, for the result file."""

    @property
    def model_commit(self) -> str | None:
        """The commit from which a hub model is loaded; None for a folder, also one made from a hub model."""
        return None if ORIGIN in self.resolved else self.resolved["model_revision"]

    @property
    def place(self) -> str:
        """The workload and its model as named in errors; a model that was made from another one by that one."""
        given = self.resolved.get("adapter") or self.resolved.get(ORIGIN) or self.model
        return f"{self.workload.name} model {given}"
