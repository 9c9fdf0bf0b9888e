"""How many tokens a model has positions for, read off its modules: configurations count them differently.

BERT, ALBERT, ELECTRA, GPT-2      one row a position                     limit = rows
RoBERTa, XLM-R, MPNet, ESM        rows up to padding_idx are unused      limit = rows - padding_idx - 1
BART, OPT                         the first `offset` rows are unused     limit = rows - offset
Nystromformer, YOSO               position_ids count from 2              limit = length of position_ids
Llama, GPT-J, ModernBERT          no table; the model was made for       limit = max_position_embeddings
DeBERTa, T5                       a table of distances, which saturate   none
XLNet, Bloom, Mamba               no table, and no number, -1 or 0       none
"""

from collections.abc import Iterator
from typing import Any

TABLES = ("position", "wpe", "pos_emb")
DISTANCES = ("rel_embeddings", "relative_attention_bias")
OTHER_TABLES = ("relative", "rel_", "x_position", "y_position", "h_position", "w_position", "entity")
"""Tables of distances, of places on a page, and of entities: none bounds the length of a text."""
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
    found = [value for name in FIELDS if isinstance(value := config.get(name), int) and value > 0]
    return min(found, default=None)


def tables(model: Any) -> Iterator[Any]:
    """Yield the embeddings that hold a row a position, whatever class they are of."""
    for name, module in model.named_modules():
        is_table = getattr(module, "weight", None) is not None and hasattr(module, "padding_idx")
        if is_table and any(part in name.rpartition(".")[2] for part in TABLES) and not _other(name):
            yield module


def _other(name: str) -> bool:
    return any(part in name for part in OTHER_TABLES)


def _usable(table: Any) -> int:
    """Return how many rows hold positions of real tokens."""
    rows = int(table.weight.shape[0])
    return rows - int(getattr(table, "offset", 0)) if table.padding_idx is None else rows - int(table.padding_idx) - 1
