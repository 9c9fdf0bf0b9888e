"""stdlib-ner: a small BERT that finds the names in functions of the standard library, and where each is bound.

    def join ( parts ) :              B-GLOBAL          B-PARAM
    path = os . path . join           B-LOCAL  B-IMPORT I-IMPORT I-IMPORT I-IMPORT I-IMPORT
    return str ( path )               B-BUILTIN  B-LOCAL

The tags are exact (see `bindings`). A word's most frequent tag is often wrong: the same name is a parameter here and a
local there. Whole files are held out, and no function of the test is one of the training.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.offline import bindings
from compress.data.offline import parts as offline_parts
from compress.data.offline import text as offline_text
from compress.data.offline.bert import BertSizes, bert, make_tokenizer
from compress.data.offline.bindings import TAGS, Function

if TYPE_CHECKING:
    import torch

IGNORED = -100
POOL = 8
"""Batches whose functions are sorted by length together: less padding, and batches still differ in every epoch."""


@dataclass(frozen=True, kw_only=True)
class Settings(BertSizes):
    """All settings of the data, the model and its training."""

    length: int = 128
    """Longest function in tokens: longer ones are left out, so that no word is cut off."""
    train_length: int = 128
    batch: int = 16
    steps: int = 800


SETTINGS = Settings()


def data_digest() -> str:
    """Return a digest of the source that the functions are cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test}.parquet into `folder`."""
    train, test = split(offline_text.files())
    tokenizer = make_tokenizer([word for function in train for word in function.words], settings)
    train, test = (of_length(part, tokenizer, settings.length) for part in (train, test))
    model = make_model(tokenizer, settings)
    fit(model, tokenizer, train, settings)
    offline_parts.write(folder, model, tokenizer, train=table(train), test=table(test))


def split(files: Iterator[tuple[str, bool]]) -> tuple[list[Function], list[Function]]:
    """Return the (training, test) functions of files, given as (text, held out), in their order.

    A function is kept once, and not in the test if it is in the training. Files with a syntax error have no functions.
    """
    found: dict[bool, dict[tuple[str, ...], Function]] = {False: {}, True: {}}
    for text, held_out in files:
        try:
            found[held_out].update((tuple(each.words), each) for each in bindings.functions(text))
        except SyntaxError:
            continue
    train, test = found[False], found[True]
    return list(train.values()), [each for words, each in test.items() if words not in train]


def of_length(functions: Sequence[Function], tokenizer: Any, length: int) -> list[Function]:
    """Return the functions of at most `length` tokens, with special tokens."""
    rows = tokenizer([each.words for each in functions], is_split_into_words=True, verbose=False)["input_ids"]
    return [each for each, row in zip(functions, rows, strict=True) if len(row) <= length]


def make_model(tokenizer: Any, settings: Settings) -> Any:
    """Return an untrained BERT token classifier with seeded weights."""
    return bert("BertForTokenClassification", TAGS, tokenizer, settings)


def fit(model: Any, tokenizer: Any, train: Sequence[Function], settings: Settings) -> float:
    """Train the model in place on the first token of every word; return the last batch's loss."""
    import torch

    from compress.data.offline.train import train as run

    encoded = tokenizer(
        [each.words for each in train], is_split_into_words=True, truncation=True, max_length=settings.train_length
    )
    rows = encoded["input_ids"]
    labels = [_labels(encoded.word_ids(row), each.tags) for row, each in enumerate(train)]
    order = _order([len(row) for row in rows], settings)

    def batch(_: int) -> "dict[str, torch.Tensor]":
        chosen = next(order)
        padded = tokenizer.pad({"input_ids": [rows[i] for i in chosen]}, return_tensors="pt")
        length = padded["input_ids"].shape[1]
        own = [labels[i] + [IGNORED] * (length - len(labels[i])) for i in chosen]
        return {**padded, "labels": torch.tensor(own)}  # each [batch, length]

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training stdlib-ner",
    )


def _labels(word_ids: Sequence[int | None], tags: Sequence[str]) -> list[int]:
    """Return the id of every word's tag at its first token, and IGNORED elsewhere."""
    firsts = [word is not None and word != before for before, word in zip([None, *word_ids], word_ids, strict=False)]
    return [
        TAGS.index(tags[word]) if first and word is not None else IGNORED
        for first, word in zip(firsts, word_ids, strict=True)
    ]


def _order(lengths: Sequence[int], settings: Settings) -> Iterator[list[int]]:
    """Yield batches of functions without end, of similar lengths, from a seeded order of all."""
    rng = random.Random(settings.seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < settings.batch * POOL:
            waiting.extend(rng.sample(range(len(lengths)), len(lengths)))
        pool = sorted((waiting.pop() for _ in range(settings.batch * POOL)), key=lambda i: lengths[i])
        batches = [pool[start : start + settings.batch] for start in range(0, len(pool), settings.batch)]
        rng.shuffle(batches)
        yield from batches


def table(functions: Sequence[Function]) -> Any:
    """Return a dataset with columns tokens and ner_tags, in the hub's format for tags."""
    import datasets

    tags = datasets.List(datasets.ClassLabel(names=list(TAGS)))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    columns = {"tokens": [each.words for each in functions], "ner_tags": [each.tags for each in functions]}
    return datasets.Dataset.from_dict(columns, features=features)
