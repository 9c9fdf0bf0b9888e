"""Tiny text classifiers with random weights, one of each family of encoders that is compressed."""

from collections.abc import Callable
from typing import Any

import transformers

from tests.families import SIZES
from tests.made_models import bert, distilbert, random_model, roberta

MARKS = {"cls_token_id": 2, "sep_token_id": 3}


def encoder(name: str, **fields: Any) -> Any:
    """Return a text classifier of the classes with this name, by the fields of its configuration."""
    config = getattr(transformers, f"{name}Config")(**fields)
    return random_model(getattr(transformers, f"{name}ForSequenceClassification"), config)


def deberta_v2(**fields: Any) -> Any:
    """DeBERTa v2 and v3: content and position attend to each other."""
    terms = ["c2p", "p2c"]
    return encoder("DebertaV2", **SIZES, relative_attention=True, position_buckets=8, pos_att_type=terms, **fields)


def modernbert() -> Any:
    """ModernBERT: one layer attends to everything, the other to a window."""
    return encoder("ModernBert", **SIZES, **MARKS, global_attn_every_n_layers=2, local_attention=16)


def bart() -> Any:
    """BART: an encoder, and a decoder whose last state is classified."""
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 64}.items()
    }
    return encoder(
        "Bart", vocab_size=64, d_model=32, max_position_embeddings=66, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        decoder_start_token_id=3, **sides,
    )  # fmt: skip


ENCODERS: dict[str, Callable[[], Any]] = {
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "camembert": lambda: encoder("Camembert", **SIZES),
    "data2vec-text": lambda: encoder("Data2VecText", **SIZES),
    "electra": lambda: encoder("Electra", **SIZES, embedding_size=16),
    "ernie": lambda: encoder("Ernie", **SIZES),
    "roformer": lambda: encoder("RoFormer", **SIZES),
    "albert": lambda: encoder("Albert", **SIZES, embedding_size=16),
    "deberta": lambda: encoder("Deberta", **SIZES, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    "deberta-v2": deberta_v2,
    "deberta-v3": lambda: deberta_v2(share_att_key=True),
    "mpnet": lambda: encoder("MPNet", **SIZES),
    "modernbert": modernbert,
    "nomic_bert": lambda: encoder("NomicBert", **SIZES),
    "eurobert": lambda: encoder("EuroBert", **SIZES, num_key_value_heads=2, mask_token_id=4),
    "xlnet": lambda: encoder(
        "XLNet", vocab_size=64, d_model=32, n_layer=2, n_head=4, d_inner=64, pad_token_id=0, bos_token_id=2,
        eos_token_id=3,
    ),
    "bart": bart,
}  # fmt: skip
