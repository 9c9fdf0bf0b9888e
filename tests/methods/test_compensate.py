"""Compensated columns: against the papers' recursion in float64, and never worse than doing without."""

import pytest
import torch

from compress.methods.compensate import compensated, inverse_factor, output_error
from compress.methods.prune.weights import mask, row_mask, sparse_columns, two_of_four, wanda_scores


def layer(rows: int = 24, columns: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the sum of x x^T of correlated inputs."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=draw) / columns**0.5
    inputs = torch.randn(1000, columns, generator=draw) @ (mixing + 0.5 * torch.eye(columns))
    return torch.randn(rows, columns, generator=draw), (inputs.T @ inputs).double()


def round_column(current: torch.Tensor, diagonal: torch.Tensor, j: int) -> torch.Tensor:
    return (current[:, j] * 4).round() / 4


def by_the_book(weight: torch.Tensor, gram: torch.Tensor, damping: float) -> torch.Tensor:
    """OBS with a fixed order: after each column, the inverse Hessian of the columns left is made anew."""
    w, h = weight.double().clone(), gram.clone()
    h.diagonal().add_(damping * float(gram.diagonal().mean()))
    for j in range(w.shape[1]):
        inverse = torch.linalg.inv(h[j:, j:])
        error = w[:, j] - (w[:, j] * 4).round() / 4
        w[:, j] -= error
        w[:, j + 1 :] -= (error / inverse[0, 0])[:, None] * inverse[0, 1:]
    return w


@pytest.mark.parametrize("block", [1, 7, 128, 1000])
def test_rounding_follows_the_recursion_whatever_the_block(block: int) -> None:
    weight, gram = layer(columns=60)
    ours = compensated(weight, gram, round_column, damping=0.01, block=block)
    book = by_the_book(weight, gram, 0.01)
    agree = ((ours.double() - book).abs() <= 1e-3).double().mean()
    assert agree > 0.99  # a value on the edge between two steps may fall to the other side in float32
    assert output_error(weight, ours, gram) == pytest.approx(output_error(weight, book, gram), rel=0.02)


def test_the_inverse_factor_is_one() -> None:
    _, gram = layer(columns=40)
    upper = inverse_factor(gram, 0.0)
    assert torch.equal(upper, upper.triu())
    torch.testing.assert_close(upper.T @ upper @ gram, torch.eye(40, dtype=torch.float64))


def test_compensated_rounding_beats_nearest_rounding() -> None:
    weight, gram = layer()
    nearest = (weight * 4).round() / 4
    assert output_error(weight, compensated(weight, gram, round_column), gram) < 0.7 * output_error(
        weight, nearest, gram
    )


def test_a_feature_that_no_input_took_is_zeroed_and_disturbs_nothing() -> None:
    weight, gram = layer(columns=30)
    gram[5, :] = gram[:, 5] = 0
    changed = compensated(weight, gram, round_column)
    assert torch.isfinite(changed).all()
    assert (changed[:, 5] == 0).all()


@pytest.mark.parametrize("two_four", [False, True])
def test_sparsegpt_has_its_sparsity_and_less_error_than_wanda_and_magnitude(two_four: bool) -> None:
    weight, gram = layer()
    ours = compensated(weight, gram, sparse_columns(0.5, two_four))
    assert (ours == 0).double().mean() == pytest.approx(0.5, abs=0.001)
    norms = gram.diagonal().sqrt()
    scores = wanda_scores(weight, norms)
    wanda = weight * (two_of_four(scores) if two_four else row_mask(scores, 0.5))
    magnitude = weight * (two_of_four(weight.abs()) if two_four else mask(weight, 0.5))
    errors = [output_error(weight, w, gram) for w in (ours, wanda, magnitude)]
    assert errors[0] < min(errors[1:])
    if two_four:
        assert ((ours.reshape(-1, 4) != 0).sum(1) == 2).all()


def sparse_by_the_book(weight: torch.Tensor, gram: torch.Tensor, damping: float) -> torch.Tensor:
    """SparseGPT in float64: one mask for all columns (they fit in one block), then OBS over the masked ones."""
    h = gram.clone()
    h.diagonal().add_(damping * float(gram.diagonal().mean()))
    steps = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(len(h))])
    w = weight.double().clone()
    kept = mask(w.square() / steps, 0.5)
    for j in range(w.shape[1]):
        inverse = torch.linalg.inv(h[j:, j:])
        error = w[:, j] * (1 - kept[:, j])
        w[:, j] -= error
        w[:, j + 1 :] -= (error / inverse[0, 0])[:, None] * inverse[0, 1:]
    return w


def test_sparsegpt_follows_the_papers_recursion() -> None:
    weight, gram = layer(columns=48)
    ours = compensated(weight, gram, sparse_columns(0.5, False), damping=0.01)
    book = sparse_by_the_book(weight, gram, 0.01)
    assert float((ours.double() - book).norm() / book.norm()) < 1e-3


def test_wanda_scores_and_mask_are_those_of_brute_force() -> None:
    draw = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(6, 10, generator=draw), torch.randn(50, 10, generator=draw)
    norms = inputs.norm(dim=0)
    scores = wanda_scores(weight, norms)
    kept = row_mask(scores, 0.3)
    for i in range(6):
        by_hand = [abs(float(weight[i, j])) * float(norms[j]) for j in range(10)]
        assert scores[i].tolist() == pytest.approx(by_hand)
        gone = sorted(range(10), key=lambda j: (by_hand[j], j))[:3]
        assert [j for j in range(10) if kept[i, j] == 0] == sorted(gone)
    assert (kept.sum(1) == 7).all()


def test_two_of_four_keeps_the_best_two_of_each_four() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 0.0]])
    assert two_of_four(scores).tolist() == [[1, 0, 0, 1, 1, 1, 0, 0]]
