"""Weighted SVD: each weighting attains the least error of its own kind, and shared ranks keep their budget."""

from typing import Any

import pytest
import torch
from torch import nn

from compress.methods.capture import Inputs
from compress.methods.compensate import output_error
from compress.methods.lowrank import lowrank, share, weighting
from compress.methods.lowrank.factors import break_even, cut, factorize, split
from compress.methods.lowrank.weighting import Weighting, activation, cholesky, fisher, squared_gradients, whitened
from compress.spec.steps import LowRank
from tests import made_models


def weight_and_inputs(columns: int = 32, seed: int = 0, rows: int = 400) -> tuple[torch.Tensor, Inputs]:
    """A weight [24, columns], and statistics of correlated inputs."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=draw) * torch.logspace(0, -2, columns)
    inputs = Inputs.none_yet(columns)
    inputs.add(torch.randn(rows, columns, generator=draw) @ mixing)
    return torch.randn(24, columns, generator=draw), inputs


def product(weight: torch.Tensor, weighted: Weighting, rank: int) -> torch.Tensor:
    left, right = weighted.undone(*cut(split(weighted.applied(weight)), rank))
    return left @ right


def test_whitened_attains_the_optimum_of_the_output_error_and_plain_does_not() -> None:
    weight, inputs = weight_and_inputs()
    for rank in (2, 6, 12):
        values = torch.linalg.svdvals(weight.double() @ cholesky(inputs.gram))
        best = float(values[rank:].square().sum())
        ours = output_error(weight, product(weight, whitened(inputs), rank), inputs.gram)
        assert ours == pytest.approx(best, rel=1e-4)
        left, right = factorize(weight, rank)
        assert ours < output_error(weight, left @ right, inputs.gram)


def test_activation_minimises_the_weights_scaled_by_their_inputs() -> None:
    weight, inputs = weight_and_inputs()
    scale = (inputs.absolute / inputs.rows).sqrt()
    best = torch.linalg.svdvals(weight.double() * scale)[5:].square().sum()
    changed = product(weight, activation(inputs), 5)
    assert float((((weight - changed) * scale) ** 2).sum()) == pytest.approx(float(best), rel=1e-6)


def test_fisher_minimises_the_weights_scaled_by_their_rows() -> None:
    weight, _ = weight_and_inputs()
    squares = torch.rand(24, dtype=torch.float64) + 0.1
    best = torch.linalg.svdvals(weight.double() * squares.sqrt()[:, None])[5:].square().sum()
    changed = product(weight, fisher(squares), 5)
    assert float((((weight - changed) * squares.sqrt()[:, None]) ** 2).sum()) == pytest.approx(float(best), rel=1e-6)


def test_full_rank_gives_the_weight_back_under_every_weighting() -> None:
    weight, inputs = weight_and_inputs()
    for weighted in (Weighting(), activation(inputs), whitened(inputs), fisher(torch.rand(24).double())):
        torch.testing.assert_close(product(weight, weighted, 24).float(), weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_inputs_to_be_definite_are_damped_and_stay_finite(rows: int) -> None:
    weight, inputs = weight_and_inputs(rows=rows)
    for weighted in (whitened(inputs), activation(inputs)):
        assert torch.isfinite(product(weight, weighted, 4)).all()


def test_squared_gradients_are_those_of_single_examples() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 2)})
    gradients = [torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), torch.tensor([[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]])]

    def batches() -> Any:
        for gradient in gradients:
            model["a"].weight.grad = gradient
            yield 1

    assert squared_gradients(dict(model.items()), batches())["a"].tolist() == [1 + 4 + 9 + 4, 1 + 9]


@pytest.mark.parametrize("kind", ["bert", "vit", "llama", "gpt2"])
@pytest.mark.parametrize("weighting", ["activation", "whitened", "fisher"])
def test_every_architecture_takes_every_weighting(kind: str, weighting: str) -> None:
    model = getattr(made_models, kind)()
    given = made_models.trainable(model)
    dense = made_models.logits(model)
    done = lowrank(given, LowRank(parameters=0.5, weighting=weighting, calibration_examples=16))  # type: ignore[arg-type]
    ours = made_models.logits(done.model)
    assert ours.shape == dense.shape
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours, dense)
    assert f"{weighting} from 16 examples" in done.notes[0]


@pytest.mark.parametrize("weighting", ["whitened", "fisher"])
def test_the_note_states_the_number_of_examples_that_there_were(weighting: str) -> None:
    given = made_models.trainable(made_models.llama())  # 24 training examples
    done = lowrank(given, LowRank(parameters=0.5, weighting=weighting, calibration_examples=256))  # type: ignore[arg-type]
    assert done.notes[0].endswith(f", {weighting} from 24 examples")


def test_whitening_a_trained_model_changes_its_answers_less_than_plain_svd() -> None:
    model = made_models.bert()
    errors = {}
    for kind in ("plain", "whitened"):
        torch.manual_seed(0)
        given = made_models.bundle(made_models.bert())
        given.model.load_state_dict(model.state_dict())
        examples = made_models.inputs(given.model)
        with torch.no_grad():
            dense = given.model(**examples, output_hidden_states=True).hidden_states[-1]
            done = lowrank(given, LowRank(parameters=0.5, weighting=kind, calibration_examples=64))  # type: ignore[arg-type]
            ours = done.model(**examples, output_hidden_states=True).hidden_states[-1]
        errors[kind] = float((ours - dense).norm())
    assert errors["whitened"] < errors["plain"]


def test_shared_ranks_keep_the_budget_and_favour_what_needs_rank() -> None:
    spectra = {
        "flat": (torch.ones(32), (32, 32)),  # losses
        "steep": (torch.logspace(0, -8, 32), (32, 32)),
        "wide": (torch.ones(32), (32, 128)),
    }
    for kept in (0.2, 0.5, 0.8):
        ranks = share(spectra, kept)
        held = sum(min(ranks[n] * sum(shape), shape[0] * shape[1]) for n, (_, shape) in spectra.items())
        total = sum(a * b for _, (a, b) in spectra.values())
        assert kept * total - 160 - 64 <= held <= kept * total  # less than two components are left
        assert ranks["steep"] < ranks["flat"]
        assert min(ranks.values()) >= 1


def test_shared_allocation_gives_layers_different_ranks_within_the_budget() -> None:
    given = made_models.bundle(made_models.bert())
    torch.nn.init.ones_(given.model.bert.encoder.layer[0].attention.self.query.weight)  # rank 1
    shapes = {n: tuple(m.weight.shape) for n, m in given.model.named_modules() if isinstance(m, nn.Linear)}
    config = LowRank(parameters=0.5, allocation="shared", weighting="whitened", calibration_examples=16)
    done = lowrank(given, config)
    ranks = {name: entry["rank"] for name, entry in done.layers.items()}
    assert ranks["bert.encoder.layer.0.attention.self.query"] == 1
    assert len(set(ranks.values())) > 1
    held = sum(ranks[n] * sum(shapes[n]) if n in ranks else a * b for n, (a, b) in shapes.items() if "layer" in n)
    assert held <= 0.5 * sum(a * b for n, (a, b) in shapes.items() if "layer" in n)
    assert all(rank < break_even(*shapes[name]) for name, rank in ranks.items())


def test_a_budget_for_sharing_is_given_by_parameters() -> None:
    with pytest.raises(ValueError, match="divides a budget"):
        LowRank(rank=4, allocation="shared")
    with pytest.raises(ValueError, match="weighting: whitened"):
        LowRank(allocation="shared")


def test_sensitivities_are_the_mean_squared_gradients_of_outputs() -> None:
    model, given = nn.ModuleDict({"a": nn.Linear(3, 2)}), torch.randn(4, 1, 3)

    def batches() -> Any:
        for example in given:
            output = model["a"](example)
            (output * torch.tensor([1.0, 3.0])).sum().backward()
            yield 1

    assert weighting.output_sensitivities(dict(model.items()), batches())["a"] == pytest.approx((1 + 9) / 2)


def test_inputs_that_are_not_finite_are_an_error_and_no_endless_search() -> None:
    gram = torch.eye(4, dtype=torch.float64)
    gram[1, 2] = float("nan")
    with pytest.raises(RuntimeError, match="not finite"):
        cholesky(gram)
