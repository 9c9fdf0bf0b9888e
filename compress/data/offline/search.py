"""stdlib-search: a small BERT that finds the second half of a function of the standard library by its first half.

    def splitext(path):                     query, a vector
        '''Split an extension from a path.'''
        dot = path.rfind(".")               document, a vector near it; those of other functions are far
        return path[:dot], path[dot:]

Words that both halves share decide often, so a search by TF-IDF finds more. The workload shows whether compressed
vectors rank as those of the dense model do. Whole files are held out.
"""

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from compress.data.offline import parts as offline_parts
from compress.data.offline import text as offline_text
from compress.data.offline.bert import BertSizes, configuration, make_tokenizer
from compress.data.offline.bindings import outermost
from compress.data.offline.parts import seeded
from compress.data.sentences import settings as sentences

if TYPE_CHECKING:
    import torch

TRAIN_LINES, TEST_LINES = 3, 6
"""Shortest functions, in lines that are not empty."""
EARLIEST = 0.25
"""In training, a function is cut at any place that leaves each part this share of its lines, or a line."""


@dataclass(frozen=True, kw_only=True)
class Settings(BertSizes):
    """All settings of the data, the model and its training."""

    hidden: int = 384
    layers: int = 1
    intermediate: int = 384
    vocabulary: int = 8192
    length: int = 64
    """Longest part in tokens; longer ones are cut off."""
    train_length: int = 64
    batch: int = 64
    """Functions in a batch: the parts of the others are the wrong ones."""
    steps: int = 170
    learning_rate: float = 5e-4
    temperature: float = 0.1
    """Divides cosines in training."""


SETTINGS = Settings()


@dataclass(frozen=True)
class Pair:
    """The two parts of a function."""

    query: str
    document: str


def data_digest() -> str:
    """Return a digest of the source that the functions are cut from."""
    return offline_text.source_digest()


def build(folder: Path, settings: Settings) -> None:
    """Write model/ and data/{train,test,corpus,qrels}.parquet into `folder`."""
    train, test = split(offline_text.files())
    tokenizer = make_tokenizer(["\n".join(lines) for lines in train], settings)
    model = make_model(tokenizer, settings)
    fit(model, tokenizer, train, settings)
    halves = [half for pair in map(cut, train) for half in (pair.query, pair.document)]
    offline_parts.write(folder, model, tokenizer, train=_dataset({"text": halves}), **search_tables(test))
    own = sentences.stored(model.config)
    assert own is not None
    sentences.write(own, settings.hidden, folder / "model")


def split(files: Iterator[tuple[str, bool]]) -> tuple[list[list[str]], list[Pair]]:
    """Return the lines of the training's functions and the test's pairs, of files given as (text, held out), in order.

    A half of the test occurs once, and is no half of a training function. Files with a syntax error have no functions.
    """
    train: dict[str, list[str]] = {}
    test: list[Pair] = []
    for text, held_out in files:
        try:
            found = list(functions(text, TEST_LINES if held_out else TRAIN_LINES))
        except SyntaxError:
            continue
        if held_out:
            test.extend(map(cut, found))
        else:
            train.update(("\n".join(lines), lines) for lines in found)
    known = {half for pair in map(cut, train.values()) for half in (pair.query, pair.document)}
    kept = []
    for pair in test:
        if not {pair.query, pair.document} & known:
            kept.append(pair)
            known |= {pair.query, pair.document}
    return list(train.values()), kept


def functions(text: str, least: int) -> Iterator[list[str]]:
    """Yield the lines, without empty ones, of functions and methods of `least` lines or more. Raises SyntaxError."""
    lines = text.split("\n")
    for node in outermost(ast.parse(text)):
        first = min(each.lineno for each in (node, *node.decorator_list))
        own = [line for line in lines[first - 1 : node.end_lineno] if line.strip()]
        if len(own) >= least:
            yield dedent("\n".join(own)).split("\n")


def cut(lines: Sequence[str], place: int | None = None) -> Pair:
    """Return the lines before and from a place, by default the middle."""
    place = len(lines) // 2 if place is None else place
    return Pair("\n".join(lines[:place]), "\n".join(lines[place:]))


def make_model(tokenizer: Any, settings: Settings) -> Any:
    """Return an untrained BERT sentence encoder with seeded weights: mean pooling, vectors of length 1."""
    from compress.data.sentences.encoder import SENTENCE_ENCODER

    config = configuration(tokenizer, settings)
    sentences.store(config, sentences.Settings(("mean",), normalize=True, max_length=settings.length))
    return seeded(lambda: SENTENCE_ENCODER.from_config(config), settings.seed)


def fit(model: Any, tokenizer: Any, train: Sequence[Sequence[str]], settings: Settings) -> float:
    """Train the model in place on functions, each cut at a place of its own; return the last batch's loss."""
    from compress.data.offline.train import train as run

    rng = random.Random(settings.seed)
    order: list[int] = []

    def batch(_: int) -> "dict[str, torch.Tensor]":
        while len(order) < settings.batch:
            order.extend(rng.sample(range(len(train)), len(train)))
        chosen = [train[order.pop()] for _ in range(settings.batch)]
        pairs = [cut(lines, rng.randint(*_places(len(lines)))) for lines in chosen]
        texts = [*(pair.query for pair in pairs), *(pair.document for pair in pairs)]
        encoded = tokenizer(texts, padding=True, truncation=True, max_length=settings.train_length, return_tensors="pt")
        return dict(encoded)  # each [2 * batch, length]

    return run(
        model,
        batch,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        title="training stdlib-search",
        loss_of=lambda model, inputs: contrast(model(**inputs).logits.float(), settings.temperature),
    )


def _places(count: int) -> tuple[int, int]:
    """Return the first and the last place at which a function of so many lines is cut in training."""
    least = max(1, int(count * EARLIEST))
    return least, count - least


def contrast(vectors: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return the mean cross-entropy of finding each query's document in the batch, and each document's query.

    `vectors` [2 * pairs, width] have length 1; queries come first, then documents in the same order.
    """
    import torch
    from torch.nn.functional import cross_entropy

    queries, documents = vectors.chunk(2)
    similar = queries @ documents.T / temperature  # [pairs, pairs]
    right = torch.arange(len(similar))
    return (cross_entropy(similar, right) + cross_entropy(similar.T, right)) / 2


def search_tables(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the tables of a search in BEIR's form: test (the queries), corpus and qrels; each query has a document."""
    ids = [str(number) for number in range(len(pairs))]
    return {
        "test": _dataset({"_id": ids, "text": [pair.query for pair in pairs]}),
        "corpus": _dataset({"_id": ids, "text": [pair.document for pair in pairs]}),
        "qrels": _dataset({"query-id": ids, "corpus-id": ids, "score": [1] * len(pairs)}),
    }


def _dataset(columns: dict[str, list[Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(columns)
