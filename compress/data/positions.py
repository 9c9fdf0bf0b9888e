"""The number of positions of a model, from its modules: configurations count positions differently.

BERT, ALBERT, ELECTRA, GPT-2      one row per position                   limit = rows
RoBERTa, XLM-R, MPNet, ESM        rows up to padding_idx are unused      limit = rows - padding_idx - 1
BART, OPT                         the first `offset` rows are unused     limit = rows - offset
Nystromformer, YOSO               position_ids count from 2              limit = length of position_ids
Llama, GPT-J, ModernBERT          no table, a stated length              limit = max_position_embeddings
DeBERTa, T5                       a table of distances that saturate     none
XLNet, Bloom, Mamba               no table; length unset, -1 or 0        none
"""

from collections.abc import Iterator
from typing import Any

TABLES = ("position", "wpe", "pos_emb")
DISTANCES = ("rel_embeddings", "relative_attention_bias")
OTHER_TABLES = ("relative", "rel_", "x_position", "y_position", "h_position", "w_position", "entity")
"""Tables of distances, page coordinates and entities, which do not limit the length of a text."""
FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len")


def limit(model: Any) -> int | None:
    """Return the longest input in tokens that a model (or its empty skeleton) takes, or None without a limit."""
    rows = [_usable(table) for table in tables(model)]
    if rows:
        counted = [buffer.shape[-1] for name, buffer in model.named_buffers() if name.endswith("position_ids")]
        return min(rows + [length for length in counted if length > 1])
    if any(name.endswith(DISTANCES) for name, _ in model.named_modules()):
        return None
    return stated(model.config.to_dict())


def stated(config: dict[str, Any]) -> int | None:
    """Return the length that a configuration states, or None; -1, 0 and null mean without a limit."""
    lengths = [value for name in FIELDS if isinstance(value := config.get(name), int) and value > 0]
    return min(lengths, default=None)


def tables(model: Any) -> Iterator[Any]:
    """Yield the embeddings with one row per position, of any class."""
    for name, module in model.named_modules():
        is_table = getattr(module, "weight", None) is not None and hasattr(module, "padding_idx")
        if is_table and any(part in name.rpartition(".")[2] for part in TABLES) and not _is_other_table(name):
            yield module


def _is_other_table(name: str) -> bool:
    return any(part in name for part in OTHER_TABLES)


def _usable(table: Any) -> int:
    """Return the number of rows for positions of real tokens."""
    rows = int(table.weight.shape[0])
    return rows - int(getattr(table, "offset", 0)) if table.padding_idx is None else rows - int(table.padding_idx) - 1
