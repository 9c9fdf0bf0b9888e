"""Language models under OpenVINO with a cache: whole texts and single tokens equal those of transformers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.measure.size import stored_bytes
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.bundle import Bundle
from compress.model.manifest import INTEGERS
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.runtimes import check, integers
from compress.model.runtimes.openvino import saved
from compress.model.runtimes.stateful import StatefulModel
from compress.model.runtimes.stateful_export import exported
from compress.spec.steps import Quantize
from tests.made_models import bundle, gpt2, llama, random_model

PROMPT = torch.randint(4, 60, (2, 20), generator=torch.Generator().manual_seed(3))
SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "gpt2": gpt2,
    "mistral": lambda: random_model(
        transformers.MistralForCausalLM, transformers.MistralConfig(**SIZES, sliding_window=6)
    ),
    "gemma3": lambda: random_model(
        transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=6)
    ),
}


def opened(model: Any) -> StatefulModel:
    """The model as a graph that computes in fp32, also on CPUs where OpenVINO prefers bf16."""
    graph = saved(exported(model), model.config, StatefulModel)
    exact = StatefulModel(graph.path, model.config, exact=True)
    exact.kept = [graph]  # its folder lasts as long as the object
    return exact


def language(model: Any) -> Bundle:
    return dataclasses.replace(bundle(model), task="causal-lm", train=None)


def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, **inputs).logits
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whole_texts_and_tokens_one_by_one_have_the_models_logits(name: str) -> None:
    model = ARCHITECTURES[name]()
    graph, expected = opened(model), logits(model, PROMPT)
    assert torch.allclose(logits(graph, PROMPT), expected, atol=1e-5)
    graph.reserve(20, rewinds=True)
    graph.prefill(PROMPT[:, :10])
    steps = torch.cat([graph.append(PROMPT[:, i : i + 1]) for i in range(10, 20)], dim=1)
    assert torch.allclose(steps, expected[:, 10:], atol=1e-5)
    graph.rewind()
    assert torch.allclose(graph.append(PROMPT[:, 10:11]), expected[:, 10:11], atol=1e-5)


def test_padding_on_either_side_changes_no_token() -> None:
    model = llama()
    graph, alone = opened(model), logits(model, PROMPT[:1, :12])[0]
    for kept in (slice(0, 12), slice(8, 20)):
        ids, mask = PROMPT.clone(), torch.ones_like(PROMPT)
        mask[0] = 0
        mask[0, kept], ids[0, kept] = 1, PROMPT[0, :12]
        assert torch.allclose(logits(graph, ids, attention_mask=mask)[0, kept], alone, atol=1e-5)


def test_it_generates_what_transformers_generates() -> None:
    model = llama()
    graph = opened(model)
    expected = model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=8, do_sample=False)
    found = graph.generate(PROMPT, max_new_tokens=8)
    assert torch.equal(found, expected)
    assert graph.cache_bytes == 2 * 2 * 2 * 4 * 4 * 4 * (found.shape[1] - 1)  # 2 texts, 2 layers, 4 heads of 4, fp32
    with pytest.raises(InputError, match="prompts differ in length"):
        graph.generate(PROMPT, attention_mask=torch.zeros_like(PROMPT))


GRIDS: dict[str, dict[str, Any]] = {
    "4": {"bits": 4, "group_size": 32},
    "8": {"bits": 8, "group_size": 32},
    "hqq 4, zeros between integers": {"bits": 4, "rounding": "hqq", "group_size": 32},
    "rows of 3": {"bits": 3, "symmetric": True, "group_size": "row"},
    "binary, zeros of a half": {"bits": 1, "format": "binary", "group_size": 32},
}


@pytest.mark.parametrize("name", GRIDS)
def test_grouped_layers_keep_their_very_integers(name: str) -> None:
    made = apply_step(language(llama()), Quantize(**GRIDS[name]))
    assert made.runtime == "openvino"  # what auto picks for a language model on a CPU
    graph = check.checked_with_cache(made)
    exact = StatefulModel(graph.path, made.model.config, exact=True)
    assert torch.allclose(logits(exact, PROMPT), logits(made.model, PROMPT), atol=1e-5)
    bits = 4 if int(GRIDS[name]["bits"]) <= 4 else 8
    grouped = sum(m.in_features * m.out_features for m in made.model.modules() if isinstance(m, GroupedLinear))
    others = 4 * sum(p.numel() for p in made.model.parameters())
    weights = graph.path.with_suffix(".bin").stat().st_size
    assert others + grouped * bits / 8 < weights < others + grouped * (bits / 8 + 9 / 16) + 5000  # scales, zeros


def test_the_integers_stand_beside_the_graph_that_was_made_of_them(tmp_path: Path) -> None:
    packed = apply_step(language(llama()), Quantize(bits=4, group_size=32, symmetric=True))
    expected = logits(packed.model, PROMPT)
    artifact.save(runtimes.finish(packed, packed.runtime), tmp_path / "a", {"runtime": "openvino"})
    graph, _, manifest = artifact.load(tmp_path / "a")
    assert isinstance(graph, StatefulModel) and manifest.extra["runtime"] == "openvino"
    model, _, inner = artifact.load(tmp_path / "a" / INTEGERS)
    assert torch.equal(logits(model, PROMPT), expected) and inner.extra["runtime"] == "eager"
    assert any(isinstance(module, GroupedLinear) for module in model.modules())
    assert stored_bytes(tmp_path / "a") == (tmp_path / "a" / "model.bin").stat().st_size


def test_scaled_columns_scale_the_inputs() -> None:
    made = apply_step(language(llama()), Quantize(bits=4, group_size=32))
    expected = logits(made.model, PROMPT)
    for module in made.model.modules():
        if isinstance(module, GroupedLinear):
            module.input_scale = torch.linspace(0.5, 2.0, module.in_features).half()
    changed = logits(made.model, PROMPT)
    assert not torch.allclose(changed, expected, atol=1e-2)
    graph = check.checked_with_cache(made)
    assert torch.allclose(logits(StatefulModel(graph.path, made.model.config, exact=True), PROMPT), changed, atol=1e-4)


def test_a_graph_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = apply_step(language(llama()), Quantize(bits=4, group_size=32))
    true = integers.unpacked
    monkeypatch.setattr(integers, "unpacked", lambda packed, bits: true(packed, bits).flip(1))
    with pytest.raises(InputError, match="the exported graph differs from the model"):
        check.checked_with_cache(made)


@pytest.mark.parametrize("bits", [8, 4])
def test_openvinos_own_rounding_leaves_other_layers_alone_and_the_artifact_opens_with_its_cache(
    bits: int, tmp_path: Path
) -> None:
    wanted = {"bits": bits, "group_size": 32, "backend": "openvino", "exclude": ["*lm_head*", "*v_proj*"]}
    made = runtimes.finish(apply_step(language(llama()), Quantize.model_validate(wanted)), "auto")
    artifact.save(made, tmp_path / "a")
    graph, _, manifest = artifact.load(tmp_path / "a")
    assert isinstance(graph, StatefulModel) and manifest.kind == "openvino"
    names = [item["name"] for item in manifest.extra["inputs"]]
    assert names == ["input_ids", "attention_mask", "position_ids", "beam_idx"]
    expected = logits(llama(), PROMPT)
    assert 0 < (logits(graph, PROMPT) - expected).abs().max() < 0.5 * expected.std()
    dense = [weight.shape for weight in graph.weights()]
    values, head, down = (16, 32), (64, 32), (32, 64)  # 4 heads of width 4; 64 tokens; the only one of two groups
    assert head in dense and dense.count(values) >= 2 and down not in dense
    assert bits == 4 or sorted(dense) == [values, values, head]


def test_what_has_no_keys_and_values_is_refused() -> None:
    config = transformers.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(InputError, match="use runtime eager"):
        exported(random_model(transformers.MambaForCausalLM, config))


def test_static_activations_need_a_graph_without_a_cache() -> None:
    with pytest.raises(InputError, match=r"format int8_static.* does not exist on cpu"):
        apply_step(language(llama()), Quantize(bits=8, format="int8_static"))


def test_a_tied_head_that_openvino_quantizes_stays_one_with_the_embedding() -> None:
    model = llama()
    assert model.config.tie_word_embeddings
    made = apply_step(language(model), Quantize(bits=8, backend="openvino", exclude=[]))
    assert any("lm_head and model.embed_tokens are tied and stay so" in note for note in made.notes), made.notes
    numbers = sum(p.numel() for p in model.parameters())
    assert numbers < (made.model.path.with_suffix(".bin")).stat().st_size < 1.3 * numbers  # all of them in 8 bits, once
