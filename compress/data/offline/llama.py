"""stdlib-llama: a small Llama language model of the standard library's source, evaluated on held-out regions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.offline import parts as offline_parts
from compress.data.offline import text as offline_text
from compress.data.offline.parts import TextSizes, seeded

if TYPE_CHECKING:
    import torch

BEGIN, END = "<s>", "</s>"


@dataclass(frozen=True, kw_only=True)
class Settings(TextSizes):
    """All settings of the data, the model and its training."""

    vocabulary: int = 4096
    key_value_heads: int = 3
    intermediate: int = 512
    length: int = 256
    train_length: int = 128
    batch: int = 16
    steps: int = 400
    learning_rate: float = 2e-3
    test_documents: int = 60


SETTINGS = Settings()


def data_digest() -> str:
    """Return a digest of the source that the text is cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test}.parquet into `folder`: one row per region of about 4,500 characters."""
    train, test = split(settings)
    tokenizer = make_tokenizer(train, settings)
    model = make_model(tokenizer, settings)
    fit(model, tokenizer, train, settings)
    offline_parts.write(folder, model, tokenizer, train=table(train), test=table(test))


def split(settings: Settings) -> tuple[list[str], list[str]]:
    """Return (training, test) regions of source text, shuffled by the seed."""
    parts = list(offline_text.regions(seed=settings.seed))
    rng = random.Random(settings.seed)
    train, test = ([text for text, held_out in parts if held_out == is_test] for is_test in (False, True))
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test[: settings.test_documents]


def make_tokenizer(texts: Sequence[str], settings: Settings) -> Any:
    """Return a tokenizer trained on the texts; it begins each text with <s>."""
    return offline_parts.make_tokenizer(
        texts,
        settings,
        (BEGIN, END),
        {"single": f"{BEGIN} $A"},
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
    )


def make_model(tokenizer: Any, settings: Settings) -> Any:
    """Return an untrained Llama with seeded weights, grouped-query attention and tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **settings.architecture(),
        vocab_size=len(tokenizer),
        num_key_value_heads=settings.key_value_heads,
        max_position_embeddings=settings.length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return seeded(lambda: LlamaForCausalLM(config), settings.seed)


def fit(model: Any, tokenizer: Any, train: Sequence[str], settings: Settings) -> float:
    """Train the model in place on random windows of the text; return the last batch's loss."""
    import torch

    from compress.data.offline.train import train as run

    stream: list[int] = []
    for row in tokenizer(list(train), verbose=False)["input_ids"]:
        stream.extend(row)  # every region begins with <s>
    tokens = torch.tensor(stream)
    length = min(settings.train_length, len(tokens) - 1)
    generator = torch.Generator().manual_seed(settings.seed)

    def batch(_: int) -> "dict[str, torch.Tensor]":
        starts = torch.randint(len(tokens) - length, (settings.batch, 1), generator=generator)
        ids = tokens[starts + torch.arange(length)]  # [batch, length]
        ids[:, 0] = tokenizer.bos_token_id  # evaluation begins every block with it
        return {"input_ids": ids, "labels": ids}

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training stdlib-llama",
    )


def table(texts: Sequence[str]) -> Any:
    """Return a dataset with one column, text; each row is one document."""
    from datasets import Dataset

    return Dataset.from_dict({"text": [f"{text}<|endoftext|>" for text in texts]})
