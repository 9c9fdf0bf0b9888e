"""Cast: store and compute in half precision."""

import torch

from compress.data.precision import takes_any_precision
from compress.model.bundle import Bundle
from compress.spec.steps import Cast

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def cast(bundle: Bundle, config: Cast) -> Bundle:
    """Return the bundle with every floating-point parameter in half precision; pixels and sound are converted to it.

    Buffers that are computed at loading (rotary frequencies) keep their type, as in `from_pretrained(dtype=...)`.
    """
    model = bundle.model
    stored = set(model.state_dict())
    computed = {name: buffer for name, buffer in model.named_buffers() if name not in stored}
    model = model.to(DTYPES[config.dtype])
    for name, buffer in computed.items():
        owner, _, key = name.rpartition(".")
        model.get_submodule(owner)._buffers[key] = buffer
    if bundle.stream is not None:
        bundle.stream.dtype = DTYPES[config.dtype]
    model = takes_any_precision(model)
    return bundle.changed(model, {"": {"dtype": config.dtype}})
