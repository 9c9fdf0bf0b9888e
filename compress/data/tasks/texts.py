"""Helpers for text tasks: tokenizer, text columns, and checks of model, tokenizer and lengths."""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data import positions
from compress.data.tasks.labels import require_column
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets

FEWEST_KNOWN = 0.9
"""Share of the embeddings that a model's own tokenizer uses at least; some are rounded up to a multiple of 128."""
MADE_UP = (
    "It is.",
    "Nothing in this story was as good as the end of it, and the end was not good at all.",
    "Who knows?",
)


def load_processor(location: str, **options: Any) -> Any:
    """Return the tokenizer stored with the model. Raises ValueError for an empty vocabulary."""
    from transformers import AutoTokenizer

    processor = AutoTokenizer.from_pretrained(location, **options)
    if set(processor.get_vocab()) <= set(processor.all_special_tokens):
        # without its files, transformers creates an empty tokenizer: every word would be unknown
        raise ValueError("it has no vocabulary: tokenizer.json or a similar file is missing")
    return processor


def text_problems(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model, tokenizer and lengths that concern all text tasks."""
    problems = length_problems(positions.limit(model), workload) + mapped_problems(model, workload)
    return problems + token_problems(model, processor, examples)


def length_problems(limit: int | None, workload: WorkloadView) -> list[str]:
    """Return an error for a max_length beyond the positions of a model, None for a model without a limit."""
    if limit is None or workload.max_length <= limit:
        return []
    return [f"reads at most {limit} tokens, but max_length is {workload.max_length}; set max_length to {limit}"]


def mapped_problems(model: Any, workload: WorkloadView) -> list[str]:
    """Return errors for points of a map that end beyond the positions of a model or of its empty skeleton."""
    longest = max((point.longest for point in workload.mapped_points), default=0)
    limit = positions.limit(model)
    if limit is None or longest <= limit:
        return []
    new = max(point.new_tokens or 0 for point in workload.mapped_points)
    most = f"{limit - new} ({new} generated tokens follow)" if new else str(limit)
    return [f"reads at most {limit} tokens; --length of the map: expected at most {most}"]


def stop_problems(model: Any, workload: WorkloadView) -> list[str]:
    """Return an error for operating points that end with an end token, if the model has none."""
    stops = any(point.stop for point in (workload.headline_point, *workload.further_points))
    if not stops or getattr(model.config.get_text_config(), "eos_token_id", None) is not None:
        return []
    return ["has no eos_token_id in config.json, so a point with stop would never end; set it, or drop stop"]


def token_problems(model: Any, processor: Any, examples: "datasets.Dataset") -> list[str]:
    """Return errors for tokens, including padding, that have no embedding in the model."""
    problems = []
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max((max(ids, default=0) for ids in examples["input_ids"]), default=0)
    pad = processor.pad_token_id
    if highest >= rows:
        problems.append(
            f"has {rows} token embeddings, but its tokenizer gave token {highest}; use the model's own tokenizer"
        )
    if pad is not None and pad >= rows:
        problems.append(
            f"has {rows} token embeddings, but its tokenizer pads with token {pad} ({processor.pad_token}); use a "
            "padding token that the model knows (often pad_token = eos_token), and save the tokenizer again"
        )
    return problems


def vocabulary_problems(model: Any, processor: Any) -> list[str]:
    """Return why a fast tokenizer cannot be the model's own: ordinary tokens of it have no embedding."""
    if not getattr(processor, "is_fast", False):
        return []
    rows, lacking = _without_embedding(model, processor)
    ordinary = [token for token in lacking if lacking[token] not in processor.added_tokens_decoder]
    if not ordinary:
        return []
    return [
        f"has {rows} token embeddings, but its tokenizer has {len(ordinary)} tokens beyond them, first "
        f"{ordinary[0]!r} ({lacking[ordinary[0]]}); use the model's own tokenizer"
    ]


def vocabulary_notes(model: Any, processor: Any) -> list[str]:
    """Return notes on a tokenizer with added tokens that have no embedding, or with far fewer tokens than the model."""
    if not getattr(processor, "is_fast", False):
        return []
    rows, lacking = _without_embedding(model, processor)
    notes = []
    if lacking:
        first = next(iter(lacking))
        notes.append(
            f"{len(lacking)} added tokens of its tokenizer have no embedding, first {first!r} ({lacking[first]}): the "
            "model cannot read texts with them"
        )
    if len(processor) < FEWEST_KNOWN * rows:
        notes.append(f"its tokenizer has {len(processor)} tokens for {rows} embeddings: check that it is the model's")
    return notes


def _without_embedding(model: Any, processor: Any) -> tuple[int, dict[str, int]]:
    """Return the number of token embeddings, and token -> id of the tokenizer's tokens beyond them, in order."""
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = sorted((id, token) for token, id in processor.get_vocab().items() if id >= rows)
    return rows, {token: id for id, token in beyond}


def unpadded_problems(processor: Any) -> list[str]:
    """Return an error for a tokenizer that cannot pad."""
    if processor.pad_token_id is not None:
        return []
    return ["its tokenizer has no padding token, which batches need; set pad_token and save the tokenizer again"]


def padding_problems(model: Any, processor: Any) -> list[str]:
    """Return why a model cannot recognise padding: some search for the padding token of their own configuration."""
    if problems := unpadded_problems(processor):
        return problems
    own, given = model.config.get_text_config().pad_token_id, processor.pad_token_id
    if own == given or not _finds_padding(model):
        return []
    return [
        f"config.json has pad_token_id {own}, but its tokenizer pads with token {given}; this architecture finds the "
        f"end of a text by pad_token_id: set pad_token_id to {given} in config.json"
    ]


def end_problems(model: Any, examples: "datasets.Dataset") -> list[str]:
    """Return why a model cannot find the end of its texts: encoder-decoders classify at the last end token.

    They require the same number of end tokens in every text of a batch, and at least one.
    """
    if not model.config.is_encoder_decoder or "eos_token_id" not in _names(model):
        return []
    end = model.config.eos_token_id
    counts = [sum(token == end for token in ids) for ids in examples["input_ids"]]
    wrong = [row for row, count in enumerate(counts) if count != max(counts[0], 1)]
    if not wrong:
        return []
    return [
        f"classifies at the last token {end} (eos_token_id in config.json), and its tokenizer gives {counts[wrong[0]]} "
        f"of them in row {wrong[0]}; expected {max(counts[0], 1)} in every row: take the tokenizer saved with the model"
    ]


def _names(model: Any) -> tuple[str, ...]:
    """Return the names that a model's forward pass uses."""
    return inspect.unwrap(type(model).forward).__code__.co_names


def _finds_padding(model: Any) -> bool:
    """Return whether a model's forward pass searches for padding tokens, beyond the attention mask."""
    if any(table.padding_idx is not None for table in positions.tables(model)):
        return True  # RoBERTa counts the positions of tokens other than padding
    return "pad_token_id" in _names(model)


def text_column(raw: "datasets.Dataset", column: str, what: str) -> list[str]:
    """Return a text column as strings. Raises InputError for a missing column, nulls and other types."""
    require_column(raw, column, what)
    texts = list(raw[column])
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        first = texts[wrong[0]]
        kind = "null" if first is None else f"{first!r}, a {type(first).__name__}"
        raise InputError(
            f"{what} column {column!r}: row {wrong[0]} is {kind} ({len(wrong)} of {len(texts)} rows are not text); "
            "expected text in every row: remove those rows or fill them"
        )
    return texts


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Return the number of tokens of every example."""
    return [len(ids) for ids in examples["input_ids"]]


def made_up() -> "datasets.Dataset":
    """Return three texts of different lengths with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(MADE_UP), "label": [0] * len(MADE_UP)})


def flattened(examples: "datasets.Dataset") -> "datasets.Dataset":
    """Return one row per entry of the lists rows and contexts of every example, as input_ids and context."""
    import datasets

    columns = {"input_ids": "rows", "context": "contexts"}
    return datasets.Dataset.from_dict(
        {name: [value for values in examples[own] for value in values] for name, own in columns.items()}
    )


def dense_tokens(examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return the column tokens of examples in another tokenizer's tokens, for outcomes; empty for other examples."""
    return {"tokens": [float(count) for count in examples["tokens"]]} if "tokens" in examples.column_names else {}


def token_remark(own: int, dense: int, lacking: str, compared: str) -> str:
    """Return a note on the tokens that a trimmed vocabulary takes for the text of so many dense tokens.

    `lacking` is that of `removed`; `compared` is what makes figures comparable.
    """
    if own == dense:
        return f"its trimmed vocabulary {lacking}; it takes as many tokens for the test split as the dense model's"
    return (
        f"its trimmed vocabulary {lacking}; it takes {own / dense:.3f} times the tokens of the dense model for the "
        f"test split: {compared}, but its latencies and energies per token are of its own tokens"
    )


def removed(rows: Iterable[Sequence[int]], own: Any, dense: Any) -> str:
    """Return how many tokens of these rows of the dense model's tokenizer another one lacks, as half a sentence."""
    kept = own.get_vocab()
    gone = {id for token, id in dense.get_vocab().items() if token not in kept}
    counts = Counter(id in gone for row in rows for id in row)
    if not counts[True]:
        return f"lacks none of the {counts.total():,} tokens of the test split"
    return f"lacks {counts[True]:,} of the {counts.total():,} tokens of the test split, written with other tokens now"
