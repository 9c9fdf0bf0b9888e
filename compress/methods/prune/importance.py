"""Importance of structures: a neuron, an attention head, a residual channel.

A structure spans several parameters. A `Part` gives the dimension of one parameter along which the structures follow
one another, each with length / count entries:

    feed-forward neuron j    fc1.weight[j, :]   fc1.bias[j]   fc2.weight[:, j]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Part:
    """One parameter's entries along `dim`: `length` of them from `start` (all if None)."""

    parameter: torch.Tensor
    dim: int
    start: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Structures:
    """`count` structures of equal size and the parts that hold them."""

    parts: tuple[Part, ...]
    count: int


def per_structure(values: torch.Tensor, part: Part, count: int) -> torch.Tensor:
    """Return [count] sums of `values`, shaped like the parameter, over the entries of each structure."""
    length = values.shape[part.dim] - part.start if part.length is None else part.length
    entries = values.narrow(part.dim, part.start, length).movedim(part.dim, 0)
    return entries.reshape(count, -1).sum(1)


def magnitude(structures: Structures) -> torch.Tensor:
    """Return [count] L2 norms of all weights of each structure."""
    squares = [per_structure(p.parameter.detach().float().square(), p, structures.count) for p in structures.parts]
    return torch.stack(squares).sum(0).sqrt()


def taylor(sets: Sequence[Structures], gradients: Iterable[int]) -> list[torch.Tensor]:
    """Return, for each set, [count] means over batches of |sum of weight x gradient| over each structure's weights.

    This is the first-order change of the loss when the structure is removed. Molchanov et al. 2019, arXiv:1906.10771,
    with the absolute value instead of the square, to reduce the weight of outlier batches.
    """
    totals = [torch.zeros(s.count, device=s.parts[0].parameter.device) for s in sets]
    examples = 0
    for size in gradients:
        examples += size
        for total, structures in zip(totals, sets, strict=True):
            change = torch.zeros_like(total)
            for part in structures.parts:
                if part.parameter.grad is not None:
                    change += per_structure(
                        part.parameter.detach().float() * part.parameter.grad.float(), part, structures.count
                    )
            total.add_(size * change.abs())
    return [total / max(examples, 1) for total in totals]


def obd(sets: Sequence[Structures], gradients: Iterable[int]) -> list[torch.Tensor]:
    """Return, for each set, [count] half sums of weight^2 x mean gradient^2: the second-order increase of the loss.

    Optimal Brain Damage, LeCun et al. 1990, with squared gradients of batches for the Hessian's diagonal (the empirical
    Fisher information).
    """
    squares = {id(p.parameter): torch.zeros_like(p.parameter, dtype=torch.float32) for s in sets for p in s.parts}
    parameters = {id(p.parameter): p.parameter for s in sets for p in s.parts}
    examples = 0
    for size in gradients:
        examples += size
        for key, parameter in parameters.items():
            if parameter.grad is not None:
                squares[key] += size * parameter.grad.float().square()
    return [
        torch.stack(
            [
                per_structure(p.parameter.detach().float().square() * squares[id(p.parameter)], p, s.count)
                for p in s.parts
            ]
        ).sum(0)
        / (2 * max(examples, 1))
        for s in sets
    ]


def activation(weight: torch.Tensor, norms: torch.Tensor, count: int) -> torch.Tensor:
    """Return [count] norms of each structure's contribution to the outputs, assuming independent features.

    `weight` is [out, in]. `norms` [in] are those of the input features; each structure has in / count adjacent ones.
    The squared result is the sum of Wanda's squared scores over all weights that the structure feeds.
    """
    features = weight.float().square().sum(0) * norms.float().to(weight.device).square()  # [in]
    return features.view(count, -1).sum(1).sqrt()


def allocated(scores: Sequence[torch.Tensor], kept: int, least: int = 1, step: int = 1) -> list[int]:
    """Return how many structures each set keeps if the `kept` most important of all stay, at least `least` of each.

    Numbers are rounded to a multiple of `step`. Scores are compared directly, so all sets need the same unit.
    """
    threshold = torch.cat([s.double().cpu() for s in scores]).sort(descending=True).values[kept - 1]
    counts = []
    for score in scores:
        above = int((score.double().cpu() >= threshold).sum())
        counts.append(max(least, min(round(above / step) * step, len(score))))
    return counts


def most_important(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return ascending indices of the `count` highest scores; among equal scores the earlier ones."""
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values
