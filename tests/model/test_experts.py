"""Experts that transformers stacks in one parameter: rounded and pruned one by one, reloaded, or noted as left."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from compress.base.config import InputError
from compress.harness.preflight import step_problems
from compress.methods import apply_step
from compress.methods.prune.weights import mask
from compress.model import artifact
from compress.model.layers import stacked_experts
from compress.model.packing.grouped import Grid
from compress.spec.recipe import Recipe
from compress.spec.steps import Layers, LowRank, Prune, Quantize
from tests import made_models
from tests.harness.test_rehearsal import empty
from tests.made_models import SIZES

COMMON = {
    **SIZES, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
NARROW = {"num_experts": 4, "moe_intermediate_size": 64}
OWN: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {**NARROW, "shared_expert_intermediate_size": 32},
    "Qwen3Moe": {**NARROW, "head_dim": 8},
    "Olmoe": {"num_experts": 4},
    "GraniteMoe": {"num_local_experts": 4},
    "Phimoe": {"num_local_experts": 4},
    "GptOss": {"num_local_experts": 4, "head_dim": 8},
    "DeepseekV3": {
        "n_routed_experts": 4, "moe_intermediate_size": 64, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
        "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "num_key_value_heads": 4,
    },
}  # fmt: skip


def moe(kind: str = "Mixtral") -> Any:
    """A tiny model of this family with four experts a layer."""
    config = getattr(transformers, f"{kind}Config")(**{**COMMON, **OWN[kind]})
    return made_models.random_model(getattr(transformers, f"{kind}ForCausalLM"), config)


def save_and_load(bundle: Any, folder: Path) -> Any:
    artifact.save(bundle, folder)
    return artifact.load(folder)[0]


INT4 = Quantize(bits=4, backend="torch", group_size=32)


@pytest.mark.parametrize("kind", OWN)
def test_experts_become_the_nearest_numbers_one_by_one_and_are_reloaded(kind: str, tmp_path: Path) -> None:
    bundle = made_models.trainable(moe(kind))
    names = stacked_experts(bundle.model, Layers())
    assert names
    step = INT4.model_copy(update={"include": tuple(names)})
    after = apply_step(bundle, step)
    assert {name for name in after.layers if name} == set(names)

    expected, grid = moe(kind), Grid(4, 32)
    for stack in stacked_experts(expected, Layers()).values():
        for weight in stack.matrices:  # [out, in]
            weight.copy_(grid.nearest(weight.contiguous()))
    wanted = made_models.logits(expected)
    assert not torch.allclose(wanted, made_models.logits(moe(kind)), atol=1e-3)
    torch.testing.assert_close(made_models.logits(after.model), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made_models.logits(save_and_load(after, tmp_path / "a")), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 3])
def test_experts_take_the_bits_that_are_asked_for_and_store_no_more(bits: Any, tmp_path: Path) -> None:
    bundle = made_models.trainable(moe())
    after = apply_step(bundle, Quantize(bits=bits, backend="torch", format="auto" if bits == 3 else "int8_weight"))
    packed = after.model.get_submodule("model.layers.0.mlp.experts.down_proj").packed
    assert packed.numel() == 4 * 32 * 64 * bits // 8
    again = save_and_load(after, tmp_path / "a")
    assert torch.equal(made_models.logits(again), made_models.logits(after.model))


def test_experts_keep_the_type_of_a_later_cast() -> None:
    after = apply_step(made_models.trainable(moe()), INT4)
    assert made_models.logits(after.model.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["Mixtral", "GptOss"])
@pytest.mark.parametrize("importance", ["magnitude", "wanda"])
def test_each_expert_loses_its_smallest_weights(kind: str, importance: Any, tmp_path: Path) -> None:
    before = stacked_experts(moe(kind), Layers())
    step = Prune(structure="unstructured", fraction=0.5, importance=importance, calibration_examples=4)
    after = apply_step(made_models.trainable(moe(kind)), step)
    for name, stack in stacked_experts(after.model, Layers()).items():
        for weight, dense in zip(stack.matrices, before[name].matrices, strict=True):
            assert torch.equal(weight, dense * mask(dense, 0.5))
        assert after.layers[name] == {"sparsity": 0.5}
    assert any("experts are pruned by magnitude" in note for note in after.notes) == (importance == "wanda")
    assert torch.equal(made_models.logits(save_and_load(after, tmp_path / "a")), made_models.logits(after.model))


def test_rounding_that_needs_inputs_takes_the_nearest_for_experts_and_says_so() -> None:
    after = apply_step(made_models.trainable(moe()), INT4.model_copy(update={"rounding": "gptq"}))
    assert any("4 stacks of experts are rounded to nearest" in note for note in after.notes)


def test_experts_that_no_group_fits_stay_and_are_noted() -> None:
    after = apply_step(made_models.trainable(moe()), Quantize(bits=4, backend="torch", group_size=64))
    assert "model.layers.0.mlp.experts.gate_up_proj" not in after.layers  # 32 inputs
    assert "model.layers.0.mlp.experts.down_proj" in after.layers  # 64 inputs
    assert any("stay in floating point" in note for note in after.notes)


def test_patterns_that_choose_experts_only_are_accepted_where_a_step_takes_experts() -> None:
    skeleton = empty(transformers.MixtralForCausalLM(transformers.MixtralConfig(**COMMON, **OWN["Mixtral"])))
    pattern = ("*.experts.*",)

    def problems(step: Any) -> list[str]:
        return step_problems(Recipe(name="r", steps=(step,)), skeleton)

    assert not problems(INT4.model_copy(update={"include": pattern}))
    assert not problems(Prune(structure="unstructured", include=pattern))
    assert "no linear layer matches" in problems(LowRank(rank=2, include=pattern))[0]
    with pytest.raises(InputError, match="no linear layer matches"):
        apply_step(made_models.trainable(moe()), Quantize(bits=4, backend="quanto", include=pattern))


def test_a_router_with_a_forward_of_its_own_is_no_linear_layer_to_replace() -> None:
    class Router(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input).softmax(-1)

    model = made_models.bert()
    dense = model.bert.encoder.layer[0].output.dense
    router = Router(dense.in_features, dense.out_features)
    model.bert.encoder.layer[0].output.dense = router
    after = apply_step(made_models.bundle(model), Quantize(bits=4, backend="torch", group_size=32))
    assert after.model.bert.encoder.layer[0].output.dense is router
    assert "bert.encoder.layer.0.output.dense" not in after.layers
