"""Which integers a weight becomes, and under which scales: nearest, GPTQ, HQQ; and AWQ's scaling before any of them.

nearest   each weight by itself                                        over the grid of its group
gptq      columns in turn, later ones making up for earlier ones       Frantar et al. 2022, arXiv:2210.17323
hqq       the zero point of each group moved until most weights fit    Badri and Shaji 2023, Half-Quadratic Quantization
awq       input features that are large are scaled up first            Lin et al. 2023, arXiv:2306.00978
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
    """Integers [out, in], scale and zero [out, groups], and what inputs were scaled by [in]."""

    ints: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    input_scale: torch.Tensor | None = None

    def dense(self) -> torch.Tensor:
        """The weight [out, in] that these stand for."""
        return expanded(self.ints, self.scale, self.zero, self.input_scale)


def nearest(weight: torch.Tensor, grid: Grid) -> Rounded:
    """Every weight [out, in] to the nearest number of its group's grid."""
    exact = weight.float()
    scale, zero = grid.settle(exact)
    return Rounded(grid.rounded(exact, scale, zero), scale, zero)


def gptq(
    weight: torch.Tensor, gram: torch.Tensor, grid: Grid, damping: float = 0.01, by_activation: bool = False
) -> Rounded:
    """Columns rounded in turn, with the error made up for by those to come; a group's grid is settled at its start.

    `by_activation` takes the columns with the largest inputs first (the paper's act-order), while most can still make
    up for them. Groups stay columns that lie side by side: their grids are settled before anything is rounded, as are
    those of whole rows and tensors.
    """
    columns = weight.shape[1]
    size, exact = grid.columns(columns), weight.float()
    early = by_activation or not isinstance(grid.group_size, int)
    scale, zero = (t.clone() for t in grid.settle(exact))
    order = gram.diagonal().argsort(descending=True) if by_activation else torch.arange(columns, device=gram.device)
    places = order.tolist()
    order = order.to(weight.device)

    def choose(current: torch.Tensor, diagonal: torch.Tensor, j: int) -> torch.Tensor:
        group, first = divmod(places[j], size)
        if first == 0 and not early:
            scale[:, group], zero[:, group] = grid.settled(current[:, j : j + size])
        of = (scale[:, group], zero[:, group])
        chosen: torch.Tensor = (grid.integers(current[:, j : j + 1], *of)[:, 0] - of[1]) * of[0]
        return chosen

    # a group lies within one block of columns, or is one: only then is it corrected when its grid is settled
    block = 128 if early else max(128, size)
    there = order.to(gram.device)
    changed = compensated(exact[:, order], gram[there][:, there], choose, damping, block=block)
    back = torch.empty_like(exact)
    back[:, order] = changed
    return Rounded(grid.rounded(back, scale, zero), scale, zero)


def hqq(weight: torch.Tensor, grid: Grid) -> Rounded:
    """The grid's zero moved so that most weights fit well and few badly: the error's |.|^0.7 norm.

    By half-quadratic steps, with errors split into a sparse part e and a rest:
    e = shrink(W - W'), then zero = mean of (ints - (W - e) / scale).
    """
    groups = weight.float().view(weight.shape[0], -1, grid.columns(weight.shape[1]))
    scale, zero = grid.settled(groups)
    best, found, beta = float("inf"), zero, BETA
    for _ in range(STEPS):
        ints = grid.places(groups, scale, zero)
        error = groups - (ints - zero[..., None]) * scale[..., None]
        size = float(error.abs().mean())
        if size >= best:
            break
        best, found = size, zero
        shrunk = error.sign() * (error.abs() - error.abs().clamp(min=1e-8).pow(NORM - 1) / beta).clamp(min=0)
        zero = (ints - (groups - shrunk) / scale[..., None]).mean(-1).half().float()
        beta *= GROWTH
    return Rounded(grid.integers(groups, scale, found).view_as(weight), scale, found)


def awq_scale(weight: torch.Tensor, inputs: Inputs, grid: Grid) -> torch.Tensor:
    """[in] factors for the weight's columns under which nearest rounding leaves the least error of outputs.

    They are powers of the mean size of each input feature; 1, no scaling, is among those tried.
    """
    size = (inputs.absolute / max(inputs.rows, 1)).float().clamp(min=1e-8)
    best, found = float("inf"), torch.ones_like(size)
    for step in range(ALPHAS):
        scale = size.pow(step / ALPHAS)
        scale = (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4).half().float()
        rounded = nearest(weight.float() * scale, grid)
        error = output_error(weight, rounded.dense() / scale, inputs.gram)
        if error < best:
            best, found = error, scale
    return found


def scaled_gram(gram: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The sum of x x^T of inputs divided by these factors [in]."""
    exact = scale.double()
    return gram / (exact[:, None] * exact[None, :])
