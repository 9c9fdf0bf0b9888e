"""stdlib-bert: a small BERT learns which standard library package a snippet of source comes from.

Twelve classes of real text. A model of word counts reaches about 0.92 on the held-out snippets, so there is something
to learn and something to lose.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.workloads import offline_text
from compress.workloads.offline_text import Snippet

if TYPE_CHECKING:
    import torch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what comes out: sizes, and how long it is trained."""

    vocabulary: int = 6144
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    intermediate: int = 768
    length: int = 128
    train_length: int = 64
    """Training sees crops of this length: twice as many steps in the same time."""
    batch: int = 32
    steps: int = 600
    learning_rate: float = 1e-3
    hidden_tokens: float = 0.25
    """Fraction of a training crop's tokens replaced by [MASK], against learning snippets by heart."""
    test_per_class: int = 75
    train_per_class: int = 1000
    seed: int = 0


SETTINGS = Settings()


def data_digest() -> str:
    """Changes with the source that the snippets are cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Writes model/ and data/{train,test}.parquet into `folder`."""
    names, train, test = split(settings)
    tokenizer = make_tokenizer([s.text for s in train], settings)
    model = make_model(names, tokenizer, settings)
    fit(model, tokenizer, train, settings)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_parquet(folder / "data" / "train.parquet", train, names)
    write_parquet(folder / "data" / "test.parquet", test, names)


def split(settings: Settings) -> tuple[list[str], list[Snippet], list[Snippet]]:
    """(class names, training snippets, test snippets), shuffled, large classes cut down to the settings' counts."""
    names, every = offline_text.snippets(seed=settings.seed)
    rng = random.Random(settings.seed)
    parts: tuple[list[Snippet], list[Snippet]] = ([], [])
    for label in range(len(names)):
        for held_out, most in ((False, settings.train_per_class), (True, settings.test_per_class)):
            own = [s for s in every if s.label == label and s.held_out == held_out]
            rng.shuffle(own)
            parts[held_out].extend(own[:most])
    for part in parts:
        rng.shuffle(part)
    return names, *parts


def make_tokenizer(texts: Sequence[str], settings: Settings) -> Any:
    """A WordPiece tokenizer trained on the texts."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocabulary, special_tokens=list(SPECIAL), show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=settings.length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_model(names: Sequence[str], tokenizer: Any, settings: Settings) -> Any:
    """An untrained BERT classifier with seeded weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        max_position_embeddings=settings.length,
        hidden_dropout_prob=0.0,  # random crops and hidden tokens do its work, at no cost in time
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return BertForSequenceClassification(config)


def fit(model: Any, tokenizer: Any, train: Sequence[Snippet], settings: Settings) -> float:
    """Trains the model in place on random crops; the last batch's loss."""
    from compress.workloads.offline_train import train as run

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
    """One batch of random crops of at most train_length tokens, special tokens included, some tokens hidden."""
    import torch

    inner = settings.train_length - 2
    cut = []
    for row in rows:
        start = rng.randrange(max(1, len(row) - inner + 1))
        crop = [
            tokenizer.mask_token_id if rng.random() < settings.hidden_tokens else token
            for token in row[start : start + inner]
        ]
        cut.append({"input_ids": [tokenizer.cls_token_id, *crop, tokenizer.sep_token_id]})
    batch = dict(tokenizer.pad(cut, return_tensors="pt"))
    # crops are shorter than the texts to come: each batch sits at another place, so that every position is trained
    offset = rng.randrange(settings.length - settings.train_length + 1)
    positions = torch.arange(batch["input_ids"].shape[1]) + offset
    return {**batch, "position_ids": positions[None], "labels": torch.tensor(labels)}


def write_parquet(path: Path, snippets: Sequence[Snippet], names: Sequence[str]) -> None:
    """Writes columns text and label, the label as the package's name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": [s.text for s in snippets], "label": [names[s.label] for s in snippets]})
    pq.write_table(table, path)
