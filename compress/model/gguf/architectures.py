"""Table of the architectures that GGUF has and this package checks: names of tensors, and their metadata.

    transformers                                  GGUF
    model.layers.3.self_attn.q_proj.weight        blk.3.attn_q.weight

llama.cpp rotates neighbouring pairs of a Llama head's outputs, transformers pairs that are half a head apart:

    transformers   0 1 2 3 | 4 5 6 7        llama.cpp   0 4 1 5 2 6 3 7         rows of each head, reordered

Gemma's norms multiply by 1 + weight, and GGUF stores the sum.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from compress.base.errors import InputError

LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LINEAR = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
}
PLAIN_NORMS = {"post_attention_layernorm": "ffn_norm"}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
GEMMA_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
NO_SCALING = ("default", None)
LOCAL_THETA = 10_000.0
"""Base of the rotation of Gemma 3's sliding attention, which its readers assume."""
FULL_EVERY = 6
"""Every sixth layer of Gemma 3 has full attention, which its readers assume."""


@dataclass(frozen=True)
class Architecture:
    """How GGUF stores one architecture of transformers."""

    name: str
    """Name of the architecture in GGUF."""
    inside: Mapping[str, str]
    """Module within a layer -> its name in GGUF."""
    interleaved: bool = False
    """Whether rows of query and key are reordered, for llama.cpp's rotation."""
    norm_offset: float = 0.0
    must: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the configuration without a place in GGUF or in its readers, and the only value that they hold."""
    head_dim: int | None = None
    """Width of a head that transformers assumes when it reads the file; None: hidden_size / heads, or as stated."""

    def tensor(self, name: str) -> str:
        """Return the name of a parameter in GGUF. Raises InputError for one that the architecture lacks."""
        module, _, kind = name.rpartition(".")
        within = LAYER.fullmatch(module)
        found = OUTSIDE.get(module) if within is None else self.inside.get(within[2])
        if found is None:
            raise InputError(f"gguf: {name} has no place in the architecture {self.name} of GGUF")
        return f"{found}.{kind}" if within is None else f"blk.{within[1]}.{found}.{kind}"


_LLAMA = Architecture(
    "llama", {**LINEAR, **PLAIN_NORMS}, True, must={"attention_bias": False, "mlp_bias": False, "sliding_window": None}
)
ARCHITECTURES: dict[str, Architecture] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Architecture("qwen2", {**LINEAR, **PLAIN_NORMS}, must={"use_sliding_window": False}),
    "qwen3": Architecture(
        "qwen3",
        {**LINEAR, **PLAIN_NORMS, **HEAD_NORMS},
        must={"use_sliding_window": False, "attention_bias": False},
        head_dim=128,
    ),
    "gemma3_text": Architecture(
        "gemma3",
        {**LINEAR, **GEMMA_NORMS, **HEAD_NORMS},
        norm_offset=1.0,
        must={
            "attention_bias": False,
            "final_logit_softcapping": None,
            "attn_logit_softcapping": None,
            "query_pre_attn_scalar": 256,
        },
        head_dim=256,
    ),
}
"""`model_type` of transformers -> its architecture in GGUF."""
ACTIVATIONS = {"gemma3": ("gelu_pytorch_tanh",)}
"""Activation functions by architecture; silu elsewhere."""


def architecture_of(config: Any) -> Architecture:
    """Return the architecture of a model. Raises InputError for one that this table or GGUF's readers lack."""
    kind = getattr(config, "model_type", "")
    if kind not in ARCHITECTURES:
        raise InputError(f"gguf: architecture {kind or '(unnamed)'}; expected one of {', '.join(ARCHITECTURES)}")
    found = ARCHITECTURES[kind]
    problems = [
        f"gguf: {kind} with {name} {getattr(config, name)}; expected {value}"
        for name, value in found.must.items()
        if getattr(config, name, value) != value
    ]
    for place, rope in _ropes(config):
        if place == " in sliding_attention" and rope.get("rope_theta", LOCAL_THETA) != LOCAL_THETA:
            problems.append(f"gguf: {kind} with rope_theta {rope['rope_theta']}{place}; expected {LOCAL_THETA}")
        if rope.get("rope_type") not in NO_SCALING:
            problems.append(f"gguf: {kind} with rope_type {rope['rope_type']}{place}; expected default")
    kinds = getattr(config, "layer_types", None) if found.name == "gemma3" else None
    if kinds is not None and any((k == "full_attention") != ((i + 1) % FULL_EVERY == 0) for i, k in enumerate(kinds)):
        problems.append(f"gguf: {kind} with other layers of full attention than every {FULL_EVERY}th")
    activation = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    allowed = ACTIVATIONS.get(found.name, ("silu",))
    if activation not in allowed:
        problems.append(f"gguf: {kind} with activation {activation}; expected {' or '.join(allowed)}")
    width = head_dim(config)
    stated = found.name == "llama"  # in its files; of others, transformers does not read the width or its scale
    expected = width if stated else found.head_dim or config.hidden_size // config.num_attention_heads
    if width != expected:
        problems.append(f"gguf: {kind} with heads of {width}; transformers reads such files with heads of {expected}")
    if problems:
        raise InputError(problems)
    return found


def _ropes(config: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the rotation's parameters; Gemma 3 has some for each kind of attention."""
    rope = getattr(config, "rope_parameters", None) or {}
    if any(isinstance(value, Mapping) for value in rope.values()):
        return [(f" in {name}", value or {}) for name, value in rope.items()]
    return [("", rope)]


def head_dim(config: Any) -> int:
    """Return the width of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def metadata(config: Any, architecture: Architecture) -> dict[str, int | float | bool | str]:
    """Return the values that describe the model, by GGUF's names without the architecture's prefix."""
    ropes = dict(_ropes(config))
    whole = ropes.get("") or ropes.get(" in full_attention") or {}
    width = head_dim(config)
    values: dict[str, int | float | bool | str] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width,
        "rope.freq_base": float(whole.get("rope_theta", 10000.0)),
        "vocab_size": config.vocab_size,
    }
    if architecture.name == "gemma3":
        values["attention.sliding_window"] = config.sliding_window
    return values


def interleave(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return rows [heads * width, ..] with the two halves of each head interleaved, as llama.cpp rotates them."""
    rows = tensor.shape[0]
    halves = tensor.view(heads, 2, rows // heads // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def heads_of(config: Any, name: str) -> int | None:
    """Return the number of heads of a query or key projection; None for other parameters."""
    if ".q_proj." in name:
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if ".k_proj." in name else None
