"""Change a weight column by column; the remaining columns compensate for the error of the finished ones.

This is the optimal brain surgeon for a layer's outputs, || (W - W') X ||, with one column order for all rows. It is
GPTQ (Frantar et al. 2022, arXiv:2210.17323) when columns are rounded. It is SparseGPT (Frantar and Alistarh 2023,
arXiv:2301.00774) when parts of them are set to zero. With H = X X^T and the upper triangular U of H^-1 = U^T U:

    for j in columns:   q_j = choose(w_j);   e = (w_j - q_j) / U_jj;   w_k -= e U_jk   for every k > j

The corrections from a block of columns to those behind it are applied at the block's end, in one product.
"""

from collections.abc import Callable

import torch

BLOCK = 128
DAMPING = 0.01  # of the mean of H's diagonal, as in both papers

Choose = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""(current weight [out, in], diagonal of U [in], column j) -> the column's final values [out].

Columns behind the block of j do not include its corrections yet.
"""


def compensated(
    weight: torch.Tensor, gram: torch.Tensor, choose: Choose, damping: float = DAMPING, block: int = BLOCK
) -> torch.Tensor:
    """Return the changed weight [out, in], in float32; `gram` [in, in] is the sum of x x^T over its inputs."""
    upper = inverse_factor(gram, damping).float()
    diagonal = upper.diagonal()
    current = weight.float().clone()
    current[:, gram.diagonal() == 0] = 0  # this feature was zero in every input
    columns = current.shape[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        errors = torch.empty(current.shape[0], end - start, dtype=current.dtype, device=current.device)
        for j in range(start, end):
            chosen = choose(current, diagonal, j)
            error = (current[:, j] - chosen) / diagonal[j]
            current[:, j] = chosen
            current[:, j + 1 : end] -= error[:, None] * upper[j, j + 1 : end]
            errors[:, j - start] = error
        current[:, end:] -= errors @ upper[start:end, end:]
    return current


def inverse_factor(gram: torch.Tensor, damping: float = DAMPING) -> torch.Tensor:
    """Return upper triangular U [in, in] with (gram + damping x mean diagonal x I)^-1 = U^T U, in the type of `gram`.

    One copy of `gram` is factored, inverted and factored again in place. A float32 matrix that rounding makes
    indefinite is factored in float64 instead.
    """
    matrix = gram.clone().mT  # column-major, as LAPACK works in place
    diagonal = matrix.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal.add_(damping * float(diagonal.mean(dtype=torch.float64)))
    failed = torch.empty((), dtype=torch.int32, device=gram.device)
    for upper in (False, True):
        torch.linalg.cholesky_ex(matrix, upper=upper, out=(matrix, failed))
        if int(failed):
            break
        if not upper:
            torch.cholesky_inverse(matrix, out=matrix)
    if not int(failed):
        return matrix
    if gram.dtype == torch.float64:
        raise RuntimeError("the inputs of a layer are not finite or too correlated; use a larger damping")
    del matrix, diagonal
    return inverse_factor(gram.double(), damping).to(gram.dtype)


def output_error(weight: torch.Tensor, changed: torch.Tensor, gram: torch.Tensor) -> float:
    """Return || (W - W') X ||^2 for inputs whose sum of x x^T is `gram`."""
    difference = (weight.double() - changed.double()).to(gram)
    return float(((difference @ gram) * difference).sum(dtype=torch.float64))
