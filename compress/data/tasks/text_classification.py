"""Text classification: one or two text columns, one class per example.

Texts are tokenised once and cut at the workload's max_length; batches are padded to their longest by the tokenizer.
For timing, the texts' tokens are joined and cut into rows of exactly the asked length, special tokens around each:

    [CLS] real tokens of several texts ... [SEP]     no padding, attention mask all ones
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from compress.base.config import InputError
from compress.data import positions
from compress.data.tasks import Batch
from compress.data.tasks import labels as class_labels
from compress.data.tasks.blocks import packed
from compress.data.tasks.labels import require_column
from compress.data.workload import OperatingPoint, Workload

if TYPE_CHECKING:
    import datasets

auto_model = "AutoModelForSequenceClassification"
INPUTS = ("input_ids", "token_type_ids")


def load_processor(location: str, **options: Any) -> Any:
    """The tokenizer stored with the model."""
    from transformers import AutoTokenizer

    processor = AutoTokenizer.from_pretrained(location, **options)
    if set(processor.get_vocab()) <= set(processor.all_special_tokens):
        # without its files transformers makes an empty tokenizer: every word would be unknown
        raise ValueError("it has no vocabulary: tokenizer.json or its like is missing")
    return processor


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: Workload) -> list[str]:
    """What is wrong with this model on these examples, one sentence each."""
    problems = text_problems(model, processor, examples, workload)
    return problems + padding_problems(model, processor) + class_problems(model)


def class_problems(model: Any) -> list[str]:
    """What keeps a model's head from giving one of several classes."""
    problems = []
    labels = int(getattr(model.config, "num_labels", 0))
    if labels < 2:
        problems.append(f"has {labels} output, a regression; classification needs at least 2 classes")
    if getattr(model.config, "problem_type", None) not in (None, "single_label_classification"):
        problems.append(f"is a {model.config.problem_type} model; expected one class per example")
    return problems


def text_problems(model: Any, processor: Any, examples: "datasets.Dataset", workload: Workload) -> list[str]:
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


def prepare(raw: "datasets.Dataset", processor: Any, workload: Workload, config: Any) -> "datasets.Dataset":
    """Columns text, (text_pair), labels, input_ids, (token_type_ids): tokenised and cut at max_length."""
    import datasets

    spec = workload.dataset
    texts = text_column(raw, spec.text, "text")
    pairs = text_column(raw, spec.text_pair, "text_pair") if spec.text_pair else None
    labels = class_labels.read(raw, spec.label, config, spec.labels)
    columns: dict[str, Any] = {"text": texts, "labels": labels.ids}
    if pairs is not None:
        columns["text_pair"] = pairs
    encoded = processor(texts, pairs, truncation=True, max_length=workload.max_length)
    columns |= {name: encoded[name] for name in INPUTS if name in encoded}
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description=labels.note))


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


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, torch.Tensor]:
    """One batch padded to its longest: input_ids [batch, longest], attention_mask, (token_type_ids), labels [batch]."""
    rows = [{name: example[name] for name in INPUTS if name in example} for example in examples]
    batch = dict(processor.pad(rows, return_tensors="pt"))
    batch["labels"] = torch.tensor([example["labels"] for example in examples])
    return batch


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, torch.Tensor]]:
    """`count` batches of exactly [batch_size, sequence_length] made of the examples' own tokens, without labels."""
    batches = packed(examples["input_ids"], processor, point, count, seed)
    if "token_type_ids" in examples.column_names:
        for batch in batches:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return batches


def outcomes(logits: torch.Tensor, batch: Batch) -> dict[str, list[float]]:
    """prediction and reference of each example; prediction is -1, no class, where a logit is not finite."""
    predicted = logits.argmax(dim=-1)  # [batch]
    predicted = torch.where(torch.isfinite(logits).all(dim=-1), predicted, -1)
    return {"prediction": predicted.double().tolist(), "reference": batch["labels"].double().tolist()}


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Tokens of every example."""
    return [len(ids) for ids in examples["input_ids"]]
