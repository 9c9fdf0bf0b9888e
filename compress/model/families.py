"""Module names of layers, attention and feed-forward parts in each supported architecture.

The table is written by hand: names differ per family, and a wrong guess cuts the wrong matrix. Paths are relative to
the base model (`layers`) or to one layer (the rest), as transformers 5 names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


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
    ffn_width: str | None
    """Config field: feed-forward width; None if it is also the width of a part that is no layer."""
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
    stream: str | None = None
    """The layer that widens embeddings to the residual stream, relative to the base model; a model may lack it."""
    positions: tuple[str, ...] = ()
    """Projections of positions, whose outputs are split into the same heads; a model may lack them."""
    gated: bool = False
    """Whether the one matrix of `ffn_in` has the rows of the gate and, below them, those of the projection."""
    assumes: Mapping[str, Any] = field(default_factory=dict)
    """Config fields and the values for which these names hold."""
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
_CLIP = replace(_OPT, layers="encoder.layers", ffn_in=("mlp.fc1",), ffn_out="mlp.fc2", ffn_width="intermediate_size")
INTERLEAVED = "query, key and value are one matrix, interleaved head by head"
FUSED = "query, key and value are one matrix with parts of different widths"
RELATIONS = ("distill with relation_weight", "distill with attention_weight")
BIASED = "all layers share one position bias per head, so no layer can lose a head alone"
REPEATED = "all layers are one set of weights, run num_hidden_layers times: set that field in config.json instead"
POSITIONS = "its projections read embeddings of positions too, which are no part of the residual stream"
TWO_SIDES = "encoder and decoder share one embedding, and only the encoder is cut"
BARE = "its projections are bare parameters, not linear layers"
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
    refused=dict.fromkeys(("prune heads", "prune hidden", *RELATIONS), INTERLEAVED),
)
_PHI3 = replace(
    _LLAMA,
    ffn_in=("mlp.gate_up_proj",),
    query="self_attn.qkv_proj",
    key="self_attn.qkv_proj",
    value="self_attn.qkv_proj",
    gated=True,
    refused=dict.fromkeys(("prune heads", "prune hidden", *RELATIONS), FUSED),
)
_EXPERTS = replace(_LLAMA, refused=dict.fromkeys(("prune feed_forward", "prune heads", "prune hidden"), EXPERTS))
_ALBERT = replace(
    _BERT,
    layers="encoder.albert_layer_groups",
    ffn_in=("albert_layers.0.ffn",),
    ffn_out="albert_layers.0.ffn_output",
    attention="albert_layers.0.attention",
    query="albert_layers.0.attention.query",
    key="albert_layers.0.attention.key",
    value="albert_layers.0.attention.value",
    output="albert_layers.0.attention.dense",
    stream="encoder.embedding_hidden_mapping_in",
    assumes={"inner_group_num": 1},
    refused=dict.fromkeys(("prune layers", "distill"), REPEATED),
)
_DEBERTA_V2 = replace(
    _BERT,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    positions=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
    refused=dict.fromkeys(("prune hidden", *RELATIONS), POSITIONS),
)
_DEBERTA = replace(
    _BERT,
    query="attention.self.in_proj",
    key="attention.self.in_proj",
    value="attention.self.in_proj",
    refused=dict.fromkeys(("prune heads", "prune hidden", *RELATIONS), INTERLEAVED),
)
_MPNET = replace(
    _BERT,
    attention="attention.attn",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    output="attention.attn.o",
    refused={"prune heads": BIASED},
)
_MODERNBERT = replace(
    _LLAMA,
    ffn_in=("mlp.Wi",),
    ffn_out="mlp.Wo",
    attention="attn",
    query="attn.Wqkv",  # one layer three times, as in GPT-2
    key="attn.Wqkv",
    value="attn.Wqkv",
    output="attn.Wo",
    config_heads=(),
    hidden=None,
    gated=True,
)
_NOMIC_BERT = replace(_LLAMA, config_heads=(), hidden=None)
_XLNET = Architecture(
    layers="layer",
    depth="n_layer",
    ffn_in=("ff.layer_1",),
    ffn_out="ff.layer_2",
    ffn_width="d_inner",
    attention="rel_attn",
    query="rel_attn.q",
    key="rel_attn.k",
    value="rel_attn.v",
    output="rel_attn.o",
    head_size="d_head",
    head_count="n_head",
    refused=dict.fromkeys(("prune heads", "prune hidden", *RELATIONS), BARE),
)
_BART = replace(
    _OPT,
    layers="encoder.layers",
    depth="encoder_layers",
    ffn_width="encoder_ffn_dim",
    refused={"prune hidden": TWO_SIDES},
)
OF_SOUND = "it reads sound, not tokens; compare the logits of its frames alone"
CONVOLUTION = "a convolution of positions reads the residual stream in groups of channels"
_WAV2VEC2 = Architecture(
    layers="encoder.layers",
    depth="num_hidden_layers",
    ffn_in=("feed_forward.intermediate_dense",),
    ffn_out="feed_forward.output_dense",
    ffn_width="intermediate_size",
    attention="attention",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    output="attention.out_proj",
    head_size="head_dim",
    head_count="num_heads",
    refused={"prune hidden": CONVOLUTION, **dict.fromkeys(("distill with hidden_weight", *RELATIONS), OF_SOUND)},
)
ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "data2vec-text": _BERT,
    "electra": replace(_BERT, stream="embeddings_project"),
    "ernie": _BERT,
    "roformer": replace(_BERT, stream="embeddings_project"),
    "albert": _ALBERT,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA_V2,
    "mpnet": _MPNET,
    "modernbert": _MODERNBERT,
    "nomic_bert": _NOMIC_BERT,
    "eurobert": replace(_LLAMA, hidden=None),
    "xlnet": _XLNET,
    "bart": _BART,
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
    "clip_vision_model": _CLIP,
    "siglip_vision_model": replace(
        _CLIP,
        ffn_width=None,  # its pooling head is as wide
        refused={"prune hidden": "query, key and value of its pooling head are one matrix"},
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
    "wav2vec2": _WAV2VEC2,
    "hubert": _WAV2VEC2,
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
}
