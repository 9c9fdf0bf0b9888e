"""A workload with resolved locations of its model and data."""

from dataclasses import dataclass
from typing import Any, Literal

from compress.data.workload import Workload

Split = Literal["train", "test"]


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
    def place(self) -> str:
        """The workload and its model as named in errors; an adapter is named by its own folder."""
        return f"{self.workload.name} model {self.resolved.get('adapter') or self.model}"
