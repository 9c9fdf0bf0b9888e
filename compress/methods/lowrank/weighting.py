"""Error measures that a low-rank weight minimises: a weighted SVD.

The rank-r product that minimises || D (W - W') L ||, for a diagonal D over outputs and an invertible L over inputs, is
D^-1 [D W L]_r L^-1, where []_r truncates the singular values (Eckart and Young 1936). Four choices:

    plain       D = L = I                        error of the weights
    activation  L = diag(mean |x|)^0.5           ASVD, Yuan et al. 2023, arXiv:2312.05821
    whitened    L L^T = mean of x x^T            error of the outputs: SVD-LLM, Wang et al. 2024, arXiv:2403.07378
    fisher      D = sqrt(Fisher of each row)     FWSVD, Hsu et al. 2022, arXiv:2207.00112
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from compress.methods.capture import Inputs
from compress.model.convolutions import CONVOLUTIONS
from compress.model.layers import matrix, output_dim

ALPHA = 0.5  # ASVD's exponent
DAMPING = 1e-6  # of the mean of the diagonal: avoids division by zero in directions without any input


@dataclass(frozen=True)
class Weighting:
    """D as [out], L as [in] (a diagonal) or [in, in] (lower triangular), in float64; None for the identity."""

    left: torch.Tensor | None = None
    right: torch.Tensor | None = None

    def applied(self, weight: torch.Tensor) -> torch.Tensor:
        """Return D W L of a weight [out, in], in float64."""
        exact = weight.double()
        if self.left is not None:
            exact = self.left[:, None] * exact
        if self.right is None:
            return exact
        return exact * self.right if self.right.dim() == 1 else exact @ self.right

    def undone(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return D^-1 A of A [out, r] and B L^-1 of B [r, in]."""
        if self.left is not None:
            left = left / self.left[:, None]
        if self.right is not None and self.right.dim() == 1:
            right = right / self.right
        elif self.right is not None:
            right = torch.linalg.solve_triangular(self.right, right, upper=False, left=False)
        return left, right


def activation(inputs: Inputs) -> Weighting:
    """Return ASVD's weighting: large input features count more; unused features keep a small weight above zero."""
    scale = (inputs.absolute / max(inputs.rows, 1)).pow(ALPHA)
    return Weighting(right=scale.clamp(min=1e-4 * float(scale.max()) or 1.0))


def whitened(inputs: Inputs) -> Weighting:
    """Return the weighting under which the error of the weighted weight is the error of the layer's outputs."""
    return Weighting(right=cholesky(inputs.gram / max(inputs.rows, 1)))  # a mean, to make layers comparable


def cholesky(gram: torch.Tensor) -> torch.Tensor:
    """Return lower triangular L, in float64, with L L^T = gram + eps I, for the least eps that makes it definite.

    It is searched in a rising series.
    Raises RuntimeError if activations were not finite.
    """
    if not bool(gram.isfinite().all()):
        raise RuntimeError("inputs of a layer are not finite, perhaps too large for fp16; use fp32 or bf16")
    exact = gram.double()
    size = float(exact.diagonal().mean()) or 1.0
    eye = torch.eye(len(exact), dtype=exact.dtype, device=exact.device)
    damping = DAMPING
    while True:
        factor, failed = torch.linalg.cholesky_ex(exact + damping * size * eye)
        if not int(failed):
            return factor
        damping *= 10


def fisher(squares: torch.Tensor) -> Weighting:
    """Return FWSVD's weighting from the summed squared gradients of each row [out]."""
    scale = squares.double().sqrt()
    return Weighting(left=scale.clamp(min=1e-4 * float(scale.max()) or 1.0))


def output_sensitivities(modules: Mapping[str, nn.Module], batches: Iterable[int]) -> dict[str, float]:
    """Return, per layer, the squared gradient of the loss with respect to its outputs, mean over examples and outputs.

    Batches hold one example each. To second order, an error e of a layer's outputs costs about half of sum (g e)^2 in
    loss, with g that gradient.
    """
    totals = dict.fromkeys(modules, 0.0)
    hooks = []
    for name, module in modules.items():

        def watch(_module: nn.Module, _given: object, output: torch.Tensor, name: str = name) -> None:
            def add(gradient: torch.Tensor) -> None:
                width = gradient.shape[1 if isinstance(_module, CONVOLUTIONS) else -1]
                totals[name] += float(gradient.double().square().sum()) / width

            if output.requires_grad:
                output.register_hook(add)

        hooks.append(module.register_forward_hook(watch))
    count = sum(1 for _ in batches)
    for hook in hooks:
        hook.remove()
    return {name: total / max(count, 1) for name, total in totals.items()}


def squared_gradients(modules: Mapping[str, nn.Module], batches: Iterable[int]) -> dict[str, torch.Tensor]:
    """Return [out] sums, over batches of one example, of the squared gradients of each row of these layers' weights."""
    totals = {
        name: torch.zeros(matrix(m).shape[0], dtype=torch.float64, device=matrix(m).device)
        for name, m in modules.items()
    }
    for _ in batches:
        for name, module in modules.items():
            gradient = module.weight.grad
            if isinstance(gradient, torch.Tensor):
                rows = gradient if output_dim(module) == 0 else gradient.T
                totals[name] += rows.double().flatten(1).square().sum(1)
    return totals
