"""SmoothQuant, Xiao et al. 2023, arXiv:2211.10438: outliers of activations move into weights before both are rounded.

    x W^T = (x / s) (W s)^T      s_j = max |x_j|^strength / max |W_:j|^(1 - strength)

The paper folds 1/s into the normalisation before a layer. Where a residual path reads the same tensor (BERT) that would
change it too, so here the layer itself multiplies its inputs by 1/s; compilers fuse that with the rounding.
"""

import torch
from torch import nn

from compress.methods.capture import Inputs
from compress.model.layers import Smoothed

LEAST = 1e-5  # of a feature that never fired, or a column of zeros


def factors(weight: torch.Tensor, largest: torch.Tensor, strength: float) -> torch.Tensor:
    """[in] factors of the columns of weight [out, in], for inputs of at most `largest` [in]."""
    columns = weight.float().abs().amax(0).clamp(min=LEAST)
    return (largest.float().clamp(min=LEAST) ** strength / columns ** (1 - strength)).clamp(min=LEAST)


def smoothed(linear: nn.Linear, inputs: Inputs | None, strength: float) -> nn.Linear:
    """The same function with smoother inputs to its weight; the layer itself where it never ran."""
    if inputs is None:
        return linear
    return Smoothed.of(linear, factors(linear.weight.detach(), inputs.largest.to(linear.weight.device), strength))
