"""Truncated SVD of one weight, and the ranks that save parameters and suit kernels."""

import torch

STEP = 16


def break_even(out_features: int, in_features: int) -> float:
    """Return the rank at which two thin weights hold as many parameters as the dense one."""
    return out_features * in_features / (out_features + in_features)


def no_saving(out_features: int, in_features: int, rank: int | None, kept: float | None) -> str | None:
    """Return why a dense weight is no larger than its factors at `rank`, or is over the fraction `kept` even at rank 1.

    None if neither is so; None for an argument is not checked.
    """
    limit = break_even(out_features, in_features)
    size = f"{out_features} x {in_features}"
    if rank is not None and rank >= limit:
        return (
            f"rank {rank} saves nothing: {rank} x ({out_features} + {in_features}) = "
            f"{rank * (out_features + in_features)} parameters, the dense weight has {size} = "
            f"{out_features * in_features}; use a rank below {limit:.1f}"
        )
    if kept is not None and int(kept * limit) < 1:
        return f"parameters {kept} of {size} is less than rank 1; use at least {1 / limit:.3f}"
    return None


def factorize(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A [out, rank] and B [rank, in], whose product is the best rank-`rank` approximation of weight [out, in].

    The singular values are split evenly between the two, so that neither becomes large in half precision.
    """
    return cut(split(weight), rank)


Factors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def split(weight: torch.Tensor) -> Factors:
    """Return U [out, k], S [k] descending and Vh [k, in] of a weight in float64, with k the smaller of its sizes.

    It uses the eigenvectors V of A^T A (of A A^T for a wide weight), since A = (A V) V^T holds for any orthogonal V. In
    float64 the squaring loses no digit that a weight has. For a transformer's weights that are not square, it takes a
    tenth to a half of the time of a float64 SVD on a CPU.
    """
    tall = _tall(weight)
    values, vectors = torch.linalg.eigh(tall.T @ tall)  # ascending
    s, right = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
    left = tall @ right / s.clamp(min=1e-12 * float(s[0]) or 1.0)  # avoids division by zero
    return (left, s, right.T) if tall.shape == weight.shape else (right, s, left.T)


def singular_values(weight: torch.Tensor) -> torch.Tensor:
    """Return S [k] of `split`, descending."""
    tall = _tall(weight)
    return torch.linalg.eigvalsh(tall.T @ tall).flip(0).clamp(min=0).sqrt()


def _tall(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight, or its transpose if that has more rows, in float64."""
    exact = weight.double()
    return exact.T if weight.shape[0] < weight.shape[1] else exact


def cut(factors: Factors, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first `rank` components as A [out, rank] and B [rank, in]."""
    u, s, vh = factors
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]


def rank_of_energy(singular: torch.Tensor, energy: float) -> int:
    """Return the least rank whose squared singular values hold this fraction of their sum."""
    cumulative = singular.double().square().cumsum(0)
    total = cumulative[-1].clone()
    if total == 0:
        return 1
    return int(torch.searchsorted(cumulative, energy * total).item()) + 1


def aligned(rank: int, up: bool = False) -> int:
    """Round down (or up) to a multiple of 16, for small ranks of a smaller power of two.

    The power of two is such that a small rank changes by less than an eighth.
    """
    step = STEP
    while step > 1 and rank < 8 * step:
        step //= 2
    return (rank + (step - 1) * up) // step * step
