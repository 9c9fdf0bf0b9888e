"""Low rank of convolutions: both decompositions against brute force, best approximations, artifacts and refusals."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.capture import capture
from compress.methods.lowrank.factors import factorize
from compress.methods.rehearsal import rehearse
from compress.model import artifact
from compress.model.convolutions import LowRankConvolution, as_matrix, convolutions, matrix_shape, patches
from compress.model.skeleton import empty_copy
from compress.spec.steps import HEADS, LowRank, Prune, Quantize
from tests.convolutions import FAMILIES, accuracy, answer, bundle, digits_resnet, training_digits
from tests.made_models import MODELS, logits, trainable

SHAPES: dict[str, dict[str, Any]] = {
    "1x1": {"kernel_size": 1},
    "3x3": {"kernel_size": 3, "padding": 1},
    "5x3 strided": {"kernel_size": (5, 3), "stride": (2, 1), "padding": (2, 0), "bias": False},
    "5x3 same": {"kernel_size": (5, 3), "padding": "same", "dilation": (1, 2)},
    "3x3 dilated": {"kernel_size": 3, "dilation": (1, 2), "padding": (1, 2), "stride": 2},
}
DECOMPOSITIONS = ("channel", "spatial")


def convolution(name: str) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(6, 10, **SHAPES[name]).eval()


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
@pytest.mark.parametrize("name", SHAPES)
def test_at_full_rank_two_convolutions_are_the_dense_one(name: str, decomposition: Any) -> None:
    dense = convolution(name)
    matrix = as_matrix(dense, decomposition)
    left, right = factorize(matrix, min(matrix.shape))
    thin = LowRankConvolution.of(dense, left, right, decomposition)
    inputs = torch.randn(2, 6, 13, 11)
    torch.testing.assert_close(thin(inputs), dense(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
def test_at_a_lower_rank_the_composed_kernel_is_the_best_sum_of_that_many_terms(decomposition: Any) -> None:
    dense, rank = convolution("3x3"), 4
    thin = LowRankConvolution.of(dense, *factorize(as_matrix(dense, decomposition), rank), decomposition)
    first, second = thin.first.weight.detach(), thin.second.weight.detach()
    composed = torch.zeros_like(dense.weight)
    for o in range(10):
        for i in range(6):
            for y in range(3):
                for x in range(3):
                    left = second[o, :, 0, 0] if decomposition == "channel" else second[o, :, 0, x]
                    right = first[:, i, y, x] if decomposition == "channel" else first[:, i, y, 0]
                    composed[o, i, y, x] = left @ right
    weight = dense.weight.detach()
    flat = weight.reshape(10, -1) if decomposition == "channel" else torch.einsum("oiyx->oxiy", weight).reshape(30, 18)
    lost = torch.linalg.svdvals(flat)[rank:].square().sum()
    assert float((composed - weight).square().sum()) == pytest.approx(float(lost), rel=1e-3)
    inputs = torch.randn(2, 6, 8, 8)
    expected = functional.conv2d(inputs, composed, dense.bias, padding=1)
    torch.testing.assert_close(thin(inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("fields", [{"padding": 1}, {"padding": 2, "stride": 2, "dilation": 2}, {}])
def test_patches_times_the_weight_are_the_convolution(kind: Any, fields: dict[str, int]) -> None:
    torch.manual_seed(0)
    dense = kind(4, 5, 3, bias=False, **fields)
    sizes = {nn.Conv1d: (11,), nn.Conv2d: (11, 9), nn.Conv3d: (7, 9, 8)}[kind]
    inputs = torch.randn(2, 4, *sizes)
    products = patches(dense, inputs) @ dense.weight.flatten(1).T  # [batch, positions, out]
    torch.testing.assert_close(products.transpose(1, 2), dense(inputs).flatten(2), rtol=1e-4, atol=1e-5)


def test_statistics_of_a_convolution_are_sums_over_its_patches() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = convolution("5x3 strided")

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.layer(pixel_values)

    model, pictures = One(), torch.randn(3, 6, 9, 7)
    found = capture(model, [{"pixel_values": pictures[:2]}, {"pixel_values": pictures[2:]}], ["layer"])["layer"]
    padded = functional.pad(pictures, (0, 0, 2, 2))
    rows = [
        padded[b, :, y : y + 5, x : x + 3].flatten()
        for b in range(3)
        for y in range(0, 9, 2)
        for x in range(0, 5)
    ]  # fmt: skip
    expected = torch.stack(rows)
    assert found.rows == len(rows)
    torch.testing.assert_close(found.gram, expected.T @ expected, rtol=1e-4, atol=1e-3)


def test_whitening_loses_less_of_the_outputs_and_plain_less_of_the_weights() -> None:
    model, name = FAMILIES["resnet"](), "resnet.encoder.stages.1.layers.1.layer.0.convolution"
    errors: dict[str, tuple[float, float]] = {}
    dense, inputs = model.get_submodule(name), []
    hook = dense.register_forward_hook(lambda _m, given, _out: inputs.append(given[0].detach()))
    answer(model)
    hook.remove()
    for weighting in ("plain", "whitened"):
        step = LowRank(rank=8, include=(name,), weighting=weighting, calibration_examples=24)
        thin = apply_step(bundle(copy.deepcopy(model)), step).model.get_submodule(name)
        composed = torch.einsum("or,riyx->oiyx", thin.second.weight[:, :, 0, 0], thin.first.weight)
        outputs = (thin(inputs[0]) - dense(inputs[0])).square().sum()
        errors[weighting] = (float((composed - dense.weight).square().sum()), float(outputs))
    assert errors["plain"][0] < errors["whitened"][0] and errors["whitened"][1] < errors["plain"][1]


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_keeps_about_the_fraction_of_its_whole_convolutions_and_reloads(
    name: str, decomposition: Any, tmp_path: Path
) -> None:
    step = LowRank(parameters=0.5, decomposition=decomposition)
    model = FAMILIES[name]()
    whole = copy.deepcopy(model)
    problems, after = rehearse(bundle(empty_copy(model)), (step,), lambda _: None)
    made = apply_step(bundle(model), step)
    assert not problems and after is not None
    assert [p.shape for p in after.model.parameters()] == [p.shape for p in made.model.parameters()]
    thin = [layer for layer, entry in made.layers.items() if "decomposition" in entry]
    assert thin
    for layer in thin:
        dense, low = whole.get_submodule(layer), made.model.get_submodule(layer)
        left, right = low.second.weight.numel(), low.first.weight.numel()
        assert left + right <= 0.5 * dense.weight.numel() and dense.groups == 1
    before = answer(made.model)
    artifact.save(made, tmp_path / "a")
    loaded, _, _ = artifact.load(tmp_path / "a")
    assert torch.equal(answer(loaded), before)
    whole_ones = name in ("resnet", "resnet_bottleneck", "swin", "dinov2")
    assert any("convolutions stay dense" in note for note in made.notes) != whole_ones


@pytest.mark.parametrize("fields", [{"weighting": "fisher"}, {"allocation": "shared", "weighting": "whitened"}])
def test_gradients_weigh_convolutions_too(fields: dict[str, Any]) -> None:
    step = LowRank(parameters=0.6, calibration_examples=8, **fields)
    made = apply_step(bundle(FAMILIES["resnet"]()), step)
    assert answer(made.model).isfinite().all()
    assert sum("decomposition" in entry for entry in made.layers.values()) > 3


STEM = "resnet.embedder.embedder.convolution"


@pytest.mark.parametrize(
    ("fields", "rank"),
    [
        ({}, 3),  # the default exclusion of embeddings is of tokens
        ({"exclude": ("*classifier*", "*embed*")}, None),
        ({"exclude": (*HEADS, "*embed*")}, None),
        ({"overrides": {"*embed*": {"rank": 2}}}, 2),
    ],
)
def test_a_stem_is_chosen_unless_the_users_own_list_leaves_it_out(fields: dict[str, Any], rank: int | None) -> None:
    model = FAMILIES["resnet"]()
    named = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    made = apply_step(bundle(model), LowRank(rank=3, **fields))
    assert {name for name in made.layers if name} == (named if rank else named - {STEM})
    assert made.layers.get(STEM, {}).get("rank") == rank
    weights = Quantize(bits=8, format="int8_weight", **{key: fields[key] for key in fields if key == "exclude"})
    assert set(convolutions(FAMILIES["resnet"](), weights)) == (named if rank else named - {STEM})


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
def test_the_hidden_width_is_cut_through_a_thin_patch_embedding(decomposition: Any, tmp_path: Path) -> None:
    thin = apply_step(trainable(MODELS["vit"]()), LowRank(parameters=0.5, decomposition=decomposition))
    assert thin.layers["vit.embeddings.patch_embeddings.projection"]["decomposition"] == decomposition
    made = apply_step(thin, Prune(structure="hidden", fraction=0.4))
    width = made.model.config.hidden_size
    assert made.model.vit.embeddings.patch_embeddings.projection.second.out_channels == width < 32
    before = logits(made.model)
    artifact.save(made, tmp_path / "a")
    assert torch.equal(logits(artifact.load(tmp_path / "a")[0]), before)


def test_a_cut_model_is_factorized_and_reloads(tmp_path: Path) -> None:
    cut = apply_step(bundle(FAMILIES["mobilenet_v2"]()), Prune(structure="channels", fraction=0.3))
    made = apply_step(cut, LowRank(parameters=0.6))
    before = answer(made.model)
    artifact.save(made, tmp_path / "a")
    assert torch.equal(answer(artifact.load(tmp_path / "a")[0]), before)


def test_whitened_low_rank_of_a_trained_network_keeps_most_of_its_accuracy() -> None:
    model = copy.deepcopy(digits_resnet())
    before = accuracy(model)
    step = LowRank(parameters=0.85, weighting="whitened", calibration_examples=128)
    assert accuracy(apply_step(bundle(model, training_digits), step).model) > before - 0.1


def test_depthwise_convolutions_alone_are_refused() -> None:
    with pytest.raises(InputError, match="no linear layer matches"):
        apply_step(bundle(FAMILIES["mobilenet_v1"]()), LowRank(rank=4, include=("*layer.0.convolution",)))


class Padding(nn.Conv2d):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.pad(inputs, (1, 1, 1, 1)))


def test_a_note_for_each_reason_states_which_convolutions_stay_dense_by_it() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(16, 32, 3)
            self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
            self.grouped = nn.Conv2d(32, 32, 3, groups=4)
            self.mirrored = nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect")
            self.uneven = nn.Conv2d(32, 32, 2, padding="same")
            self.padding = Padding(32, 32, 3)
            self.narrow = nn.Conv2d(32, 4, 1)

    prefix = "lowrank: {} convolutions stay dense, first {}: {}"
    for fields, small in (({"rank": 6}, "rank 6 saves nothing"), ({"energy": 0.2}, None)):
        made = apply_step(bundle(Mixed().eval()), LowRank(**fields))
        expected = {
            prefix.format(2, "depthwise", "grouped or depthwise"),
            prefix.format(1, "mirrored", "padded by padding_mode reflect, not with zeros"),
            prefix.format(1, "uneven", "padded more on one side than on the other"),
            prefix.format(1, "padding", "Padding computes something else than a plain convolution"),
        }
        expected |= {prefix.format(1, "narrow", small)} if small else set()
        assert {note for note in made.notes if "convolutions stay dense" in note} == expected
        assert set(made.layers) == ({"wide"} if small else {"wide", "narrow"})


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_the_shape_of_the_matrix_is_known_without_the_weight(kind: Any, decomposition: Any) -> None:
    dense = kind(6, 10, (5, 3, 2)[: {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}[kind]])
    assert matrix_shape(dense, decomposition) == tuple(as_matrix(dense, decomposition).shape)


def test_spatial_and_a_weighting_by_inputs_are_refused_together() -> None:
    with pytest.raises(ValueError, match="decomposition spatial minimises the error of the weights"):
        LowRank(decomposition="spatial", weighting="whitened")
