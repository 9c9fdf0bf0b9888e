"""A head that is tied to the input embedding, in few bits: one set of integers for both, everywhere."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from compress.base.config import InputError
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.changes import weights
from compress.model.packing.expanding import expand, grouped_layers
from compress.model.packing.tied import TiedHead
from compress.model.runtimes import check
from compress.model.runtimes.stateful import StatefulModel
from compress.model.sharing import tied_embeddings
from compress.spec.steps import Quantize
from tests.convolutions import FAMILIES
from tests.made_models import bundle, gpt2, random_model

WIDTH, VOCABULARY = 64, 96
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "tie_word_embeddings": True,
}  # fmt: skip
IDS = torch.randint(4, 90, (2, 9), generator=torch.Generator().manual_seed(1))
GRIDS: dict[str, dict[str, Any]] = {
    "8, symmetric": {"bits": 8, "symmetric": True, "group_size": 32},
    "4, zeros": {"bits": 4, "group_size": 32},
    "4, hqq": {"bits": 4, "rounding": "hqq", "group_size": 32},
    "3, rows": {"bits": 3, "symmetric": True, "group_size": "row"},
}


def llama() -> Any:
    return random_model(transformers.LlamaForCausalLM, transformers.LlamaConfig(**SIZES))


def language(model: Any) -> Bundle:
    return dataclasses.replace(bundle(model), task="causal-lm", train=None)


def quantized(model: Any, **fields: Any) -> Bundle:
    return apply_step(language(model), Quantize(exclude=("*embed*",), **fields))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("grid", GRIDS)
def test_head_and_embedding_have_the_same_integers(grid: str) -> None:
    before = llama()
    weight = before.lm_head.weight.detach().clone()
    made = quantized(before, **GRIDS[grid])
    head, embedding = made.model.lm_head, made.model.model.embed_tokens
    assert head is embedding and isinstance(head, TiedHead)
    dense = head.dense()
    assert torch.equal(embedding(IDS), functional.embedding(IDS, dense))  # rows of the same matrix
    hidden = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(head(hidden), hidden @ dense.T, atol=1e-6)
    assert 0 < float((dense - weight).abs().max()) < 0.2 * float(weight.abs().max())
    assert any("lm_head and model.embed_tokens are tied and stay so" in note for note in made.notes)


@pytest.mark.parametrize("grid", GRIDS)
def test_an_artifact_stores_them_once_and_loads_bit_by_bit(grid: str, tmp_path: Path) -> None:
    made = quantized(llama(), **GRIDS[grid])
    expected = logits(made.model)
    artifact.save(dataclasses.replace(made, runtime="eager"), tmp_path / "a")
    stored = load_file(tmp_path / "a" / "compress.safetensors")
    assert sorted(name for name in stored if "head" in name or "embed" in name) == [
        "lm_head.packed", "lm_head.scale", "lm_head.zero",
    ]  # fmt: skip
    back, _, _ = artifact.load(tmp_path / "a")
    assert torch.equal(logits(back), expected) and back.lm_head is back.model.embed_tokens


@pytest.mark.parametrize("grid", GRIDS)
def test_a_graph_reads_rows_and_products_from_one_constant(grid: str) -> None:
    made = quantized(llama(), **GRIDS[grid])
    graph = check.checked_with_cache(made)
    exact = StatefulModel(graph.path, made.model.config, exact=True)
    assert torch.allclose(logits(exact), logits(made.model), atol=1e-5)
    if grid == "8, symmetric":
        held = sum(m.in_features * m.out_features for m in grouped_layers(made.model).values())
        others = 4 * sum(p.numel() for p in made.model.parameters())
        once = others + held * (1 + 4 / 32)  # a byte each, and a scale in fp32 for groups of 32
        assert once <= graph.path.with_suffix(".bin").stat().st_size < once + VOCABULARY * WIDTH / 2


def test_expanding_makes_a_head_and_an_embedding_with_one_parameter() -> None:
    made = quantized(llama(), bits=8, symmetric=True, group_size=32)
    expected = logits(made.model)
    layers = grouped_layers(made.model)
    assert "lm_head" in layers and "model.embed_tokens" not in layers
    expand(made.model, layers)
    assert made.model.lm_head.weight is made.model.model.embed_tokens.weight
    assert torch.allclose(logits(made.model), expected, atol=1e-6)


def test_its_weights_are_counted_once_as_embeddings() -> None:
    before, made = llama(), quantized(llama(), bits=8, symmetric=True, group_size=32)
    assert sum(w.count for w in weights(made.model).values()) == sum(w.count for w in weights(before).values())
    assert weights(made.model)["model.embed_tokens.weight"].kind == "embeddings"


def test_gpt2_keeps_its_tie_too() -> None:
    made = quantized(gpt2(), bits=8, symmetric=True, group_size=32, include=("lm_head",))
    assert made.model.lm_head is made.model.transformer.wte


def test_an_embedding_that_scales_its_rows_is_refused() -> None:
    config = transformers.Gemma3TextConfig(**SIZES, head_dim=16)
    model = random_model(transformers.Gemma3ForCausalLM, config)
    with pytest.raises(InputError, match="lm_head: its weight is tied to the input embedding; exclude it"):
        quantized(model, bits=8, symmetric=True, group_size=32)


def test_only_another_modules_weight_ties_a_layer() -> None:
    """A convolution is neither a linear layer nor its own embedding; the head of this Llama is the embedding's."""
    model = llama()
    assert tied_embeddings(model, model.lm_head) == ["model.embed_tokens"]
    assert tied_embeddings(model, model.model.layers[0].mlp.up_proj) == []
    pictures = FAMILIES["resnet"]()
    convolutions = [module for module in pictures.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions
    assert not any(tied_embeddings(pictures, module) for module in convolutions)
