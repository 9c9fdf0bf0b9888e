"""Settings of the step `quantize`: bits, number format, and rounding of the weights."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.spec.formats import BITS, GROUPED, Format
from compress.spec.steps.layers import Calibrated


class Quantize(Calibrated):
    """Store weights in 8 bits or fewer, and compute in them if the device has the kernels."""

    method: Literal["quantize"] = "quantize"
    bits: Literal[8, 4, 3, 2, 1] = 8
    """Bits that store one weight."""
    format: Literal["auto", Format] = "auto"
    """Number format of the weights; auto takes the best format with kernels on the device, and names it. ternary (-a,
    0, a; 2 bits) and binary (-a, a; 1 bit) need training to keep accuracy."""
    backend: Literal["auto", "onnxruntime", "openvino", "torchao", "bitsandbytes", "quanto", "torch"] = "auto"
    """Library that quantizes; auto follows the table in `compress.spec.formats`."""
    group_size: Literal[32, 64, 128, 256, "row", "tensor"] = 64
    """Number of weights that share one scale, in formats of 4 bits or fewer and in int8_weight; with backend torch also
    row (a whole row) or tensor (the whole layer)."""
    rounding: Literal["nearest", "gptq", "hqq"] = "nearest"
    """Round each weight to nearest; or column by column, with later columns compensating for earlier ones (GPTQ,
    arXiv:2210.17323); or with the zero of each group moved until most weights fit (HQQ). gptq and hqq need backend
    torch."""
    scaling: Literal["none", "awq", "smoothquant"] = "none"
    """Scale up columns with large inputs before rounding (AWQ, arXiv:2306.00978; backend torch), or move outliers of
    inputs into the weights if both are rounded (SmoothQuant, arXiv:2211.10438; format int8)."""
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Migration strength of smoothquant: share of the difficulty that moves from inputs to weights."""
    act_order: bool = False
    """Let gptq round the columns with the largest inputs first."""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Fraction of the mean squared input that gptq adds to the diagonal of the inputs' Gram matrix before inversion."""
    symmetric: bool | Literal["full"] = False
    """Use a grid symmetric around zero instead of one from the smallest to the largest weight; full: with the weight of
    largest magnitude at -2^(bits - 1), so that all 2^bits values are used, as in llama.cpp's Q4_0. Backend torch only.
    """
    double_quant: bool = False
    """Store the scales of nf4 and fp4 in 8 bits, 256 per block: 0.37 bits per weight less at group_size 64 (QLoRA)."""
    per_channel: bool = True
    """Use one scale per output channel instead of one per tensor, in int8 and int8_static under onnxruntime."""
    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 300
    """Training examples for the activation scales of int8_static, and for gptq, awq and smoothquant."""
    threshold: Annotated[float, Field(ge=0, le=1e6)] = 6.0
    """Activations above this value stay in half precision, in llm_int8 (Dettmers et al. 2022, arXiv:2208.07339)."""

    @property
    def calibrates(self) -> bool:
        """Whether the step needs training examples."""
        return self.rounding == "gptq" or self.scaling != "none" or self.format == "int8_static"

    @model_validator(mode="after")
    def _format_has_these_bits(self) -> "Quantize":
        if self.format != "auto" and BITS[self.format] != self.bits:
            raise ValueError(f"format {self.format} has {BITS[self.format]} bits, but bits is {self.bits}")
        torch_only = self._torch_only()
        if torch_only and self.backend not in ("auto", "torch"):
            raise ValueError(f"{torch_only[0]} needs backend torch, but backend is {self.backend}")
        if torch_only and self.format not in ("auto", *GROUPED):
            raise ValueError(
                f"{torch_only[0]} needs one of the formats {', '.join(GROUPED)}, but format is {self.format}"
            )
        if self.scaling == "smoothquant" and (self.bits != 8 or self.format not in ("auto", "int8")):
            raise ValueError(
                "scaling smoothquant needs format int8, which also rounds activations (OpenVINO's int8_static "
                f"includes it); got bits {self.bits}, format {self.format}"
            )
        if self.scaling != "smoothquant" and self.smoothing != 0.5:
            raise ValueError(f"smoothing needs scaling smoothquant, but scaling is {self.scaling}")
        zero_is_fixed = self.symmetric or self.group_size == "tensor" or self.format in ("ternary", "binary")
        if self.rounding == "hqq" and zero_is_fixed:
            raise ValueError(
                "rounding hqq moves the zero of each group, which symmetric, group_size tensor, ternary and binary "
                "fix; remove one of them"
            )
        if self.double_quant and self.format not in ("nf4", "fp4"):
            raise ValueError(f"double_quant needs format nf4 or fp4, but format is {self.format}")
        if self.rounding != "gptq" and (self.act_order or self.damping != 0.01):
            raise ValueError(f"act_order and damping need rounding gptq, but rounding is {self.rounding}")
        return self

    def _torch_only(self) -> list[str]:
        """Return the fields with a value that only backend torch supports."""
        supported = {"rounding": ("nearest",), "scaling": ("none", "smoothquant"), "symmetric": (False,)}
        torch_only = [name for name, values in supported.items() if getattr(self, name) not in values]
        return torch_only + ["group_size"] * isinstance(self.group_size, str)

    @property
    def wanted_format(self) -> str:
        """`format`, or int8 if a setting needs it."""
        return "int8" if self.scaling == "smoothquant" else self.format

    @property
    def wanted_backend(self) -> str:
        """`backend`, or torch if a setting needs it."""
        return "torch" if self._torch_only() and self.backend == "auto" else self.backend
