"""Module names of encoder-decoders that write texts: both stacks of layers, as transformers 5 names them.

A model of the same family that only classifies has the names in `compress.model.families`, if it has any there.
"""

from dataclasses import replace
from typing import Any

from compress.data.tasks.sequences import ARCHITECTURES as CLASSES
from compress.model.families import ARCHITECTURES, Architecture

BOTH = "its encoder and its decoder would have to be cut apart; use feed_forward, or distill with config"
REFUSED = (
    "prune heads", "prune hidden", "prune layers", "distill", "distill with hidden_weight",
    "distill with attention_weight", "distill with relation_weight",
)  # fmt: skip
_BART = replace(
    ARCHITECTURES["bart"],
    refused=dict.fromkeys(REFUSED, BOTH),
    decoder=replace(ARCHITECTURES["opt"], depth="decoder_layers", ffn_width="decoder_ffn_dim"),
)


def _t5(projections: tuple[str, ...]) -> Architecture:
    """Return the names of a T5 whose feed-forward parts have these projections."""
    attention = "layer.0.SelfAttention"
    encoder = Architecture(
        layers="encoder.block",
        depth="num_layers",
        ffn_in=tuple(f"layer.1.DenseReluDense.{name}" for name in projections),
        ffn_out="layer.1.DenseReluDense.wo",
        ffn_width="d_ff",
        attention=attention,
        query=f"{attention}.q",
        key=f"{attention}.k",
        value=f"{attention}.v",
        output=f"{attention}.o",
        head_size="key_value_proj_dim",
        head_count="n_heads",
        head_features="inner_dim",
        refused=dict.fromkeys(REFUSED, BOTH),
    )
    decoder = replace(
        encoder,
        layers="decoder.block",
        depth="num_decoder_layers",
        ffn_in=tuple(f"layer.2.DenseReluDense.{name}" for name in projections),
        ffn_out="layer.2.DenseReluDense.wo",
    )
    return replace(encoder, decoder=decoder)


_T5, _GATED = _t5(("wi",)), _t5(("wi_0", "wi_1"))
WRITERS: dict[str, Architecture] = {
    "bart": _BART,
    "marian": _BART,
    "pegasus": _BART,
    "whisper": _BART,
    "t5": _T5,
    "mt5": _T5,
}


def two_stacks(model: Any) -> Architecture | None:
    """Return the names in both stacks of a model that writes texts; None for another model or family."""
    config = getattr(model, "config", None)
    names = WRITERS.get(getattr(config, "model_type", ""))
    if names is None or not type(model).__name__.endswith(CLASSES):
        return None
    # version 1.1 and Flan have a gate
    return _GATED if names is _T5 and getattr(config, "is_gated_act", False) else names
