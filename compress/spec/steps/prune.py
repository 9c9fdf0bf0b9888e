"""Prune: what goes, how it is scored, and how much of it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.spec.steps.layers import Calibrated, Fraction

IMPORTANCES: dict[str, tuple[str, ...]] = {
    "feed_forward": ("magnitude", "activation", "taylor", "obd"),
    "heads": ("magnitude", "activation", "taylor", "obd"),
    "hidden": ("magnitude", "taylor", "obd"),
    "channels": ("magnitude", "taylor"),
    "layers": ("influence",),
    "unstructured": ("magnitude", "wanda", "sparsegpt"),
}
"""What can score each structure; the first is the one to begin with."""


class Prune(Calibrated):
    """Remove parameters: whole structures (smaller and faster) or single weights (masked: saves nothing by itself)."""

    method: Literal["prune"] = "prune"
    structure: Literal["feed_forward", "heads", "hidden", "channels", "layers", "unstructured"] = "feed_forward"
    """What is removed: feed-forward width, attention heads (with their key/value groups), hidden width, convolution
    channels, whole layers, or single weights set to zero."""
    fraction: Fraction = 0.25
    """Fraction of the parameters in the pruned structures that goes; width p removes about 1-(1-p)^2 of a square."""
    importance: Literal["magnitude", "activation", "taylor", "obd", "influence", "wanda", "sparsegpt"] = "magnitude"
    """Score of a structure: its weights' norm; the norm of what it adds to the outputs (activation); |weight x
    gradient| (taylor); weight^2 x gradient^2 (obd). Of a layer: how far it turns what goes through (influence). Of a
    single weight: its size, size times its input's norm (wanda), or effect on the layer's outputs, which others then
    make up for (sparsegpt)."""
    allocation: Literal["uniform", "global"] = "uniform"
    """Take as much from every layer, or the least important of all layers together (feed_forward and heads)."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """Prune in so many parts, and score again after each (feed_forward, hidden and unstructured)."""
    cost: Literal["parameters", "macs", "latency"] = "parameters"
    """What `fraction` is a fraction of: the structures' parameters; or multiplications, or measured time, of the whole
    model at the workload's headline point (every structure but single weights, whose zeros cost as much)."""
    pattern: Literal["free", "2:4"] = "free"
    """Where single weights go: anywhere, or two of every four in a row (fraction 0.5), as sparse tensor cores want."""
    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 128
    """Training examples behind every importance but magnitude."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return self.importance != "magnitude" or self.cost != "parameters"

    @model_validator(mode="after")
    def _settings_fit_the_structure(self) -> "Prune":
        structure = self.structure
        known = IMPORTANCES[structure]
        if self.importance not in known:
            raise ValueError(
                f"importance {self.importance} does not score structure {structure}, which takes {' or '.join(known)}"
            )
        for name, plain, structures in (
            ("allocation", "uniform", ("feed_forward", "heads")),
            ("rounds", 1, ("feed_forward", "hidden", "unstructured")),
            ("cost", "parameters", tuple(each for each in IMPORTANCES if each != "unstructured")),
            ("pattern", "free", ("unstructured",)),
        ):
            value = getattr(self, name)
            if value != plain and structure not in structures:
                raise ValueError(f"{name} {value} is of structure {' or '.join(structures)}, not of {structure}")
        if self.pattern == "2:4" and (self.fraction != 0.5 or self.rounds != 1):
            raise ValueError(
                f"pattern 2:4 removes half of the weights at once, but fraction is {self.fraction} and rounds "
                f"{self.rounds}; give 0.5 and 1"
            )
        return self
