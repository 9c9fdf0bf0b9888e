"""Weights with two zeros in every four, handed to sparse tensor cores, which skip them (Mishra et al. 2021,
arXiv:2104.08378).

    weight [out, in], 2:4 --to_sparse_semi_structured--> half the numbers and where they stand --cuSPARSELt--> product

It takes a GPU of compute capability 8.0 or newer and weights of 16 bits. Everywhere else the zeros are multiplied like
other numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.sparse import SparseSemiStructuredTensor

PATTERN = "2:4"
MULTIPLE = 16  # of both widths: what cuSPARSELt takes in 16 bits
CAPABILITY = (8, 0)


def take_sparse_kernels(model: Any, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the model's 2:4 layers into the compressed form, on a GPU that can; on others it stays as it is."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    newer = device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABILITY
    if newer and torch.backends.cusparselt.is_available():
        # outputs as dense layers give them: of transposed ones, attention would take its slowest kernel (torch < 2.13)
        SparseSemiStructuredTensor._FUSE_TRANSPOSE = True
        compress_layers(model, patterned(layers), torch.sparse.to_sparse_semi_structured)


def patterned(layers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the layers that were pruned to the pattern."""
    return [name for name, entry in layers.items() if entry.get("pattern") == PATTERN]


def compress_layers(
    model: nn.Module, names: Iterable[str], convert: Callable[[torch.Tensor], torch.Tensor]
) -> list[str]:
    """Converts the weights of those of these layers that fit, in place, and returns their names."""
    done = []
    for name in names:
        module = model.get_submodule(name)
        if type(module) is not nn.Linear or type(module.weight.data) is not torch.Tensor:  # quantized since
            continue
        if fits(module.weight.detach()):
            module.weight = nn.Parameter(convert(module.weight.detach()), requires_grad=False)
            done.append(name)
    return done


def fits(weight: torch.Tensor) -> bool:
    """Whether a weight [out, in] can be compressed without losing a number: later training may have filled zeros."""
    if weight.dtype not in (torch.float16, torch.bfloat16) or any(size % MULTIPLE for size in weight.shape):
        return False
    return bool((weight.reshape(-1, 4).count_nonzero(dim=1) <= 2).all())
