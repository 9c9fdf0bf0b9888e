"""Rounding: packing loses nothing, grids are what they say, and each way of rounding is better by its own measure."""

from typing import Any

import pytest
import torch
from torch import nn

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.capture import Inputs
from compress.methods.compensate import inverse_factor, output_error
from compress.methods.quantize import rounding
from compress.model.gguf.blocks import blocks
from compress.model.packing import grouped, grouped_layer
from compress.model.packing.grouped import Grid, GroupSize
from compress.model.packing.integers import Integers
from compress.spec.steps import Quantize
from tests import made_models


def layer(rows: int = 24, columns: int = 128, seed: int = 0) -> tuple[torch.Tensor, Inputs]:
    """A weight, and statistics of inputs of which a few features are large."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=draw) / columns**0.5 + 0.5 * torch.eye(columns)
    sizes = torch.ones(columns)
    sizes[::17] = 20
    inputs = Inputs.none_yet(columns)
    inputs.add((torch.randn(800, columns, generator=draw) @ mixing) * sizes)
    return torch.randn(rows, columns, generator=draw), inputs


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_packing_is_exact_and_takes_no_bit_more_than_it_must(bits: int) -> None:
    ints = torch.randint(0, 2**bits, (5, 64), generator=torch.Generator().manual_seed(bits))
    stored = grouped_layer.packed(ints, bits)
    assert stored.dtype == torch.uint8
    assert stored.numel() * 8 == ints.numel() * bits
    assert torch.equal(grouped_layer.unpacked(stored, bits).long(), ints)


@pytest.mark.parametrize("symmetric", [False, True, "full"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_nearest_number_of_the_grid_is_found_by_brute_force_too(bits: int, symmetric: Any) -> None:
    weight, _ = layer(rows=3, columns=64)
    made = rounding.nearest(weight, Grid(bits, 32, symmetric))
    dense = made.dense()
    for i in range(3):
        for group in range(2):
            scale, zero = float(made.scale[i, group]), float(made.zero[i, group])
            numbers = torch.tensor([(q - zero) * scale for q in range(2**bits)])
            for j in range(32 * group, 32 * group + 32):
                best = (numbers - weight[i, j]).abs().min()
                assert abs(float(dense[i, j] - weight[i, j])) == pytest.approx(float(best), abs=1e-5)


def test_zero_is_on_every_grid_and_what_is_stored_in_half_precision_is_what_was_rounded_with() -> None:
    weight, _ = layer()
    weight[:, :32] += 10  # all of one sign
    weight[0] = 0
    grids: list[Any] = [False, True, "full"]
    for symmetric in grids:
        made = rounding.nearest(weight, Grid(4, 32, symmetric))
        assert torch.equal(made.scale.half().float(), made.scale)
        assert torch.equal(made.zero.half().float(), made.zero)
        assert torch.equal(made.zero, made.zero.round())
        assert (made.dense()[0] == 0).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_full_grid_has_the_largest_weight_at_its_end_and_is_finer(bits: int) -> None:
    weight, _ = layer()
    full, even = (rounding.nearest(weight, Grid(bits, 32, symmetric)) for symmetric in ("full", True))
    groups = weight.view(24, -1, 32)
    place = groups.abs().argmax(-1, keepdim=True)
    assert (full.ints.view(24, -1, 32).gather(-1, place) == 0).all()
    assert torch.equal(full.scale < 0, groups.gather(-1, place)[..., 0] > 0)
    assert (full.zero == 2 ** (bits - 1)).all()
    errors = [float((made.dense() - weight).square().sum()) for made in (full, even)]
    assert errors[0] < errors[1] * (0.9 if bits == 4 else 1.0)


@pytest.mark.parametrize(("bits", "symmetric", "name"), [(4, "full", "Q4_0"), (8, True, "Q8_0")])
def test_grids_are_those_of_llama_cpps_own_quantization(bits: int, symmetric: Any, name: str) -> None:
    gguf = pytest.importorskip("gguf")
    weight, _ = layer(rows=256)
    theirs = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType[name])
    settings = {"bits": bits, "format": "int4", "group_size": 32, "symmetric": symmetric}
    linear = nn.Linear(128, 256, bias=False)
    linear.weight = nn.Parameter(weight)
    made: Any = grouped.make(linear, settings)
    ours = blocks(Integers.of(made)).view(256, -1, 2 + 4 * bits)
    theirs = torch.from_numpy(theirs.copy()).view(256, -1, 2 + 4 * bits)
    assert torch.equal(ours[..., :2], theirs[..., :2])  # scales
    assert float((ours != theirs).float().mean()) < 0.01  # theirs divides by the scale before it is fp16


def test_ternary_weights_have_three_values_a_group_and_binary_ones_two_of_the_papers_size() -> None:
    weight, _ = layer()
    for kind, bits in (("ternary", 2), ("binary", 1)):
        grid = Grid(bits, 32, kind=kind)  # type: ignore[arg-type]
        dense = rounding.nearest(weight, grid).dense().view(24, -1, 32)
        for found, given in zip(dense.flatten(0, 1), weight.view(-1, 32), strict=True):
            size = given.abs()
            mean = float(size.mean() if kind == "binary" else size[size > 0.7 * size.mean()].mean())
            numbers = torch.tensor([-mean, mean] if kind == "binary" else [-mean, 0.0, mean])
            best = numbers[(given[:, None] - numbers).abs().argmin(1)]
            torch.testing.assert_close(found, best, rtol=2e-3, atol=1e-6)  # a is stored in half precision


@pytest.mark.parametrize(("size", "groups"), [(32, 4), ("row", 1), ("tensor", 1)])
def test_weights_share_a_scale_by_group_by_row_or_all_together(size: GroupSize, groups: int) -> None:
    weight, _ = layer()
    for symmetric in (False, True):
        made = rounding.nearest(weight, Grid(4, size, symmetric))
        assert made.scale.shape == (24, groups)
        assert (len(made.scale.unique()) == 1) == (size == "tensor")
        step = made.scale.repeat_interleave(128 // groups, dim=1)
        assert ((made.dense() - weight).abs() <= 0.501 * step + 1e-6).all()


def test_gptq_by_activation_is_the_recursion_on_sorted_columns_with_grids_settled_before() -> None:
    weight, inputs = layer(columns=256)
    order = inputs.gram.diagonal().argsort(descending=True)
    upper = inverse_factor(inputs.gram[order][:, order])
    scale, zero = (t.double().repeat_interleave(64, dim=1)[:, order] for t in Grid(4, 64).settle(weight))
    w = weight.double()[:, order].clone()
    for j in range(256):
        q = ((w[:, j] / scale[:, j] + zero[:, j]).round().clamp(0, 15) - zero[:, j]) * scale[:, j]
        error = (w[:, j] - q) / upper[j, j]
        w[:, j] = q
        w[:, j + 1 :] -= error[:, None] * upper[j, j + 1 :]
    wanted = w[:, order.argsort()]
    made = rounding.gptq(weight, inputs.gram, Grid(4, 64), by_activation=True).dense()
    assert ((made - wanted).abs() < 1e-3).double().mean() > 0.9
    reached = output_error(weight, made, inputs.gram)
    assert reached == pytest.approx(output_error(weight, wanted, inputs.gram), rel=0.05)
    assert reached < output_error(weight, rounding.nearest(weight, Grid(4, 64)).dense(), inputs.gram)


def book(weight: torch.Tensor, gram: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """GPTQ in float64, column by column, without blocks."""
    upper = inverse_factor(gram)
    w = weight.double().clone()
    for j in range(w.shape[1]):
        if j % group == 0:
            scale, zero = (t.double() for t in Grid(bits, group).settled(w[:, j : j + group].float()))
        q = ((w[:, j] / scale + zero).round().clamp(0, 2**bits - 1) - zero) * scale
        error = (w[:, j] - q) / upper[j, j]
        w[:, j] = q
        w[:, j + 1 :] -= error[:, None] * upper[j, j + 1 :]
    return w


@pytest.mark.parametrize("group", [32, 128, 256])
def test_gptq_follows_the_papers_recursion_and_beats_nearest(group: int) -> None:
    weight, inputs = layer(columns=256)
    made = rounding.gptq(weight, inputs.gram, Grid(4, group))
    reference = output_error(weight, book(weight, inputs.gram, 4, group), inputs.gram)
    ours = output_error(weight, made.dense(), inputs.gram)
    assert ours == pytest.approx(reference, rel=0.05)  # values on an edge may fall to the other side in float32
    agree = ((made.dense() - book(weight, inputs.gram, 4, group)).abs() < 1e-3).double().mean()
    assert agree > 0.9
    assert ours < 0.8 * output_error(weight, rounding.nearest(weight, Grid(4, group)).dense(), inputs.gram)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_hqq_leaves_a_smaller_mean_error_than_nearest(bits: int) -> None:
    draw = torch.Generator().manual_seed(3)
    weight = torch.randn(24, 128, generator=draw)
    ours, plain = rounding.hqq(weight, Grid(bits, 64)), rounding.nearest(weight, Grid(bits, 64))
    assert (ours.dense() - weight).abs().mean() <= (plain.dense() - weight).abs().mean()
    assert torch.equal(ours.zero.half().float(), ours.zero)


def test_awq_finds_the_best_of_the_exponents_and_never_does_worse_than_none() -> None:
    weight, inputs = layer()
    scale = rounding.awq_scale(weight, inputs, Grid(4, 32))
    ours = output_error(weight, rounding.nearest(weight * scale, Grid(4, 32)).dense() / scale, inputs.gram)
    plain = output_error(weight, rounding.nearest(weight, Grid(4, 32)).dense(), inputs.gram)
    assert ours < plain
    size = inputs.absolute / inputs.rows
    assert scale[size.argmax()] > scale[size.argmin()]


def test_a_scaled_layer_equals_the_original_before_it_is_rounded() -> None:
    weight, inputs = layer()
    scale = rounding.awq_scale(weight, inputs, Grid(4, 32))
    given = torch.randn(7, 128)
    torch.testing.assert_close((given / scale) @ (weight * scale).T, given @ weight.T, rtol=1e-5, atol=1e-5)
    small = rounding.scaled_gram(inputs.gram, scale)
    assert output_error(weight * scale, torch.zeros_like(weight), small) == pytest.approx(
        output_error(weight, torch.zeros_like(weight), inputs.gram)
    )


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_a_grouped_layer_multiplies_what_its_numbers_stand_for(bits: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 10)
    module = grouped.make(linear, {"format": "int", "bits": bits, "group_size": 32, "symmetric": False})
    given = torch.randn(3, 64)
    dense = module.dense()
    torch.testing.assert_close(module(given), given @ dense.T + linear.bias)
    tensors, meta = grouped.pack(module)
    assert sum(t.numel() * t.element_size() for t in tensors.values()) < 10 * 64 * (bits / 8 + 4 / 32) + 41
    again = grouped.unpack(tensors, meta, torch.device("cpu"))
    assert torch.equal(again(given), module(given))


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rounding": "gptq"},
        {"rounding": "gptq", "act_order": True, "group_size": "row"},
        {"rounding": "hqq"},
        {"scaling": "awq"},
        {"rounding": "gptq", "scaling": "awq"},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "nearest",
)
def test_every_architecture_takes_every_rounding(kind: str, fields: dict[str, Any]) -> None:
    model = getattr(made_models, kind)()
    dense = made_models.logits(model)
    config = Quantize(bits=4, format="int4", backend="torch", calibration_examples=8, **{"group_size": 32, **fields})
    done = apply_step(made_models.trainable(model), config)
    ours = made_models.logits(done.model)
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours, dense)
    assert float((ours - dense).norm() / dense.norm()) < 0.5
    assert {entry["rounding"] for name, entry in done.layers.items() if name} == {fields.get("rounding", "nearest")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bits": 4, "rounding": "gptq", "backend": "quanto"}, "rounding needs backend torch"),
        ({"bits": 4, "scaling": "awq", "format": "nf4"}, "scaling needs one of the formats"),
        ({"bits": 4, "rounding": "hqq", "symmetric": True}, "hqq moves the zero"),
        ({"bits": 3, "format": "int4"}, "has 4 bits, but bits is 3"),
        ({"bits": 2, "format": "ternary", "rounding": "hqq"}, "hqq moves the zero"),
        ({"bits": 4, "act_order": True}, "need rounding gptq, but rounding is nearest"),
        ({"bits": 4, "group_size": "row", "backend": "quanto"}, "group_size needs backend torch"),
    ],
)
def test_incompatible_settings_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Quantize(**fields)  # type: ignore[arg-type]


def test_a_group_that_does_not_divide_the_inputs_is_refused_with_the_numbers() -> None:
    config = Quantize(bits=3, group_size=128)
    with pytest.raises(InputError, match="group_size 128 does not divide its 32 inputs"):
        apply_step(made_models.bundle(made_models.bert()), config)
