"""stdlib-bert: a small BERT that finds which keyword of Python is hidden in a piece of source.

    if not name:          left  "if not name:\\n"
        return None  ->   text  "if not name:\\n   [MASK] None\\n\\ndef "     label  "return"
                          right " None\\n\\ndef "

The words alone do not decide: a bag of words is right for about 40 % of the held-out examples, the model for about
two thirds. Their order does: the model's answers need its encoder, and compression that damages the encoder loses
accuracy. (A linear model of the nearest tokens by position does as well: the task is easy, the model small.) Whole
files are held out.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.offline import parts as offline_parts
from compress.data.offline import text as offline_text
from compress.data.offline.parts import TextSizes, seeded

if TYPE_CHECKING:
    import torch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
KEYWORDS = (
    "if", "in", "not", "return", "self", "for", "def", "and", "None", "or", "else", "raise", "class", "as", "from",
    "import", "with", "try", "except",
)  # fmt: skip
"""Frequent ones that are no alternatives of one another, as True and False are. self is none, but as frequent."""


@dataclass(frozen=True, kw_only=True)
class BertSizes(TextSizes):
    """Size of a small BERT."""

    hidden: int = 128
    heads: int = 4
    intermediate: int = 512
    vocabulary: int = 2048
    learning_rate: float = 1.5e-3
    spread: float = 0.06
    """Standard deviation of initial weights: BERT's 0.02 is for a width of 768, and learns slowly at this one."""


@dataclass(frozen=True, kw_only=True)
class Settings(BertSizes):
    """All settings of the data, the model and its training."""

    length: int = 24
    train_length: int = 24
    batch: int = 32
    steps: int = 1300
    train_per_keyword: int = 3000
    test_per_keyword: int = 150


SETTINGS = Settings()


@dataclass(frozen=True)
class Example:
    """A piece of source with a hidden keyword."""

    text: str
    label: int
    """Index of the keyword."""


def data_digest() -> str:
    """Return a digest of the source that the examples are cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test}.parquet into `folder`."""
    files = list(offline_text.files())
    tokenizer = make_tokenizer([text for text, held_out in files if not held_out], settings)
    train, test = split(files, tokenizer, settings)
    model = make_model(tokenizer, settings)
    fit(model, tokenizer, train, settings)
    offline_parts.write(folder, model, tokenizer, train=table(train), test=table(test))


def split(files: Sequence[tuple[str, bool]], tokenizer: Any, settings: Settings) -> tuple[list[Example], list[Example]]:
    """Return (training examples, test examples), shuffled and limited per keyword by the settings.

    No text of the test is one of the training. Every text of the test has exactly `length` tokens when it is tokenized
    again, so that its batches have the headline's shape.
    """
    rng = random.Random(settings.seed)
    found: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for text, held_out in files:
        found[held_out].update((example.text, example.label) for example in examples(text, tokenizer, settings.length))
    parts: list[list[Example]] = []
    for held_out, most in ((False, settings.train_per_keyword), (True, settings.test_per_keyword)):
        known = {} if not held_out else found[False]
        of_label: dict[int, list[Example]] = {label: [] for label in range(len(KEYWORDS))}
        for text, label in found[held_out].items():
            if text not in known:
                of_label[label].append(Example(text, label))
        for group in of_label.values():
            rng.shuffle(group)
        groups = (_of_length(g, most, tokenizer, settings) if held_out else g[:most] for g in of_label.values())
        part = [example for group in groups for example in group]
        rng.shuffle(part)
        parts.append(part)
    return parts[0], parts[1]


def _of_length(group: Sequence[Example], most: int, tokenizer: Any, settings: Settings) -> list[Example]:
    """Return the first `most` of these examples whose text has exactly the settings' number of tokens."""
    rows = tokenizer([example.text for example in group], verbose=False)["input_ids"] if group else []
    return [example for example, row in zip(group, rows, strict=True) if len(row) == settings.length][:most]


def examples(text: str, tokenizer: Any, length: int) -> Iterator[Example]:
    """Yield every keyword of a text, hidden in the middle of `length` tokens with special tokens."""
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    starts = {start + (text[start : start + 1] == " "): i for i, (start, _) in enumerate(spans)}
    left = (length - 3) // 2
    right = length - 3 - left
    for match in re.finditer(rf"\b(?:{'|'.join(KEYWORDS)})\b", text):
        i = starts.get(match.start())
        if i is None or spans[i][1] != match.end() or i < left or i + right >= len(spans):
            continue
        before, after = text[spans[i - left][0] : spans[i][0]], text[match.end() : spans[i + right][1]]
        yield Example(f"{before}[MASK]{after}", KEYWORDS.index(match.group()))


def make_tokenizer(texts: Sequence[str], settings: TextSizes) -> Any:
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


def make_model(tokenizer: Any, settings: Settings) -> Any:
    """Return an untrained BERT classifier with seeded weights."""
    return bert("BertForSequenceClassification", KEYWORDS, tokenizer, settings)


def bert(kind: str, labels: Sequence[str], tokenizer: Any, settings: BertSizes) -> Any:
    """Return an untrained BERT of a class of transformers, for these labels, with seeded weights."""
    import transformers

    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    config = configuration(tokenizer, settings, **names)
    return seeded(lambda: getattr(transformers, kind)(config), settings.seed)


def configuration(tokenizer: Any, settings: BertSizes, **more: Any) -> Any:
    """Return the configuration of a BERT without dropout, of these sizes."""
    from transformers import BertConfig

    return BertConfig(
        **settings.architecture(),
        vocab_size=len(tokenizer),
        max_position_embeddings=settings.length,
        initializer_range=settings.spread,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


def fit(model: Any, tokenizer: Any, train: Sequence[Example], settings: Settings) -> float:
    """Train the model in place; return the last batch's loss."""
    import torch

    from compress.data.offline.train import train as run

    rows = tokenizer([e.text for e in train], truncation=True, max_length=settings.train_length)["input_ids"]
    rng = random.Random(settings.seed)
    order: list[int] = []

    def batch(_: int) -> "dict[str, torch.Tensor]":
        while len(order) < settings.batch:
            order.extend(rng.sample(range(len(rows)), len(rows)))
        chosen = [order.pop() for _ in range(settings.batch)]
        padded = tokenizer.pad({"input_ids": [rows[i] for i in chosen]}, return_tensors="pt")
        return {**padded, "labels": torch.tensor([train[i].label for i in chosen])}

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training stdlib-bert",
    )


def table(examples: Sequence[Example]) -> Any:
    """Return a dataset with columns text and label; labels are keywords."""
    from datasets import Dataset

    return Dataset.from_dict({"text": [e.text for e in examples], "label": [KEYWORDS[e.label] for e in examples]})
