"""A workload whose model and data were found."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compress.data.workload import Workload

if TYPE_CHECKING:
    pass


Split = Literal["train", "test"]


@dataclass(frozen=True)
class Source:
    """A workload with its model and data found."""

    workload: Workload
    model: str
    """Folder or hub id of the model."""
    dataset: str
    """Folder, file or hub id of the data."""
    digest: str
    """Changes with the workload's settings and with the content of model and data."""
    resolved: dict[str, Any]
    """Where model and data were found, with their commits or content hashes: for the result file."""

    @property
    def place(self) -> str:
        """The workload and its model as errors name them: an adapter by its own folder."""
        return f"{self.workload.name} model {self.resolved.get('adapter') or self.model}"
