"""Module names of layers, attention and feed-forward parts in each supported architecture.

The table is written by hand: names differ per family, and a wrong guess cuts the wrong matrix. Paths are relative to
the base model (`layers`) or to one layer (the rest), as transformers 5 names them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from compress.base.config import InputError


@dataclass(frozen=True)
class Architecture:
    """Names within one family of transformers."""

    layers: str
    """The list of layers, relative to the base model."""
    depth: str
    """Config field: number of layers."""
    ffn_in: tuple[str, ...]
    """Projections from hidden to feed-forward width; two if one of them is a gate."""
    ffn_out: str
    """Projection back."""
    ffn_width: str
    """Config field: feed-forward width."""
    attention: str
    """The module that splits projections into heads."""
    query: str
    key: str
    value: str
    output: str
    head_size: str
    """Attribute of the attention module: features per head."""
    head_count: str | None
    """Attribute of the attention module: number of heads; None if it has none."""
    head_features: str | None = None
    """Attribute of the attention module: features of all heads."""
    config_heads: tuple[str, ...] = ()
    """Config fields for query heads, then key/value heads; empty if config derives head size from hidden size."""
    hidden: str | None = None
    """Config field of the hidden width, if config can store it independently of the heads (it needs a head_dim)."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Steps that do not apply to the family, such as `prune heads` -> the reason."""
    decoder: "Architecture | None" = None
    """Names in the decoder of an encoder-decoder, whose layers follow those of the encoder."""


_BERT = Architecture(
    layers="encoder.layer",
    depth="num_hidden_layers",
    ffn_in=("intermediate.dense",),
    ffn_out="output.dense",
    ffn_width="intermediate_size",
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    head_size="attention_head_size",
    head_count="num_attention_heads",
    head_features="all_head_size",
)
_LLAMA = Architecture(
    layers="layers",
    depth="num_hidden_layers",
    ffn_in=("mlp.gate_proj", "mlp.up_proj"),
    ffn_out="mlp.down_proj",
    ffn_width="intermediate_size",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    head_size="head_dim",
    head_count=None,
    config_heads=("num_attention_heads", "num_key_value_heads"),
    hidden="hidden_size",
)
_OPT = Architecture(
    layers="decoder.layers",
    depth="num_hidden_layers",
    ffn_in=("fc1",),
    ffn_out="fc2",
    ffn_width="ffn_dim",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.out_proj",
    head_size="head_dim",
    head_count="num_heads",
)
INTERLEAVED = "query, key and value are one matrix, interleaved head by head"
FUSED = "query, key and value are one matrix with parts of different widths"
GATED = "gate and projection are one matrix, of which both halves would have to be cut alike"
EXPERTS = "its feed-forward parts are stacked experts: use quantize, or prune with structure unstructured"
_NEOX = Architecture(
    layers="layers",
    depth="num_hidden_layers",
    ffn_in=("mlp.dense_h_to_4h",),
    ffn_out="mlp.dense_4h_to_h",
    ffn_width="intermediate_size",
    attention="attention",
    query="attention.query_key_value",
    key="attention.query_key_value",
    value="attention.query_key_value",
    output="attention.dense",
    head_size="head_size",
    head_count=None,
    refused={"prune heads": INTERLEAVED, "prune hidden": INTERLEAVED},
)
_PHI3 = replace(
    _LLAMA,
    ffn_in=("mlp.gate_up_proj",),
    query="self_attn.qkv_proj",
    key="self_attn.qkv_proj",
    value="self_attn.qkv_proj",
    refused={"prune heads": FUSED, "prune feed_forward": GATED, "prune hidden": FUSED},
)
TWO_STACKS = "its encoder and its decoder would have to be cut apart; use feed_forward, or distill with config"
_OF_ONE_STACK = (
    "prune heads", "prune hidden", "prune layers", "distill", "distill with hidden_weight",
    "distill with attention_weight", "distill with relation_weight",
)  # fmt: skip
_BART = replace(
    _OPT,
    layers="encoder.layers",
    depth="encoder_layers",
    ffn_width="encoder_ffn_dim",
    refused=dict.fromkeys(_OF_ONE_STACK, TWO_STACKS),
    decoder=replace(_OPT, depth="decoder_layers", ffn_width="decoder_ffn_dim"),
)
_T5_ATTENTION = "layer.0.SelfAttention"
_T5 = Architecture(
    layers="encoder.block",
    depth="num_layers",
    ffn_in=("layer.1.DenseReluDense.wi",),
    ffn_out="layer.1.DenseReluDense.wo",
    ffn_width="d_ff",
    attention=_T5_ATTENTION,
    query=f"{_T5_ATTENTION}.q",
    key=f"{_T5_ATTENTION}.k",
    value=f"{_T5_ATTENTION}.v",
    output=f"{_T5_ATTENTION}.o",
    head_size="key_value_proj_dim",
    head_count="n_heads",
    head_features="inner_dim",
    refused=dict.fromkeys(_OF_ONE_STACK, TWO_STACKS),
)
_T5 = replace(
    _T5,
    decoder=replace(
        _T5,
        layers="decoder.block",
        depth="num_decoder_layers",
        ffn_in=("layer.2.DenseReluDense.wi",),
        ffn_out="layer.2.DenseReluDense.wo",
    ),
)
GATE = " with a gate"
"""After the type of a T5 whose feed-forward parts have two projections, as those of version 1.1 and Flan."""


def _gated(plain: Architecture) -> Architecture:
    """Return the names of a T5 with a gate."""
    (name,) = plain.ffn_in
    decoder = None if plain.decoder is None else _gated(plain.decoder)
    return replace(plain, ffn_in=(f"{name}_0", f"{name}_1"), decoder=decoder)


_EXPERTS = replace(_LLAMA, refused=dict.fromkeys(("prune feed_forward", "prune heads", "prune hidden"), EXPERTS))
ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": Architecture(
        layers="transformer.layer",
        depth="n_layers",
        ffn_in=("ffn.lin1",),
        ffn_out="ffn.lin2",
        ffn_width="hidden_dim",
        attention="attention",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        head_size="attention_head_size",
        head_count="n_heads",
    ),
    "vit": Architecture(
        layers="layers",
        depth="num_hidden_layers",
        ffn_in=("mlp.fc1",),
        ffn_out="mlp.fc2",
        ffn_width="intermediate_size",
        attention="attention",
        query="attention.q_proj",
        key="attention.k_proj",
        value="attention.v_proj",
        output="attention.o_proj",
        head_size="head_dim",
        head_count="num_attention_heads",
        config_heads=("num_attention_heads",),
        hidden="hidden_size",
    ),
    "gpt2": Architecture(
        layers="h",
        depth="n_layer",
        ffn_in=("mlp.c_fc",),
        ffn_out="mlp.c_proj",
        ffn_width="n_inner",
        attention="attn",
        query="attn.c_attn",  # the same layer three times: its outputs are query, key and value, concatenated
        key="attn.c_attn",
        value="attn.c_attn",
        output="attn.c_proj",
        head_size="head_dim",
        head_count="num_heads",
        head_features="split_size",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi3": _PHI3,
    "opt": _OPT,
    "gpt_neox": _NEOX,
    "bart": _BART,
    "marian": _BART,
    "pegasus": _BART,
    "t5": _T5,
    "mt5": _T5,
    f"t5{GATE}": _gated(_T5),
    f"mt5{GATE}": _gated(_T5),
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
}


@dataclass(frozen=True)
class Layer:
    """One transformer layer: its name in the model and its modules."""

    name: str
    module: nn.Module
    architecture: Architecture = field(repr=False)

    def child(self, path: str) -> str:
        """Return the full name of a path within the layer."""
        return f"{self.name}.{path}"

    def get(self, path: str) -> nn.Module:
        """Return the module at a path within the layer."""
        return self.module.get_submodule(path)


def architecture_of(model: Any, step: str) -> Architecture:
    """Return the names of the model's family.

    Raises InputError for a family that is not in the table, and for a step that does not apply to it.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    kind = f"{kind}{GATE}" if f"{kind}{GATE}" in ARCHITECTURES and getattr(config, "is_gated_act", False) else kind
    if kind not in ARCHITECTURES:
        raise InputError(
            f"{step}: layers of model type {kind!r} are unknown; expected one of "
            f"{', '.join(name for name in ARCHITECTURES if not name.endswith(GATE))}"
        )
    names = ARCHITECTURES[kind]
    if (reason := names.refused.get(step)) is not None:
        raise InputError(f"{step}: does not apply to model type {kind!r}: {reason}")
    return names


def projections(model: Any, names: Collection[str], step: str) -> list[tuple[str, ...]]:
    """Return these layers in order; query, key and value of one attention are one group if all three are included.

    Raises InputError for an unknown architecture.
    """
    group_of = {}
    for layer in layers_of(model, step):
        group = tuple(layer.child(getattr(layer.architecture, part)) for part in ("query", "key", "value"))
        if len(set(group)) == len(group) and set(group) <= set(names):
            group_of.update(dict.fromkeys(group, group))
    return list(dict.fromkeys(group_of.get(name, (name,)) for name in names))


def layers_path(model: Any, architecture: Architecture) -> str:
    """Return the full name of the list of layers."""
    prefix = model.base_model_prefix
    return f"{prefix}.{architecture.layers}" if hasattr(model, prefix) else architecture.layers


def layers_of(model: Any, step: str) -> list[Layer]:
    """Return the model's transformer layers in order: of an encoder-decoder the encoder's, then the decoder's.

    Raises InputError for an unknown architecture, and for a model without layers.
    """
    whole = architecture_of(model, step)
    path = layers_path(model, whole)
    layers = []
    for architecture in (whole, *([whole.decoder] if whole.decoder else [])):
        own = layers_path(model, architecture)
        layers += [Layer(f"{own}.{i}", m, architecture) for i, m in enumerate(model.get_submodule(own))]
    if not layers:
        raise InputError(f"{step}: the model has no layers ({path} is empty); expected one or more")
    return layers


def separate_layers(model: Any, step: str) -> list[Layer]:
    """Return the model's transformer layers, to be cut one by one. Raises InputError if two of them share a weight."""
    owner: dict[int, str] = {}
    layers = layers_of(model, step)
    for layer in layers:
        for name, parameter in layer.module.named_parameters():
            first = owner.setdefault(id(parameter), layer.name)
            if first != layer.name:
                raise InputError(
                    f"{step}: {first} and {layer.name} share their {name}; structures are cut from layers with weights "
                    "of their own: use quantize, lowrank, or prune with structure unstructured"
                )
    return layers
