"""Settings of the step `lowrank`: choice of the rank, and the error to minimise."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.spec.steps.layers import Calibrated, Fraction


class LowRank(Calibrated):
    """Replace a weight by the product of two thin matrices (truncated SVD), a convolution by two thin ones."""

    method: Literal["lowrank"] = "lowrank"
    rank: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Rank of every chosen layer."""
    parameters: Fraction | None = None
    """Or: fraction of each layer's parameters to keep. The rank follows from the shape, rounded down to a multiple of
    16 (of less for ranks under 128), which is fast in kernels."""
    energy: Fraction | None = None
    """Or: fraction of the squared singular values to keep, with the rank rounded up to such a multiple; layers without
    savings stay dense."""
    grouped: bool = False
    """Factorise query, key and value of an attention as one weight: they share the thin matrix at the input, which is
    stored and multiplied once."""
    decomposition: Literal["channel", "spatial"] = "channel"
    """Thin convolutions in place of one of k x k: k x k and 1 x 1 (channel, arXiv:1505.06798), or k x 1 and 1 x k
    (spatial, arXiv:1405.3866)."""
    allocation: Literal["uniform", "shared"] = "uniform"
    """Keep the same fraction in every layer, or share one budget of parameters: layers that lose most get most."""
    weighting: Literal["plain", "activation", "whitened", "fisher"] = "plain"
    """Error to minimise: of the weights (plain); of weights scaled by input size (ASVD, arXiv:2312.05821); of the
    layer's outputs (whitened, SVD-LLM, arXiv:2403.07378); of weights scaled by their rows' Fisher information
    (arXiv:2207.00112)."""
    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 256
    """Training examples for a weighting other than plain."""

    @property
    def calibrates(self) -> bool:
        """Whether the step needs training examples."""
        return self.weighting != "plain"

    @model_validator(mode="after")
    def _one_way_to_choose_the_rank(self) -> "LowRank":
        given = [name for name in ("rank", "parameters", "energy") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set; give one of rank, parameters, energy")
        if self.allocation == "shared" and (self.rank is not None or self.energy is not None):
            raise ValueError("allocation shared divides a budget of parameters; set parameters, not rank or energy")
        if self.allocation == "shared" and self.weighting != "whitened":
            raise ValueError("allocation shared compares errors of outputs; set weighting: whitened")
        if self.decomposition == "spatial" and self.weighting != "plain":
            raise ValueError(
                f"decomposition spatial minimises the error of the weights; set weighting plain, or decomposition "
                f"channel; got weighting {self.weighting}"
            )
        if self.allocation == "shared" and self.grouped:
            raise ValueError("allocation shared compares single layers; remove grouped")
        return self

    @property
    def kept_parameters(self) -> float | None:
        """`parameters`, or 0.7 if rank, parameters and energy are unset."""
        return 0.7 if self.rank is self.parameters is self.energy is None else self.parameters
