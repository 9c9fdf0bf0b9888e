"""Table of the formats in which a compressed model leaves: what each holds, and what it is checked with. No torch.

A format holds the integers of the artifact as they are, or the export is refused: nothing is quantized again.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from compress.base.errors import InputError

Target = Literal["compressed-tensors", "gguf", "gptq", "onnx", "openvino"]
TARGETS: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True)
class Holds:
    """The quantized weights that a format holds, and the packages that it needs."""

    bits: tuple[int, ...]
    symmetric: bool
    """Whether the zero of every group must be the middle of the grid, 2^(bits - 1)."""
    group_size: tuple[int, ...] = ()
    """Sizes of groups; empty: any size, and whole rows."""
    packs: tuple[bool, bool] = (False, False)
    """Whether 32-bit words must hold whole numbers of outputs, and of inputs."""
    embeddings: bool = False
    """Whether a head that is the input embedding too may be quantized."""
    pip: tuple[str, ...] = ()
    """Optional packages that write or check it."""


HOLDS: dict[Target, Holds] = {
    "compressed-tensors": Holds((4, 8), True, pip=("compressed-tensors",)),
    "gguf": Holds((4, 8), True, (32,), embeddings=True, pip=("gguf",)),
    "gptq": Holds((2, 4, 8), False, packs=(True, True)),
    "onnx": Holds((4, 8), False, (16, 32, 64, 128, 256)),
    "openvino": Holds((4, 8), False, embeddings=True),
}
REMEDY = "quantize with {bits: 8 or 4, symmetric: true, group_size: 32}, as llama_int8 and llama_int4 do"
"""What every format holds."""


def target_of(name: str) -> Target:
    """Return the format of this name. Raises InputError for an unknown one."""
    from compress.base.config import did_you_mean

    for target in TARGETS:
        if target == name:
            return target
    raise InputError(f"--to {name}: unknown format; expected one of {', '.join(TARGETS)}{did_you_mean(name, TARGETS)}")
