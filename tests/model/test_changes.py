"""Every step states the share of the parameters that it changed, counted here by hand, and notes when it left much."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import compress
from compress.analysis.price import Spent, recorded
from compress.analysis.price import transform as read_back
from compress.energy.meters import Absent
from compress.energy.spending import begin, end
from compress.methods import apply_step
from compress.model.bundle import Bundle
from compress.model.changes import Change, change, weights
from compress.model.runtimes.graph import GraphModel
from compress.records.result import Shares, StepCost
from compress.spec.steps import Cast, LowRank, Prune, Quantize
from tests import made_models
from tests.helpers import tokenizer
from tests.model.test_experts import moe
from tests.model.test_shared_modules import albert

INT4 = Quantize(bits=4, backend="torch", group_size=32)


def apply_and_compare(bundle: Bundle, step: Any) -> tuple[Bundle, Change]:
    """The bundle after a step, and what the step changed."""
    before = weights(bundle.model)
    after = apply_step(bundle, step)
    return after, change(step, before, bundle.layers, after.model, after.layers)


def change_and_notes(model: Any, step: Any) -> tuple[Change, list[str]]:
    """What a step changes of this model, and all its notes."""
    after, made = apply_and_compare(made_models.trainable(model), step)
    return made, [*after.notes, *made.notes]


def share(model: Any, counted: Callable[[str], bool]) -> float:
    """Of the numbers in all parameters, tied ones once: those in parameters with such a name."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    return sum(size for name, size in sizes.items() if counted(name)) / sum(sizes.values())


def matrices_of_layers(name: str) -> bool:
    """Weights of BERT's layers but for norms."""
    return ".layer." in name and name.endswith("weight") and "LayerNorm" not in name


STEPS: dict[str, tuple[Any, Callable[[str], bool]]] = {
    "int4": (INT4, matrices_of_layers),
    "int8": (Quantize(bits=8, backend="torchao"), matrices_of_layers),
    "nf4": (Quantize(bits=4, backend="bitsandbytes", group_size=64), matrices_of_layers),
    "low rank": (LowRank(rank=4), matrices_of_layers),
    "sparse": (Prune(structure="unstructured", fraction=0.5), matrices_of_layers),
    "heads": (
        Prune(structure="heads", fraction=0.5),
        lambda n: ".attention." in n and "LayerNorm" not in n and not n.endswith("output.dense.bias"),
    ),
    "layers": (
        Prune(structure="layers", fraction=0.5, importance="influence", include=("*.1",), calibration_examples=8),
        lambda n: ".layer.1." in n,
    ),
    "cast": (Cast(dtype="bf16"), lambda n: True),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_share_is_that_of_the_parameters_that_are_others_now(name: str) -> None:
    step, counted = STEPS[name]
    found = change_and_notes(made_models.bert(), step)[0].shares
    assert found is not None
    assert found.changed == pytest.approx(share(made_models.bert(), counted))
    assert found.changed + sum(found.left.values()) == pytest.approx(1)
    assert (found.missed < 0.7 and "embeddings" in found.left) or name == "cast"


@pytest.mark.parametrize("kind", ["albert", "llama", "gpt2", "vit"])
def test_parameters_left_by_design_are_not_noted(kind: str) -> None:
    model = albert() if kind == "albert" else made_models.MODELS[kind]()
    made, notes = change_and_notes(model, INT4)
    assert made.shares is not None and set(made.shares.left) <= {"embeddings", "head", "norms and biases"}
    assert not any("changed only" in note for note in notes)


def test_a_second_step_counts_what_the_first_one_packed() -> None:
    model = apply_and_compare(made_models.trainable(made_models.bert()), INT4)[0].model
    shares = change_and_notes(model, Cast(dtype="bf16"))[0].shares
    packed = share(made_models.bert(), matrices_of_layers)
    assert shares is not None and shares.left == {"linear layers": pytest.approx(packed)}
    assert shares.changed == pytest.approx(1 - packed)


class Graph(GraphModel):
    """An exported graph that nobody runs."""

    kind = "onnx"
    inputs = ()  # type: ignore[assignment]

    def run(self, feeds: Any) -> torch.Tensor:
        raise AssertionError("not run by these tests")

    def signature(self) -> Any:
        raise AssertionError("not described by these tests")

    def operator_seconds(self, batch: Any) -> dict[str, float]:
        raise AssertionError("not run by these tests")

    def weights(self) -> Iterator[Any]:
        raise AssertionError("not run by these tests")


@pytest.mark.parametrize("static", [False, True])
def test_in_a_graph_the_share_is_that_of_the_layers_recorded_and_of_convolutions_where_all_are_taken(
    static: bool,
) -> None:
    model, graph = made_models.vit(), Graph(Path("model.onnx"), None)
    step = Quantize(bits=8, format="int8_static" if static else "int8")
    name = "vit.layers.0.mlp.fc1"
    layers = {"": {"runtime": "onnxruntime"}, name: {"format": step.format}}
    if static:
        layers["vit.embeddings.patch_embeddings.projection"] = {"format": step.format}
    made = change(step, weights(model), {}, graph, layers)
    expected = share(model, lambda n: n == f"{name}.weight" or (static and "projection" in n and n.endswith("weight")))
    assert made.shares is not None and made.shares.changed == pytest.approx(expected)
    assert change(step, weights(graph), layers, graph, layers).shares is None


def test_of_int8_static_the_share_is_that_of_the_numbers_which_its_graph_stores_in_int8() -> None:
    import openvino

    model = made_models.bert(1)
    step = Quantize(bits=8, format="int8_static", calibration_examples=8)
    after, made = apply_and_compare(made_models.trainable(model), step)
    stored = sum(
        math.prod(constant.get_output_shape(0))
        for constant in openvino.Core().read_model(str(after.model.path)).get_ops()
        if constant.get_type_name() == "Constant" and constant.get_element_type() == openvino.Type.i8
    )
    total = sum(parameter.numel() for parameter in made_models.bert(1).parameters())
    assert made.shares is not None and made.shares.changed == pytest.approx(stored / total)
    assert made.shares.left.get("embeddings", 0) < 0.02  # what is left of that kind are its norms


class Fused(nn.Module):
    """A feed-forward part whose weights are bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Parameter(torch.randn(64, 32) * 0.1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.fused.T


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 64, batch_first=True)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.lstm(hidden)[0]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(32, 4, batch_first=True)
        self.widen = nn.Conv1d(32, 64, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.widen(self.attend(hidden, hidden, hidden)[0].mT).mT


@pytest.mark.parametrize(("part", "kinds"), [
    (Fused, {"Fused"}), (Recurrent, {"LSTM"}),
    (Attending, {"MultiheadAttention", "NonDynamicallyQuantizableLinear", "convolutions"}),
])  # fmt: skip
@pytest.mark.parametrize("step", [INT4, LowRank(rank=4), Prune(structure="unstructured", fraction=0.5)], ids=str)
def test_weights_that_are_no_linear_layers_are_named_with_their_share(part: Any, kinds: set[str], step: Any) -> None:
    model = made_models.bert()
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense = part()
        layer.attention.output.dense = nn.Identity()
    before = made_models.logits(model)
    factorized = ".widen." if isinstance(step, LowRank) else " "  # low rank takes convolutions too
    kinds = kinds - {"convolutions"} if isinstance(step, LowRank) else kinds
    inside = share(model, lambda n: ".intermediate.dense." in n and "bias" not in n and factorized not in n)
    made, notes = change_and_notes(model, step)
    assert made.shares is not None and kinds <= set(made.shares.left)
    assert sum(made.shares.left[kind] for kind in kinds) == pytest.approx(inside)
    assert made_models.logits(model).isfinite().all() and not torch.equal(made_models.logits(model), before)
    noted = [note for note in notes if "changed only" in note]
    assert bool(noted) == (made.shares.missed > 1 / 3)


def test_experts_and_convolutions_that_a_step_leaves_are_noted_with_what_takes_them() -> None:
    (note,) = (n for n in change_and_notes(moe(), LowRank(rank=4))[1] if "changed only" in n)
    inside = share(moe(), lambda n: ".experts." in n)
    assert f"MixtralExperts {100 * inside:.0f} %" in note
    assert "model.layers.0.mlp.experts.gate_up_proj" in note and "backend torch" in note


def test_a_recipe_applied_to_a_model_in_memory_prints_the_notes_on_its_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = Quantize(bits=4, backend="torch", group_size=32, include=("*.0.attention.self.query",))
    compress.apply(compress.Recipe(steps=(step,)), made_models.bert(), tokenizer())
    (note,) = (n for n in change_and_notes(made_models.bert(), step)[1] if "changed only" in n)
    assert f"  {note}\n" in capsys.readouterr().err


def test_patterns_that_leave_most_are_noted() -> None:
    step = INT4.model_copy(update={"include": ("*.0.attention.self.query",)})
    (note,) = (n for n in change_and_notes(made_models.bert(), step)[1] if "changed only" in n)
    assert "linear layers" in note


def test_a_step_that_changes_nothing_is_noted() -> None:
    model = made_models.bert().to(torch.bfloat16)
    made, notes = change_and_notes(model, Cast(dtype="bf16"))
    assert made.shares is not None and made.shares.changed == 0
    assert "cast: changed no parameter of the model" in notes


@pytest.mark.parametrize(("fraction", "said"), [
    (1.0, "100 %"), (0.99999, "99.99 %"), (0.997, "99.70 %"), (0.93, "93 %"), (0.021, "2.1 %"), (0.0004, "0.04 %"),
    (0.0, "0 %"),
])  # fmt: skip
def test_shares_are_said_in_two_digits(fraction: float, said: str) -> None:
    assert str(Shares(fraction)) == f"{said} of the parameters"


def test_shares_go_into_the_result_and_what_lacks_them_is_read() -> None:
    absent = Absent("none")
    span = end(begin(absent), absent, 1.0)
    shares = Shares(0.93, {"embeddings": 0.07})
    raw = recorded(Spent((span,)), [("quantize", 12, shares, span), ("prune", 3, None, span)])
    assert [step.shares for step in read_back(raw).steps] == [shares, None]
    for step in raw["steps"]:
        del step["shares"]
    assert [step.shares for step in read_back(raw).steps] == [None, None]
    assert StepCost("prune", 1.0, None, 3).shares is None
