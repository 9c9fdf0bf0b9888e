"""SmoothQuant, Xiao et al. 2023, arXiv:2211.10438: move activation outliers into weights before both are rounded.

    x W^T = (x / s) (W s)^T      s_j = max |x_j|^strength / max |W_:j|^(1 - strength)

The paper folds 1/s into the normalisation before a layer. If a residual path reads the same tensor (BERT), that would
change it too. So the layer itself multiplies its inputs by 1/s here; compilers fuse that with the rounding.
"""

import torch
from torch import nn

from compress.methods.capture import Inputs
from compress.model.layers import Smoothed

LEAST = 1e-5  # for a feature that is always zero, or a column of zeros


def factors(weight: torch.Tensor, largest: torch.Tensor, strength: float) -> torch.Tensor:
    """Return [in] factors for the columns of weight [out, in], for inputs of at most `largest` [in]."""
    columns = weight.float().abs().amax(0).clamp(min=LEAST)
    return (largest.float().clamp(min=LEAST) ** strength / columns ** (1 - strength)).clamp(min=LEAST)


def smoothed(linear: nn.Linear, inputs: Inputs | None, strength: float) -> nn.Linear:
    """Return the same function with smoother inputs; the layer itself if it never ran."""
    if inputs is None:
        return linear
    return Smoothed.of(linear, factors(linear.weight.detach(), inputs.largest.to(linear.weight.device), strength))
