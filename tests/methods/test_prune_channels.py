"""Channels of convolutions: the cut equals the whole model with these channels masked, in every family, and reloads."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import compress
from compress.base.config import InputError
from compress.harness.preflight import step_problems, traceable
from compress.methods import apply_step
from compress.methods.rehearsal import rehearse
from compress.model import artifact
from compress.model.skeleton import empty_copy
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast, Prune
from tests.convolutions import FAMILIES, answer, bundle

NORMED = ("resnet", "resnet_bottleneck", "mobilenet_v1", "mobilenet_v2", "regnet", "efficientnet")
"""Families whose norms treat every channel alone: a masked channel changes no other."""
CUT = (*NORMED, "convnext", "convnextv2")


def step(**fields: Any) -> Prune:
    return Prune(structure="channels", **{"fraction": 0.4, **fields})


def parameters_of_convolutions(model: nn.Module) -> int:
    return sum(p.numel() for m in model.modules() if isinstance(m, nn.Conv2d) for p in m.parameters())


def distinct(model: Any) -> Any:
    """The model with norms of random scales, by which a channel is recognised after the cut."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 0.5 + torch.rand(module.weight.shape, generator=generator)
    return model


def masked(whole: Any, narrow: Any) -> Any:
    """The whole model with zeros for every channel that the narrow one lacks.

    A channel of a norm is recognised by its scale, one of a convolution without a norm (a gate) by its bias.
    """
    masked = copy.deepcopy(whole)
    kept = dict(narrow.named_modules())
    for name, module in masked.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            missing = ~torch.isin(module.weight, kept[name].weight)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            missing = ~torch.isin(module.bias, kept[name].bias)
        else:
            continue
        assert int(missing.sum()) == len(missing) - len(next(kept[name].parameters()))
        module.weight.data[missing], module.bias.data[missing] = 0, 0
    return masked


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("name", NORMED)
def test_a_cut_model_answers_like_the_whole_one_with_the_missing_channels_masked(name: str, importance: Any) -> None:
    model = distinct(FAMILIES[name]())
    whole = copy.deepcopy(model)
    apply_step(bundle(model), step(importance=importance, calibration_examples=8))
    assert parameters_of_convolutions(model) < 0.61 * parameters_of_convolutions(whole)
    expected = answer(masked(whole, model))
    torch.testing.assert_close(answer(model), expected, rtol=1e-4, atol=1e-5)
    assert (expected - answer(whole)).abs().max() > 1e-3 * expected.std()


@pytest.mark.parametrize("name", CUT)
def test_groups_are_restored_when_a_cut_model_is_loaded(name: str, tmp_path: Path) -> None:
    made = apply_step(bundle(FAMILIES[name]()), step())
    before = answer(made.model)
    artifact.save(made, tmp_path / "a")
    loaded, _, manifest = artifact.load(tmp_path / "a")
    assert torch.equal(answer(loaded), before)
    convolutions = {key: module for key, module in loaded.named_modules() if isinstance(module, nn.Conv2d)}
    for key, module in convolutions.items():
        other = made.model.get_submodule(key)
        assert (module.groups, module.in_channels, module.out_channels) == (
            other.groups, other.in_channels, other.out_channels
        )  # fmt: skip
        assert module.weight.shape[1] * module.groups == module.in_channels
    depthwise = [key for key, entry in manifest.layers.items() if "groups" in entry.get("attributes", {})]
    assert bool(depthwise) == (name not in ("resnet", "resnet_bottleneck", "regnet"))
    with pytest.raises(OSError, match="no file named"):
        type(made.model).from_pretrained(tmp_path / "a")


@pytest.mark.parametrize("name", CUT)
def test_an_empty_model_is_cut_to_the_same_shapes_before_weights_are_loaded(name: str) -> None:
    model = FAMILIES[name]()
    problems, after = rehearse(bundle(empty_copy(model)), (step(), Cast()), lambda _: None)
    apply_step(bundle(model), step())
    assert not problems and after is not None
    assert [p.shape for p in after.model.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("name", ["swin", "dinov2"])
def test_a_transformer_with_a_patch_embedding_is_refused_before_weights_are_loaded(name: str) -> None:
    skeleton = traceable(empty_copy(FAMILIES[name]()))
    (problem,) = step_problems(Recipe(name="one", steps=(step(),)), bundle(skeleton))
    assert f"prune channels: {name} has no convolutions to narrow" in problem and "quantize or lowrank" in problem


class Reshaping(nn.Module):
    """A classifier that depends on the width of its convolution in a way that no graph shows."""

    main_input_name = "pixel_values"

    def __init__(self) -> None:
        super().__init__()
        from transformers import ResNetConfig

        self.config = ResNetConfig(model_type="reshaping")
        self.first = nn.Conv2d(3, 16, 3)
        self.second = nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 5)

    def forward(self, pixel_values: torch.Tensor) -> Any:
        from transformers.utils import ModelOutput

        pooled = self.second(self.first(pixel_values)).mean((2, 3))
        return ModelOutput(logits=self.head(pooled) + pooled.view(-1, 4, 4).sum((1, 2))[:, None])


def test_a_model_that_no_longer_runs_is_refused() -> None:
    with pytest.raises(InputError, match=r"prune channels: reshaping cannot be narrowed \(.*use quantize"):
        apply_step(bundle(Reshaping().eval()), step(fraction=0.3))


class Failing(Reshaping):
    """A classifier whose every pass raises this error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, pixel_values: torch.Tensor) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        InputError("pixel_values: got 3 channels; expected 1"),
    ],
)
def test_want_of_memory_and_bad_input_keep_their_own_error(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        apply_step(bundle(Failing(error).eval()), step(fraction=0.3))
    assert caught.value is error


def test_a_cut_model_is_quantized_and_cast() -> None:
    recipe = compress.Recipe(steps=(step(), Cast()))
    made = bundle(FAMILIES["mobilenet_v2"]())
    for each in recipe.steps:
        made = apply_step(made, each)
    assert answer(made.model).isfinite().all() and next(made.model.parameters()).dtype == torch.bfloat16
