"""Integers and scales of a weight: nearest, GPTQ or HQQ rounding, and AWQ's scaling before any of them.

nearest   each weight separately, to the grid of its group
gptq      column by column; later columns compensate              Frantar et al. 2022, arXiv:2210.17323
hqq       each group's zero point moves until most weights fit    Badri and Shaji 2023, Half-Quadratic Quantization
awq       large input features are scaled up first                Lin et al. 2023, arXiv:2306.00978
"""

from dataclasses import dataclass

import torch

from compress.methods.capture import Inputs
from compress.methods.compensate import compensated, output_error
from compress.model.packing.grouped import Grid
from compress.model.packing.grouped_layer import expanded

NORM, STEPS, BETA, GROWTH = 0.7, 20, 10.0, 1.01  # HQQ's p, iterations, and the weight of its constraint
ALPHAS = 20  # AWQ's grid of exponents


@dataclass(frozen=True)
class Rounded:
    """Integers [out, in], scale and zero [out, groups], and the scale [in] of the inputs."""

    ints: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    input_scale: torch.Tensor | None = None

    def dense(self) -> torch.Tensor:
        """Return the dequantized weight [out, in]."""
        return expanded(self.ints, self.scale, self.zero, self.input_scale)


def nearest(weight: torch.Tensor, grid: Grid) -> Rounded:
    """Round every weight [out, in] to the nearest value of its group's grid."""
    exact = weight.float()
    scale, zero = grid.settle(exact)
    return Rounded(grid.rounded(exact, scale, zero), scale, zero)


def gptq(
    weight: torch.Tensor, gram: torch.Tensor, grid: Grid, damping: float = 0.01, by_activation: bool = False
) -> Rounded:
    """Round column by column and let later columns compensate; a group's grid is fixed at its start.

    `by_activation` rounds the columns with the largest inputs first (the paper's act-order), while most columns can
    still compensate. Groups stay adjacent columns: their grids are fixed before any rounding, as are those of whole
    rows and tensors.
    """
    columns = weight.shape[1]
    size, exact = grid.columns(columns), weight.float()
    early = by_activation or not isinstance(grid.group_size, int)
    scale, zero = (t.clone() for t in grid.settle(exact))
    order = gram.diagonal().argsort(descending=True) if by_activation else torch.arange(columns, device=gram.device)
    positions = order.tolist()

    def choose(current: torch.Tensor, diagonal: torch.Tensor, j: int) -> torch.Tensor:
        group, first = divmod(positions[j], size)
        if first == 0 and not early:
            scale[:, group], zero[:, group] = grid.settled(current[:, j : j + size])
        fixed = (scale[:, group], zero[:, group])
        chosen: torch.Tensor = (grid.integers(current[:, j : j + 1], *fixed)[:, 0] - fixed[1]) * fixed[0]
        return chosen

    # a group lies within one block of columns, or is one: only then has it all corrections when its grid is fixed
    block = 128 if early else max(128, size)
    if not by_activation:
        changed = compensated(exact, gram, choose, damping, block=block)
        return Rounded(grid.rounded(changed, scale, zero), scale, zero)
    on_weight = order.to(weight.device)
    changed = compensated(exact[:, on_weight], gram[order][:, order], choose, damping, block=block)
    restored = torch.empty_like(exact)
    restored[:, on_weight] = changed
    return Rounded(grid.rounded(restored, scale, zero), scale, zero)


def hqq(weight: torch.Tensor, grid: Grid) -> Rounded:
    """Move the grid's zero to minimise the error's |.|^0.7 norm: most weights fit well, few badly.

    It uses half-quadratic steps, with errors split into a sparse part e and a rest: e = shrink(W - W'), then zero =
    mean of (ints - (W - e) / scale).
    """
    groups = weight.float().view(weight.shape[0], -1, grid.columns(weight.shape[1]))
    scale, zero = grid.settled(groups)
    least_error, best_zero, beta = float("inf"), zero, BETA
    for _ in range(STEPS):
        ints = grid.places(groups, scale, zero)
        error = groups - (ints - zero[..., None]) * scale[..., None]
        mean_error = float(error.abs().mean())
        if mean_error >= least_error:
            break
        least_error, best_zero = mean_error, zero
        shrunk = error.sign() * (error.abs() - error.abs().clamp(min=1e-8).pow(NORM - 1) / beta).clamp(min=0)
        zero = (ints - (groups - shrunk) / scale[..., None]).mean(-1).half().float()
        beta *= GROWTH
    return Rounded(grid.integers(groups, scale, best_zero).view_as(weight), scale, best_zero)


def awq_scale(weight: torch.Tensor, inputs: Inputs, grid: Grid) -> torch.Tensor:
    """Return [in] factors for the weight's columns that minimise the output error of nearest rounding.

    The candidates are powers of the mean magnitude of each input feature, including no scaling (1).
    """
    magnitude = (inputs.absolute / max(inputs.rows, 1)).float().clamp(min=1e-8)
    least_error, best_scale = float("inf"), torch.ones_like(magnitude)
    for step in range(ALPHAS):
        scale = magnitude.pow(step / ALPHAS)
        scale = (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4).half().float()
        rounded = nearest(weight.float() * scale, grid)
        error = output_error(weight, rounded.dense() / scale, inputs.gram)
        if error < least_error:
            least_error, best_scale = error, scale
    return best_scale


def scaled_gram(gram: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the sum of x x^T of inputs divided by these factors [in]."""
    exact = scale.to(gram.dtype)
    return gram / exact[:, None] / exact[None, :]
