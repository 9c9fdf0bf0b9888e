"""Change a weight column by column, letting the columns still to come make up for the error of those done.

The optimal brain surgeon for a layer's outputs, || (W - W') X ||, with one order of columns for all rows: GPTQ
(Frantar et al. 2022, arXiv:2210.17323) when a column is rounded, SparseGPT (Frantar and Alistarh 2023,
arXiv:2301.00774) when parts of it are set to zero. With H = X X^T and the upper triangular U of H^-1 = U^T U:

    for j in columns:   q_j = choose(w_j);   e = (w_j - q_j) / U_jj;   w_k -= e U_jk   for every k > j

What a block of columns does to those behind it is applied at the block's end, in one product.
"""

from collections.abc import Callable

import torch

BLOCK = 128
DAMPING = 0.01  # of the mean of H's diagonal, as in both papers

Choose = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""(current weight [out, in], diagonal of U [in], column j) -> the column's final values [out]. Columns behind the
block of j do not hold its corrections yet."""


def compensated(
    weight: torch.Tensor, gram: torch.Tensor, choose: Choose, damping: float = DAMPING, block: int = BLOCK
) -> torch.Tensor:
    """The changed weight [out, in], float32, of one whose inputs had this sum of x x^T [in, in]."""
    upper = inverse_factor(gram, damping).float()
    diagonal = upper.diagonal()
    current = weight.float().clone()
    current[:, gram.diagonal() == 0] = 0  # no input ever took it
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
    """Upper triangular U [in, in] with (gram + damping x mean diagonal x I)^-1 = U^T U, in float64."""
    exact = gram.double().clone()
    dead = exact.diagonal() == 0
    exact.diagonal()[dead] = 1.0
    exact.diagonal().add_(damping * float(exact.diagonal().mean()))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(exact))
    return torch.linalg.cholesky(inverse, upper=True)


def output_error(weight: torch.Tensor, changed: torch.Tensor, gram: torch.Tensor) -> float:
    """|| (W - W') X ||^2 over the inputs whose sum of x x^T this is."""
    difference = (weight.double() - changed.double()).to(gram.device)
    return float(((difference @ gram.double()) * difference).sum())
