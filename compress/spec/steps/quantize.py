"""Quantize: bits, the format that holds them, and how weights are rounded into it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.spec.formats import BITS, GROUPED, Format
from compress.spec.steps.layers import Calibrated


class Quantize(Calibrated):
    """Store weights in 8 bits or fewer, and compute in them where the device has the kernels."""

    method: Literal["quantize"] = "quantize"
    bits: Literal[8, 4, 3, 2, 1] = 8
    """Bits that store one weight."""
    format: Literal["auto", Format] = "auto"
    """Numbers the weights become; auto takes the best format with kernels on the device, and says which. ternary (-a,
    0, a; 2 bits) and binary (-a, a; 1 bit) need training to keep accuracy."""
    backend: Literal["auto", "onnxruntime", "openvino", "torchao", "bitsandbytes", "quanto", "torch"] = "auto"
    """Library that does it; auto follows the table in `compress.spec.formats`."""
    group_size: Literal[32, 64, 128, 256, "row", "tensor"] = 64
    """Weights that share one scale, in formats of 4 bits or fewer and in int8_weight; with backend torch also all of a
    row, or all of the layer."""
    rounding: Literal["nearest", "gptq", "hqq"] = "nearest"
    """Each weight by itself; columns in turn, later ones making up for earlier ones (GPTQ, arXiv:2210.17323); or with
    each group's zero moved until most weights fit (HQQ). All but nearest take backend torch."""
    scaling: Literal["none", "awq", "smoothquant"] = "none"
    """Scale up columns that large inputs meet before rounding (AWQ, arXiv:2306.00978; backend torch), or move outliers
    of inputs into the weights, where both are rounded (SmoothQuant, arXiv:2211.10438; format int8)."""
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of the difficulty smoothquant moves from inputs to weights."""
    act_order: bool = False
    """Round the columns with the largest inputs first, in gptq."""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Part of the mean of the inputs' squares that gptq adds to each, so that their matrix can be inverted."""
    symmetric: bool = False
    """A grid that is even to both sides of zero, instead of one from the least to the most weight; in backend torch."""
    double_quant: bool = False
    """The scales of nf4 and fp4 in 8 bits too, 256 sharing one: 0.37 bits a weight less at group_size 64 (QLoRA)."""
    per_channel: bool = True
    """One scale per output channel instead of one per tensor, in int8 under onnxruntime."""
    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 300
    """Training examples behind the activation scales of int8_static, gptq, awq and smoothquant."""
    threshold: Annotated[float, Field(ge=0, le=1e6)] = 6.0
    """Activations above this stay in half precision, in llm_int8 (Dettmers et al. 2022, arXiv:2208.07339)."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return self.rounding == "gptq" or self.scaling != "none" or self.format == "int8_static"

    @model_validator(mode="after")
    def _format_has_these_bits(self) -> "Quantize":
        if self.format != "auto" and BITS[self.format] != self.bits:
            raise ValueError(f"format {self.format} has {BITS[self.format]} bits, but bits is {self.bits}")
        ours = self._ours()
        if ours and self.backend not in ("auto", "torch"):
            raise ValueError(f"{ours[0]} is of backend torch; {self.backend} rounds in its own way")
        if ours and self.format not in ("auto", *GROUPED):
            raise ValueError(
                f"{ours[0]} is of the formats {', '.join(GROUPED)}; {self.format} is rounded in its own way"
            )
        if self.scaling == "smoothquant" and (self.bits != 8 or self.format not in ("auto", "int8")):
            raise ValueError(
                "scaling smoothquant is of the format int8, whose activations are rounded too (OpenVINO's int8_static "
                f"has it inside); got bits {self.bits}, format {self.format}"
            )
        if self.scaling != "smoothquant" and self.smoothing != 0.5:
            raise ValueError(f"smoothing is of scaling smoothquant, but scaling is {self.scaling}")
        fixed = self.symmetric or self.group_size == "tensor" or self.format in ("ternary", "binary")
        if self.rounding == "hqq" and fixed:
            raise ValueError(
                "rounding hqq moves the zero of each group, which symmetric, group_size tensor, ternary and binary "
                "fix; leave one out"
            )
        if self.double_quant and self.format not in ("nf4", "fp4"):
            raise ValueError(f"double_quant is of the formats nf4 and fp4, but format is {self.format}")
        if self.rounding != "gptq" and (self.act_order or self.damping != 0.01):
            raise ValueError(f"act_order and damping are of rounding gptq, but rounding is {self.rounding}")
        return self

    def _ours(self) -> list[str]:
        """Fields that are set to what only backend torch does."""
        plain = {"rounding": ("nearest",), "scaling": ("none", "smoothquant"), "symmetric": (False,)}
        ours = [name for name, values in plain.items() if getattr(self, name) not in values]
        return ours + ["group_size"] * isinstance(self.group_size, str)

    @property
    def wanted_format(self) -> str:
        """`format`, or int8 where only that one does what is asked."""
        return "int8" if self.scaling == "smoothquant" else self.format

    @property
    def wanted_backend(self) -> str:
        """`backend`, or torch where only that one does what is asked."""
        return "torch" if self._ours() and self.backend == "auto" else self.backend
