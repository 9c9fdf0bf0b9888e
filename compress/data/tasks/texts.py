"""Helpers of tasks on text: the tokenizer, columns of text, and how model, tokenizer and lengths fit each other."""

import inspect
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data import positions
from compress.data.tasks.labels import require_column
from compress.data.tasks.task import WorkloadView

if TYPE_CHECKING:
    import datasets

MADE_UP = (
    "It is.",
    "Nothing in this story was as good as the end of it, and the end was not good at all.",
    "Who knows?",
)


def load_processor(location: str, **options: Any) -> Any:
    """The tokenizer stored with the model."""
    from transformers import AutoTokenizer

    processor = AutoTokenizer.from_pretrained(location, **options)
    if set(processor.get_vocab()) <= set(processor.all_special_tokens):
        # without its files transformers makes an empty tokenizer: every word would be unknown
        raise ValueError("it has no vocabulary: tokenizer.json or its like is missing")
    return processor


def text_problems(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """What is wrong between model, tokenizer and lengths: the same for all text tasks."""
    problems = []
    limit = positions.limit(model)
    if limit is not None and workload.max_length > limit:
        problems.append(
            f"reads at most {limit} tokens, but max_length is {workload.max_length}; set max_length to {limit}"
        )
    return problems + token_problems(model, processor, examples)


def token_problems(model: Any, processor: Any, examples: "datasets.Dataset") -> list[str]:
    """What the tokenizer gives that the model has no embedding for, or takes for another token."""
    problems = []
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max((max(ids, default=0) for ids in examples["input_ids"]), default=0)
    pad = processor.pad_token_id
    if highest >= rows:
        problems.append(
            f"has {rows} token embeddings, but its tokenizer gave token {highest}; they do not belong together"
        )
    if pad is not None and pad >= rows:
        problems.append(
            f"has {rows} token embeddings, but its tokenizer pads with token {pad} ({processor.pad_token}); take a "
            "padding token that the model knows (often pad_token = eos_token), and save the tokenizer again"
        )
    return problems


def padding_problems(model: Any, processor: Any) -> list[str]:
    """What keeps a model from telling padding from text: it looks for the padding token of its own configuration."""
    own, given = model.config.get_text_config().pad_token_id, processor.pad_token_id
    if given is None:
        return ["its tokenizer has no padding token, which batches need; set pad_token and save it again"]
    if own == given or not _finds_padding(model):
        return []
    return [
        f"config.json has pad_token_id {own}, but its tokenizer pads with token {given}; this architecture finds the "
        f"end of a text by that number: set pad_token_id to {given} in config.json"
    ]


def _finds_padding(model: Any) -> bool:
    """Whether the forward pass of a model looks for padding tokens, instead of the attention mask alone."""
    if any(table.padding_idx is not None for table in positions.tables(model)):
        return True  # RoBERTa counts positions of what is no padding
    return "pad_token_id" in inspect.unwrap(type(model).forward).__code__.co_names


def text_column(raw: "datasets.Dataset", column: str, what: str) -> list[str]:
    """A text column as strings. Raises InputError for a missing column, nulls and other types."""
    require_column(raw, column, what)
    texts = list(raw[column])
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        first = texts[wrong[0]]
        kind = "null" if first is None else f"{first!r}, a {type(first).__name__}"
        raise InputError(
            f"{what} column {column!r}: row {wrong[0]} is {kind} ({len(wrong)} such of {len(texts)} rows); "
            "expected text in every row: remove those rows or fill them"
        )
    return texts


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Tokens of every example."""
    return [len(ids) for ids in examples["input_ids"]]


def made_up() -> "datasets.Dataset":
    """Three texts of several lengths with the columns of a live data set."""
    import datasets

    return datasets.Dataset.from_dict({"text": list(MADE_UP), "label": [0] * len(MADE_UP)})
