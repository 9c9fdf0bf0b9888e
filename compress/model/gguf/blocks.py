"""Blocks of GGUF: 32 weights of a row with their scale, as bytes.

Q8_0   scale (fp16)   32 x int8                                value = integer * scale
Q4_0   scale (fp16)   16 bytes, weight j low, j + 16 high      value = (integer - 8) * scale
"""

import torch

from compress.model.packing.integers import Integers

SIZE = 32
TYPES = {8: "Q8_0", 4: "Q4_0"}
"""Bits -> name of the block's type."""


def blocks(integers: Integers) -> torch.Tensor:
    """Return a symmetric weight with groups of 32 as bytes [out, in / 32 * (18 or 34)], uint8."""
    rows, columns = integers.ints.shape
    scale = integers.scale.to(torch.float16).contiguous().view(torch.uint8).view(rows, -1, 2)
    grouped = integers.ints.view(rows, columns // SIZE, SIZE)
    if integers.bits == 8:
        stored = (grouped - 128).to(torch.int8).view(torch.uint8)
    else:
        stored = (grouped[..., : SIZE // 2] | grouped[..., SIZE // 2 :] << 4).to(torch.uint8)
    return torch.cat([scale, stored], dim=-1).flatten(1)
