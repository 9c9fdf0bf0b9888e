"""stdlib-bert: a small BERT that classifies source snippets by standard library package.

The data is real text in twelve classes. A bag-of-words model reaches an accuracy of about 0.92 on the held-out
snippets, so the task is learnable, and compression can lose accuracy.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.offline import parts as offline_parts
from compress.data.offline import text as offline_text
from compress.data.offline.parts import TextSizes, seeded
from compress.data.offline.text import Snippet

if TYPE_CHECKING:
    import torch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class Settings(TextSizes):
    """All settings of the data, the model and its training."""

    vocabulary: int = 6144
    length: int = 128
    train_length: int = 64
    batch: int = 32
    steps: int = 600
    learning_rate: float = 1e-3
    hidden_tokens: float = 0.25
    """Fraction of a training crop's tokens replaced by [MASK], against overfitting."""
    test_per_class: int = 75
    train_per_class: int = 1000


SETTINGS = Settings()


def data_digest() -> str:
    """Return a digest of the source that the snippets are cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test}.parquet into `folder`."""
    names, train, test = split(settings)
    tokenizer = make_tokenizer([s.text for s in train], settings)
    model = make_model(names, tokenizer, settings)
    fit(model, tokenizer, train, settings)
    offline_parts.write(folder, model, tokenizer, table(train, names), table(test, names))


def split(settings: Settings) -> tuple[list[str], list[Snippet], list[Snippet]]:
    """Return (class names, training snippets, test snippets), shuffled and limited per class by the settings."""
    names, snippets = offline_text.snippets(seed=settings.seed)
    rng = random.Random(settings.seed)
    parts: tuple[list[Snippet], list[Snippet]] = ([], [])
    for label in range(len(names)):
        for held_out, most in ((False, settings.train_per_class), (True, settings.test_per_class)):
            of_class = [s for s in snippets if s.label == label and s.held_out == held_out]
            rng.shuffle(of_class)
            parts[held_out].extend(of_class[:most])
    for part in parts:
        rng.shuffle(part)
    return names, *parts


def make_tokenizer(texts: Sequence[str], settings: Settings) -> Any:
    """Return a tokenizer trained on the texts, with BERT's special tokens."""
    return offline_parts.make_tokenizer(
        texts,
        settings,
        SPECIAL,
        {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1"},
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_model(names: Sequence[str], tokenizer: Any, settings: Settings) -> Any:
    """Return an untrained BERT classifier with seeded weights."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        **settings.architecture(),
        vocab_size=len(tokenizer),
        max_position_embeddings=settings.length,
        hidden_dropout_prob=0.0,  # random crops and masked tokens regularise at no cost in time
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        pad_token_id=tokenizer.pad_token_id,
    )
    return seeded(lambda: BertForSequenceClassification(config), settings.seed)


def fit(model: Any, tokenizer: Any, train: Sequence[Snippet], settings: Settings) -> float:
    """Train the model in place on random crops; return the last batch's loss."""
    from compress.data.offline.train import train as run

    rows = [tokenizer(s.text, add_special_tokens=False, verbose=False)["input_ids"] for s in train]
    labels = [s.label for s in train]
    rng = random.Random(settings.seed)
    order: list[int] = []

    def batch(_: int) -> "dict[str, torch.Tensor]":
        while len(order) < settings.batch:
            order.extend(rng.sample(range(len(rows)), len(rows)))
        chosen = [order.pop() for _ in range(settings.batch)]
        return _crops([rows[i] for i in chosen], [labels[i] for i in chosen], tokenizer, settings, rng)

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training stdlib-bert",
    )


def _crops(
    rows: Sequence[Sequence[int]], labels: Sequence[int], tokenizer: Any, settings: Settings, rng: random.Random
) -> "dict[str, torch.Tensor]":
    """Return one batch of random crops, some tokens masked, of at most train_length tokens with special tokens."""
    import torch

    inner = settings.train_length - 2
    crops = []
    for row in rows:
        start = rng.randrange(max(1, len(row) - inner + 1))
        crop = [
            tokenizer.mask_token_id if rng.random() < settings.hidden_tokens else token
            for token in row[start : start + inner]
        ]
        crops.append({"input_ids": [tokenizer.cls_token_id, *crop, tokenizer.sep_token_id]})
    batch = dict(tokenizer.pad(crops, return_tensors="pt"))
    # crops are shorter than later texts: each batch has a random position offset, so that every position is trained
    offset = rng.randrange(settings.length - settings.train_length + 1)
    positions = torch.arange(batch["input_ids"].shape[1]) + offset
    return {**batch, "position_ids": positions[None], "labels": torch.tensor(labels)}


def table(snippets: Sequence[Snippet], names: Sequence[str]) -> Any:
    """Return a dataset with columns text and label; labels are package names."""
    from datasets import Dataset

    return Dataset.from_dict({"text": [s.text for s in snippets], "label": [names[s.label] for s in snippets]})
