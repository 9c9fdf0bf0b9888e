"""Low rank: the best approximation, the arithmetic of when it pays, and what is refused."""

import copy
import weakref

import pytest
import torch
from torch import nn

from compress.base.config import InputError
from compress.methods.lowrank import lowrank
from compress.methods.lowrank.factors import (
    aligned,
    break_even,
    cut,
    factorize,
    rank_of_energy,
    singular_values,
    split,
)
from compress.model.convolutions import LowRankConvolution
from compress.model.layers import Borrowing, LowRankLinear, matrix
from compress.spec.steps import LowRank
from tests.made_models import MODELS, bert, bundle, gpt2, inputs, llama, logits, trainable


def test_factors_are_the_best_approximation_of_their_rank() -> None:
    weight = torch.randn(12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, right = factorize(weight, 5)
    singular = torch.linalg.svdvals(weight)
    error = (weight - left @ right).square().sum()
    assert left.shape == (12, 5) and right.shape == (5, 20)
    torch.testing.assert_close(error, singular[5:].square().sum())  # Eckart-Young: what was cut off, and no more


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_a_weight_is_split_as_an_svd_would_also_where_it_is_nearly_singular(shape: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    spread = torch.logspace(0, -7, shape[1], dtype=torch.float64)
    for weight in (torch.randn(*shape, generator=draw, dtype=torch.float64) * spread, torch.zeros(shape)):
        u, s, vh = split(weight)
        exact = torch.linalg.svdvals(weight.double())
        assert all(part.isfinite().all() for part in (u, s, vh))
        torch.testing.assert_close(s, exact, rtol=1e-7, atol=1e-7 * float(exact[0]))
        torch.testing.assert_close(singular_values(weight), s, rtol=1e-6, atol=1e-7 * float(exact[0]))
        torch.testing.assert_close((u * s) @ vh, weight.double(), rtol=0, atol=1e-11)
        for rank in (1, 5, 15):
            left, right = cut((u, s, vh), rank)
            best = exact[rank:].square().sum().sqrt()
            assert (weight - left @ right).norm() <= best * (1 + 1e-6) + 1e-7 * exact[0]


def test_full_rank_gives_the_weight_back() -> None:
    weight = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, right = factorize(weight, 6)
    torch.testing.assert_close(left @ right, weight)
    assert left.dtype == torch.float64


def test_half_precision_weights_are_split_in_double_precision() -> None:
    left, _ = factorize(torch.randn(6, 9).to(torch.bfloat16), 2)
    assert left.dtype == torch.float64


@pytest.mark.parametrize("energy", [0.1, 0.5, 0.9, 0.999])
def test_rank_of_energy_is_the_least_that_holds_it(energy: float) -> None:
    singular = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5])
    shares = [float(singular[:r].square().sum() / singular.square().sum()) for r in range(1, 6)]
    assert rank_of_energy(singular, energy) == next(r for r in range(1, 6) if shares[r - 1] >= energy)


def test_ranks_that_follow_are_of_widths_that_kernels_like() -> None:
    for rank in range(1, 3000):
        down, up = aligned(rank), aligned(rank, up=True)
        step = 16 if rank >= 128 else 8 if rank >= 64 else 4 if rank >= 32 else 2 if rank >= 16 else 1
        assert rank - step < down <= rank <= up < rank + step
        assert down % step == up % step == 0
        assert down > rank * 7 / 8
    wide = nn.Sequential(nn.Linear(384, 1536), nn.Linear(384, 384))
    ranks = [int(0.7 * break_even(*layer.weight.shape)) for layer in wide]
    assert (ranks, [aligned(rank) for rank in ranks]) == ([215, 134], [208, 128])


def test_a_rank_by_energy_that_pays_is_not_rounded_up_to_one_that_does_not() -> None:
    name = "bert.encoder.layer.0.attention.self.query"
    ranks = []
    for energy in (0.4, 0.49):
        model = bert()
        square = nn.Linear(384, 384)
        nn.init.orthogonal_(square.weight)  # all singular values alike
        model.set_submodule(name, square)
        ranks.append(lowrank(bundle(model), LowRank(energy=energy, include=(name,))).layers[name]["rank"])
    assert ranks == [160, 189]  # 154 goes up to 160; 189 would go up to 192, where it no longer pays


def test_a_weight_of_zeros_has_rank_one() -> None:
    assert rank_of_energy(torch.zeros(4), 0.9) == 1


def test_below_break_even_the_thin_layer_has_fewer_parameters_and_at_it_not() -> None:
    limit = break_even(32, 64)
    assert limit == 32 * 64 / 96
    for rank, fewer in ((int(limit), True), (int(limit) + 1, False)):
        thin = LowRankLinear(64, 32, rank, bias=False)
        assert (sum(p.numel() for p in thin.parameters()) < 32 * 64) is fewer


@pytest.mark.parametrize("kind", MODELS)
def test_every_architecture_keeps_its_output_shape_and_records_its_layers(kind: str) -> None:
    model = MODELS[kind]()
    before = logits(model)
    done = lowrank(bundle(model), LowRank(parameters=0.8))
    after = logits(done.model)
    assert after.shape == before.shape and after.isfinite().all()
    assert not torch.equal(after, before)
    patches = "vit.embeddings.patch_embeddings.projection"
    assert (patches in done.layers) == (kind == "vit")
    for name, entry in done.layers.items():
        module = done.model.get_submodule(name)
        if name == patches:
            assert isinstance(module, LowRankConvolution)
            assert entry == {"kind": "lowrank", "rank": module.first.out_channels, "decomposition": "channel"}
            continue
        assert isinstance(module, LowRankLinear)
        assert entry == {"kind": "lowrank", "rank": module.rank}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_weight_of_low_rank_is_replaced_without_a_trace(kind: str) -> None:
    model = MODELS[kind]()
    for module in model.modules():
        if hasattr(module, "weight") and type(module).__name__ in ("Linear", "Conv1D"):
            left, right = factorize(matrix(module), 2)
            matrix(module).copy_(left @ right)
    before = logits(model)
    torch.testing.assert_close(logits(lowrank(bundle(model), LowRank(rank=2)).model), before, atol=1e-4, rtol=1e-4)


def test_parameters_are_kept_to_the_fraction() -> None:
    model = bert()
    done = lowrank(bundle(copy.deepcopy(model)), LowRank(parameters=0.5))
    name = "bert.encoder.layer.0.output.dense"  # [32, 64]
    thin, dense = done.model.get_submodule(name), model.get_submodule(name)
    count = thin.first.weight.numel() + thin.second.weight.numel()
    assert 0.5 * dense.weight.numel() - (32 + 64) < count <= 0.5 * dense.weight.numel()
    torch.testing.assert_close(thin.second.bias, dense.bias)


def test_heads_and_embeddings_stay_dense_by_default() -> None:
    done = lowrank(bundle(bert()), LowRank(parameters=0.5))
    assert isinstance(done.model.classifier, nn.Linear) and isinstance(done.model.bert.pooler.dense, nn.Linear)


def test_a_rank_that_saves_nothing_is_refused_with_the_arithmetic_before_anything_changes() -> None:
    model = bert()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError) as caught:
        lowrank(bundle(model), LowRank(rank=18))
    first = caught.value.problems[0]
    assert "bert.encoder.layer.0.attention.self.query" in first and "18 x (32 + 32) = 1152" in first and "1024" in first
    assert list(before) == list(model.state_dict())


def test_energy_leaves_layers_dense_where_it_saves_nothing_and_says_so() -> None:
    model = bert()
    for layer in model.bert.encoder.layer:
        left, right = factorize(layer.output.dense.weight.data, 1)
        layer.output.dense.weight.data.copy_(left @ right)
    done = lowrank(bundle(model), LowRank(energy=0.99))
    assert set(done.layers) == {f"bert.encoder.layer.{i}.output.dense" for i in (0, 1)}
    assert isinstance(done.model.bert.encoder.layer[0].attention.self.query, nn.Linear)
    assert any("stay dense" in note and "attention.self.query" in note for note in done.notes)


def test_energy_that_no_layer_reaches_is_refused() -> None:
    with pytest.raises(InputError, match="no layer reaches it"):
        lowrank(bundle(bert()), LowRank(energy=0.9999))


def test_a_weight_tied_to_the_embedding_is_refused() -> None:
    with pytest.raises(InputError, match="lm_head: its weight is tied"):
        lowrank(bundle(llama()), LowRank(rank=2, exclude=()))
    with pytest.raises(InputError, match="lm_head: its weight is tied"):
        lowrank(bundle(gpt2()), LowRank(rank=2, exclude=()))


def test_no_match_names_layers_that_exist() -> None:
    with pytest.raises(InputError, match=r"bert\.encoder\.layer\.0\.attention\.self\.query"):
        lowrank(bundle(bert()), LowRank(include=("nothing*",)))


GROUPED = ["bert", "llama", "vit"]


@pytest.mark.parametrize("kind", GROUPED)
def test_grouped_projections_are_the_best_approximation_of_all_three_together(kind: str) -> None:
    model = MODELS[kind]()
    dense = copy.deepcopy(model)
    done = lowrank(bundle(model), LowRank(parameters=0.5, grouped=True))
    borrowers = {name: entry["borrows"] for name, entry in done.layers.items() if "borrows" in entry}
    lenders = sorted(set(borrowers.values()))
    assert lenders and len(borrowers) == 2 * len(lenders)
    for lender in lenders:
        group = [lender, *(name for name, of in borrowers.items() if of == lender)]
        rank = done.layers[lender]["rank"]
        first = done.model.get_submodule(lender).first.weight
        whole = torch.cat([matrix(dense.get_submodule(name)) for name in group])
        thin = torch.cat([done.model.get_submodule(name).second.weight @ first for name in group])
        error = (whole - thin).square().sum()
        torch.testing.assert_close(error, torch.linalg.svdvals(whole)[rank:].square().sum(), rtol=1e-3, atol=1e-6)
        parameters = [p for name in group for p in done.model.get_submodule(name).parameters()]
        assert sum(p.numel() for p in parameters if p.dim() == 2) == rank * sum(whole.shape)  # the input's side once


@pytest.mark.parametrize("kind", GROUPED)
def test_the_shared_matrix_is_multiplied_once_and_answers_are_the_same_as_with_none_shared(kind: str) -> None:
    done = lowrank(bundle(MODELS[kind]()), LowRank(parameters=0.5, grouped=True))
    lender = next(entry["borrows"] for entry in done.layers.values() if "borrows" in entry)
    calls: list[int] = []
    done.model.get_submodule(lender).first.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        once = logits(done.model)
        assert len(calls) == 1
        again = logits(done.model)
        assert len(calls) == 2  # other inputs, though equal ones
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    calls.clear()
    with torch.enable_grad():
        trained = done.model(**inputs(done.model)).logits
    assert len(calls) == 3  # training keeps every product
    torch.testing.assert_close(trained.detach(), once, rtol=1e-5, atol=1e-5)


def test_a_tensor_changed_in_place_is_multiplied_anew() -> None:
    thin = LowRankLinear(8, 8, 2)
    other = Borrowing(thin, LowRankLinear(8, 8, 2).second)
    given = torch.ones(3, 8)
    products: list[weakref.ref[torch.Tensor]] = []
    thin.first.register_forward_hook(lambda _module, _given, product: products.append(weakref.ref(product)))
    with torch.no_grad():
        before = other(given)
        given.mul_(2)
        torch.testing.assert_close(other(given) - other.second.bias, 2 * (before - other.second.bias))
        assert products[-1]() is not None
        del given
        assert [product() for product in products] == [None, None]  # nothing of a batch is kept


def test_copies_of_grouped_layers_borrow_from_the_copy() -> None:
    done = lowrank(bundle(bert()), LowRank(parameters=0.5, grouped=True))
    copied = copy.deepcopy(done.model)
    before = logits(done.model)
    with torch.no_grad():
        for name, entry in done.layers.items():
            if "borrows" not in entry:
                copied.get_submodule(name).first.weight.zero_()
    assert not torch.equal(logits(copied), before)
    torch.testing.assert_close(logits(done.model), before, rtol=0, atol=0)


def test_grouped_saves_more_at_the_same_error_and_is_weighted_like_single_layers() -> None:
    for kind in ("activation", "whitened", "fisher"):
        config = LowRank(parameters=0.5, grouped=True, weighting=kind, calibration_examples=16)
        done = lowrank(trainable(bert()), config)
        assert logits(done.model).isfinite().all()
        assert any("borrows" in entry for entry in done.layers.values())


def test_grouped_below_its_own_break_even_is_taken_where_single_layers_would_refuse() -> None:
    rank = 20  # of 32 x 32: single layers pay below 16, the group of three below 24
    only = ("*query", "*key", "*value")
    with pytest.raises(InputError, match="saves nothing"):
        lowrank(bundle(bert()), LowRank(rank=rank, include=only))
    done = lowrank(bundle(bert()), LowRank(rank=rank, include=only, grouped=True))
    assert {entry["rank"] for entry in done.layers.values()} == {rank}


def test_grouping_leaves_what_is_one_weight_already_and_two_of_three_alone() -> None:
    assert not any("borrows" in e for e in lowrank(bundle(gpt2()), LowRank(grouped=True)).layers.values())
    done = lowrank(bundle(bert()), LowRank(grouped=True, exclude=("*key", "*classifier*")))
    assert not any("borrows" in entry for entry in done.layers.values())
