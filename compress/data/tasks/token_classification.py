"""Token classification: a tag for every word, such as the entities of a sentence.

A word's first piece is judged. Its other pieces, special tokens and padding have label -100, which losses ignore:

    words                 Wolfgang          lives   in   Salzburg
    pieces    [CLS]   Wolf    ##gang        lives   in   Salz    ##burg   [SEP]
    labels     -100   B-PER     -100            O    O   B-LOC     -100    -100

A word beyond max_length, or without a piece, has no answer: it counts as O for entities, and as wrong for the accuracy.
An example's outcomes are counts, so that a ratio of sums can be resampled over examples and compared in pairs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.bits import identity
from compress.base.config import InputError
from compress.data.bad_rows import refuse, shown
from compress.data.point import OperatingPoint
from compress.data.tasks import classes, text_classification, texts
from compress.data.tasks.columns import TAGS, TOKENS
from compress.data.tasks.entities import OUTSIDE, counts, unlike_entities
from compress.data.tasks.tagged_words import read
from compress.data.tasks.task import IGNORED, Batch, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

SPACED = ("RobertaTokenizer", "LongformerTokenizer", "BartTokenizer", "GPT2Tokenizer", "DebertaTokenizer")
"""Tokenizers that took words only with `add_prefix_space` before transformers 5, so models are trained with it."""


def load_processor(location: str, **options: Any) -> Any:
    """Return the tokenizer stored with the model, set to tokenize words as in a text, with the space before them."""
    processor = text_classification.load_processor(location, **options)
    if _drops_spaces(processor):
        processor = text_classification.load_processor(location, **options, add_prefix_space=True)
    return processor


def _drops_spaces(processor: Any) -> bool:
    return type(processor).__name__.removesuffix("Fast") in SPACED and processor.add_prefix_space is False


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor) + classes.class_problems(model)
    return problems + (_entity_problems(examples) if workload.metric_name == "entity_f1" else [])


def _entity_problems(examples: "datasets.Dataset") -> list[str]:
    """Return why entities cannot be counted, one sentence each."""
    names = tag_names(examples)
    if unlike := unlike_entities(names):
        return [
            f"has tags that are no entities, such as {', '.join(unlike[:4])}; entity_f1 expects O, and B-, I-, E- or "
            "S- before a kind (B-LOC): set metric to token_accuracy, or name the tags in the model's config.json "
            "(id2label and label2id)"
        ]
    if all(names[tag] == OUTSIDE for tags in examples["tags"] for tag in tags):
        return [f"finds no entity to judge: all tags of the {len(examples)} examples are O; entity_f1 expects some"]
    return []


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, input_ids, (token_type_ids), labels, tags and judged, truncated at max_length.

    `labels` has an entry for each token, `tags` the model's id of every word's tag (as names of classes), and `judged`
    the words that have a judged token. Raises BadRows for rows that are no tagged words.
    """
    import datasets

    if not getattr(processor, "is_fast", False):
        raise InputError("the model's tokenizer has no tokenizer.json; the words of tokens need a fast tokenizer")
    if _drops_spaces(processor):
        raise InputError("the model's tokenizer drops the space before a word; load it with add_prefix_space=True")
    found = read(raw, workload.dataset, config)
    words, tags = found.words, found.tags
    encoded = processor(words, is_split_into_words=True, truncation=True, max_length=workload.max_length)
    pieces = [_first_pieces(encoded.word_ids(row)) for row in range(len(words))]
    refuse((row, f"its words have no token: {shown(words[row])}") for row, each in enumerate(pieces) if not each)
    columns: dict[str, Any] = {
        "text": [" ".join(row) for row in words],
        **{name: encoded[name] for name in text_classification.INPUTS if name in encoded},
        "labels": [
            _labels(len(ids), first, own) for ids, first, own in zip(encoded["input_ids"], pieces, tags, strict=True)
        ],
        "tags": tags,
        "judged": [list(first.values()) for first in pieces],
    }
    missed = sum(map(len, words)) - sum(map(len, pieces))
    cut = f"{missed} words beyond max_length {workload.max_length}, or without a token, count as missed"
    notes = (found.note, text_classification.padding_note(processor), cut if missed else "")
    features = datasets.Features(
        {name: datasets.List(datasets.Value("int64")) for name in columns}
        | {"text": datasets.Value("string"), "tags": datasets.List(datasets.ClassLabel(names=found.names))}
    )
    info = datasets.DatasetInfo(description="; ".join(filter(None, notes)), features=features)
    return datasets.Dataset.from_dict(columns, features=features, info=info)


def _first_pieces(word_ids: Sequence[int | None]) -> dict[int, int]:
    """Return position -> word of every word's first token."""
    first: dict[int, int] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            first.setdefault(word, place)
    return {place: word for word, place in first.items()}


def _labels(count: int, pieces: Mapping[int, int], tags: Sequence[int]) -> list[int]:
    return [tags[pieces[place]] if place in pieces else IGNORED for place in range(count)]


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one padded batch: input_ids, attention_mask, (token_type_ids) and labels, each [batch, longest]."""
    import torch

    batch = text_classification.padded(examples, processor)
    labels = torch.full_like(batch["input_ids"], IGNORED)
    left = text_classification.side(processor) == "left"
    for row, example in enumerate(examples):
        own = torch.tensor(example["labels"])
        labels[row, slice(-len(own), None) if left else slice(len(own))] = own
    return batch | {"labels": labels}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return the predicted tags of each row's judged tokens, in order; -1 (no tag) if a logit is not finite."""
    import torch

    labels = batch["labels"]
    predicted = torch.where(torch.isfinite(logits).all(dim=-1), logits.argmax(dim=-1), -1)  # [batch, length]
    judged = labels.to(logits.device) != IGNORED
    return {"tags": [row[kept].tolist() for row, kept in zip(predicted, judged, strict=True)]}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return the counts of each example, and a number that identifies its predicted tags.

    `tp`, `predicted` and `gold` are entities, `right` and `words` are words, `commonest` are those of the split's most
    frequent tag.
    """
    names, golds = tag_names(examples), list(examples["tags"])
    frequency = Counter(tag for tags in golds for tag in tags)
    commonest = min(frequency, key=lambda tag: (-frequency[tag], tag))
    found: dict[str, list[float]] = {name: [] for name in (*SAMPLE_OUTCOMES,)}
    for predicted, judged, gold in zip(outcomes["tags"], examples["judged"], golds, strict=True):
        tags = dict(zip(judged, predicted, strict=True))
        ours = [names[tag] if (tag := tags.get(word, -1)) >= 0 else OUTSIDE for word in range(len(gold))]
        tp, named, there = counts([names[tag] for tag in gold], ours)
        right = sum(tags.get(word, -1) == tag for word, tag in enumerate(gold))
        row = (tp, named, there, right, len(gold), gold.count(commonest), identity(predicted))
        for values, value in zip(found.values(), row, strict=True):
            values.append(float(value))
    return found


def tag_names(examples: "datasets.Dataset") -> list[str]:
    """Return the names of the model's tags, by id."""
    return list(examples.features["tags"].feature.names)


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] cross entropies (nats, summed) of judged tokens, and [batch] counts of these; float64."""
    each, judged = classes.cross_entropy(logits.transpose(1, 2), labels)  # [batch, length]
    return each.sum(dim=1), judged.sum(dim=1)


def made_up() -> "datasets.Dataset":
    """Return three sentences of different lengths with the columns of a live data set."""
    import datasets

    words = [text.split() for text in texts.MADE_UP]
    return datasets.Dataset.from_dict({"text": words, "label": [[i % 2 for i in range(len(row))] for row in words]})


SAMPLE_OUTCOMES = {
    "tp": [1.0, 0.0, 2.0],
    "predicted": [1.0, 1.0, 2.0],
    "gold": [2.0, 1.0, 2.0],
    "right": [4.0, 3.0, 6.0],
    "words": [5.0, 5.0, 6.0],
    "commonest": [2.0, 4.0, 3.0],
    "answer": [1.0, 2.0, 3.0],
}
TASK = Task(
    name="token-classification",
    auto_model="AutoModelForTokenClassification",
    auto_processor="AutoTokenizer",
    architectures=("ForTokenClassification",),
    pipeline_tag="token-classification",
    columns=(TOKENS, TAGS),
    metric="entity_f1",
    sample_outcomes=SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=8, sequence_length=64),
    first_recipe="bert_int8",
    call='model(**processor(["some", "words"], is_split_into_words=True, return_tensors="pt"))',
    load_processor=load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=text_classification.fixed,
    outcomes=outcomes,
    losses=losses,
    lengths=texts.lengths,
    made_up=made_up,
    answers=answers,
    natural=True,
    per_token=True,
)
