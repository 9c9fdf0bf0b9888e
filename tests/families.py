"""Tiny causal language models with random weights, one of each family that is compressed."""

from collections.abc import Callable
from typing import Any

import transformers

from tests.made_models import gpt2, llama, random_model

SIZES = {
    "vocab_size": 64, "max_position_embeddings": 66, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 64, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False}
EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False}


def family(name: str, **fields: Any) -> Any:
    """Return a model of the classes with this name, by the fields of its configuration."""
    config = getattr(transformers, f"{name}Config")(**fields)
    return random_model(getattr(transformers, f"{name}ForCausalLM"), config)


def opt() -> Any:
    """OPT: learned positions, fc1 and fc2."""
    fields = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    return family("OPT", **fields, ffn_dim=64, word_embed_proj_dim=32)


def gemma3() -> Any:
    """Gemma 3: three layers, of which one attends to everything and two to a window."""
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    fields = {**GROUPED, "num_hidden_layers": 3, "layer_types": kinds, "sliding_window": 8, "tie_word_embeddings": True}
    config = transformers.Gemma3TextConfig(**fields)
    return random_model(transformers.Gemma3ForCausalLM, config)


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "mistral": lambda: family("Mistral", **GROUPED),
    "qwen2": lambda: family("Qwen2", **{key: value for key, value in GROUPED.items() if key != "head_dim"}),
    "qwen3": lambda: family("Qwen3", **GROUPED),
    "gemma3": gemma3,
    "phi3": lambda: family("Phi3", **{key: value for key, value in GROUPED.items() if key != "head_dim"}),
    "gpt2": gpt2,
    "opt": opt,
    "gpt_neox": lambda: family("GPTNeoX", **SIZES),
    "mixtral": lambda: family("Mixtral", **GROUPED, num_local_experts=4, **EXPERTS),
    "qwen3_moe": lambda: family("Qwen3Moe", **GROUPED, num_experts=4, moe_intermediate_size=32, **EXPERTS),
}
