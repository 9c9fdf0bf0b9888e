"""Cast: store and compute in half precision."""

import torch

from compress.bundle import Bundle
from compress.methods.steps import Cast

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def cast(bundle: Bundle, config: Cast) -> Bundle:
    """The bundle with every floating-point parameter in half precision."""
    return bundle.changed(bundle.model.to(DTYPES[config.dtype]), {"": {"dtype": config.dtype}})
