"""Settings of the step `prune`: the structures to remove, their scores, and the fraction."""

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
"""Structure -> importance scores that apply to it; the first is recommended."""

VOCABULARY = ("method", "structure", "corpus", "least_count")
"""Settings of structure vocabulary."""


class Prune(Calibrated):
    """Remove parameters: whole structures (smaller and faster) or single weights (masked: no savings by itself)."""

    method: Literal["prune"] = "prune"
    structure: Literal["feed_forward", "heads", "hidden", "channels", "layers", "unstructured", "vocabulary"] = (
        "feed_forward"
    )
    """Structure to remove: feed-forward width, attention heads (with their key/value groups), hidden width, convolution
    channels, whole layers, single weights set to zero, or the tokens that a corpus does not use."""
    fraction: Fraction = 0.25
    """Fraction of the parameters to remove in the pruned structures; removing a fraction p of both widths of a square
    matrix removes about 1-(1-p)^2 of it."""
    importance: Literal["magnitude", "activation", "taylor", "obd", "influence", "wanda", "sparsegpt"] = "magnitude"
    """Score of a structure: norm of its weights (magnitude); norm of its contribution to the outputs (activation);
    |weight x gradient| (taylor); weight^2 x gradient^2 (obd). Of a layer: 1 - cosine between its input and
    output (influence). Of a single weight: its size, size times the norm of its input (wanda), or effect on the layer's
    outputs, for which the other weights then compensate (sparsegpt)."""
    allocation: Literal["uniform", "global"] = "uniform"
    """Remove the same fraction of every layer, or the least important of all layers (feed_forward and heads)."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of parts to prune in, with new scores after each (feed_forward, hidden and unstructured)."""
    cost: Literal["parameters", "macs", "latency"] = "parameters"
    """Cost that `fraction` refers to: parameters of the structures; or multiplications (macs) or measured latency of
    the whole model at the workload's headline point (not for unstructured: zeros cost as much as other weights)."""
    pattern: Literal["free", "2:4"] = "free"
    """Positions of removed single weights: free, or two of every four (fraction 0.5), as sparse tensor cores need."""
    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 128
    """Training examples for all importance scores except magnitude."""
    corpus: str | None = None
    """Text file (UTF-8) whose tokens stay in a vocabulary; unset: all training examples."""
    least_count: Annotated[int, Field(ge=1, le=10**9)] = 1
    """Times that a token occurs in the corpus, at least, to stay in a vocabulary."""

    @property
    def calibrates(self) -> bool:
        """Whether the step needs training examples."""
        if self.structure == "vocabulary":
            return self.corpus is None
        return self.importance != "magnitude" or self.cost != "parameters"

    @model_validator(mode="after")
    def _settings_fit_the_structure(self) -> "Prune":
        structure = self.structure
        if structure == "vocabulary":
            return self._of_a_vocabulary()
        for field, unset in (("corpus", None), ("least_count", 1)):
            if getattr(self, field) != unset:
                raise ValueError(f"{field} needs structure vocabulary, but structure is {structure}")
        scores = IMPORTANCES[structure]
        if self.importance not in scores:
            raise ValueError(
                f"importance {self.importance} does not score structure {structure}, which takes {' or '.join(scores)}"
            )
        for name, default, structures in (
            ("allocation", "uniform", ("feed_forward", "heads")),
            ("rounds", 1, ("feed_forward", "hidden", "unstructured")),
            ("cost", "parameters", tuple(other for other in IMPORTANCES if other != "unstructured")),
            ("pattern", "free", ("unstructured",)),
        ):
            value = getattr(self, name)
            if value != default and structure not in structures:
                raise ValueError(
                    f"{name} {value} needs structure {' or '.join(structures)}, but structure is {structure}"
                )
        if self.pattern == "2:4" and (self.fraction != 0.5 or self.rounds != 1):
            raise ValueError(
                f"pattern 2:4 removes half of the weights at once, but fraction is {self.fraction} and rounds "
                f"{self.rounds}; set fraction 0.5 and rounds 1"
            )
        return self

    def _of_a_vocabulary(self) -> "Prune":
        """Return this step. Raises ValueError for a setting of the other structures."""
        fields = type(self).model_fields
        others = (name for name in fields if name not in VOCABULARY)
        changed = [
            name for name in others if getattr(self, name) != fields[name].get_default(call_default_factory=True)
        ]
        if changed:
            raise ValueError(
                f"{changed[0]} does not apply to structure vocabulary, which is cut by corpus and least_count; "
                f"remove {changed[0]}"
            )
        return self
