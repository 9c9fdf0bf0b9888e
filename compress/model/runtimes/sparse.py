"""2:4 sparse weights on sparse tensor cores, which skip the zeros (Mishra et al. 2021, arXiv:2104.08378).

    weight [out, in], 2:4 --to_sparse_semi_structured--> half the values and their positions --cuSPARSELt--> product

This needs a GPU of compute capability 8.0 or newer and weights of 16 bits. Elsewhere the zeros are multiplied like
other values.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.sparse import SparseSemiStructuredTensor

PATTERN = "2:4"
MULTIPLE = 16  # of both widths: cuSPARSELt's requirement in 16 bits
CAPABILITY = (8, 0)


def take_sparse_kernels(model: Any, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Convert the model's 2:4 layers to the compressed form on a GPU that supports it; otherwise do nothing."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    newer = device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY
    if newer and torch.backends.cusparselt.is_available():
        # outputs laid out as by dense layers: for transposed ones, attention uses its slowest kernel (torch < 2.13)
        SparseSemiStructuredTensor._FUSE_TRANSPOSE = True
        compress_layers(model, patterned(layers), torch.sparse.to_sparse_semi_structured)


def patterned(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return names of the layers that were pruned to the pattern."""
    return [name for name, entry in layers.items() if entry.get("pattern") == PATTERN]


def compress_layers(
    model: nn.Module, names: Iterable[str], convert: Callable[[torch.Tensor], torch.Tensor]
) -> list[str]:
    """Convert the weights of those layers that fit, in place, and return their names."""
    converted = []
    for name in names:
        module = model.get_submodule(name)
        if type(module) is not nn.Linear or type(module.weight.data) is not torch.Tensor:  # quantized by a later step
            continue
        if fits(module.weight.detach()):
            module.weight = nn.Parameter(convert(module.weight.detach()), requires_grad=False)
            converted.append(name)
    return converted


def fits(weight: torch.Tensor) -> bool:
    """Return whether a weight [out, in] can be compressed without loss: later training may have filled zeros."""
    if weight.dtype not in (torch.float16, torch.bfloat16) or any(size % MULTIPLE for size in weight.shape):
        return False
    return bool((weight.reshape(-1, 4).count_nonzero(dim=1) <= 2).all())
