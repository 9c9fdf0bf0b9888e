"""A transformers model inside a module of its own, which shows the model's attributes."""

from typing import Any

from torch import nn


class Wrapper(nn.Module):
    """A module around a model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """Return attributes of the wrapped model that the wrapper lacks: config, dtype, device ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)
