"""SmoothQuant: the paper's factors by hand, the same function before rounding, less error where features stand out."""

import copy

import pytest
import torch
from torch import nn

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.capture import Inputs
from compress.methods.quantize.smoothing import factors, smoothed
from compress.model.layers import Smoothed
from compress.spec.steps import Quantize
from tests.made_models import MODELS, bundle, inputs, logits, trainable


def captured_inputs(rows: torch.Tensor) -> Inputs:
    found = Inputs.none_yet(rows.shape[1])
    for part in rows.split(7):
        found.add(part)
    return found


def test_largest_inputs_are_those_of_all_batches() -> None:
    rows = torch.randn(40, 6)
    assert torch.equal(captured_inputs(rows).largest, rows.abs().amax(0).double())


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.8, 1.0])
def test_factors_are_those_of_the_paper(strength: float) -> None:
    weight, rows = torch.randn(5, 6), torch.randn(30, 6)
    found = factors(weight, captured_inputs(rows).largest, strength)
    for j in range(6):
        by_hand = float(rows[:, j].abs().max()) ** strength / float(weight[:, j].abs().max()) ** (1 - strength)
        assert float(found[j]) == pytest.approx(by_hand, rel=1e-5)


def test_a_smoothed_layer_computes_the_same_within_1e_5_also_where_a_feature_never_fires() -> None:
    rows = torch.randn(30, 16)
    rows[:, 3] = 0
    linear = nn.Linear(16, 8)
    made = smoothed(linear, captured_inputs(rows), 0.5)
    assert isinstance(made, Smoothed)
    torch.testing.assert_close(made(rows), linear(rows), atol=1e-5, rtol=1e-5)
    assert smoothed(linear, None, 0.5) is linear


def test_outliers_of_inputs_cost_less_with_it() -> None:
    torch.manual_seed(0)
    rows, linear = torch.randn(200, 32), nn.Linear(32, 16)
    rows[:, 5] *= 60

    def rounded(values: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        return (values / (size / 127)).round() * (size / 127)

    def error(layer: nn.Linear) -> float:
        given = rows * layer.smooth if isinstance(layer, Smoothed) else rows
        weight = rounded(layer.weight, layer.weight.abs().amax())
        answer = rounded(given, given.abs().amax()) @ weight.T + layer.bias
        return float((answer - linear(rows)).detach().square().mean())

    assert error(smoothed(linear, captured_inputs(rows), 0.5)) < 0.2 * error(linear)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "vit"])
def test_every_architecture_takes_it_and_answers_nearly_the_same(name: str) -> None:
    dense = MODELS[name]()
    before = logits(dense)
    step = Quantize(bits=8, backend="torchao", scaling="smoothquant", calibration_examples=8)
    made = apply_step(trainable(copy.deepcopy(dense)), step)
    entry = next(entry for name, entry in made.layers.items() if name)
    assert (entry["scaling"], entry["smoothing"]) == ("smoothquant", 0.5)
    assert any(isinstance(module, Smoothed) for module in made.model.modules())
    with torch.no_grad():
        after = made.model(**inputs(dense)).logits
    assert (after - before).abs().max() < 0.05 * before.abs().max()


def test_smoothquant_is_refused_for_other_formats_than_int8() -> None:
    for wrong in ({"bits": 4}, {"format": "llm_int8"}, {"format": "int8_static"}):
        with pytest.raises(ValueError, match="smoothquant needs format int8"):
            Quantize(scaling="smoothquant", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smoothing needs scaling smoothquant"):
        Quantize(smoothing=0.7)
    with pytest.raises(InputError, match="does not exist on cpu"):
        apply_step(bundle(MODELS["bert"](), runtime="openvino"), Quantize(scaling="smoothquant"))
