"""Text ranking: the order of texts for a query, by the score that a model of pairs gives to each of them (rerankers).

    query, positives, negatives   ->   query [SEP] text   one row of a batch for each text   ->   logits [rows, 1]

Scores are the logits, as float64, never their sigmoid: it gives high scores the same value in low precision. Prepared
examples are pairs, so that calibration, training and operating points are of pairs; the answers are of queries.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from compress.data.bad_rows import refuse, shown
from compress.data.tasks import numbers, text_classification, text_regression, texts
from compress.data.tasks.columns import Column
from compress.data.tasks.labels import require_column
from compress.data.tasks.ranks import ndcg, reciprocal_rank
from compress.data.tasks.task import Batch, Outcomes
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

QUERY = Column("text", "text", ("query", "question", "anchor", "text"), described="the query")
POSITIVES = Column(
    "positives", "choices", ("positives", "positive", "pos", "relevant"), described="the list of relevant texts"
)
NEGATIVES = Column(
    "negatives", "choices", ("negatives", "negative", "neg", "hard_negatives"), described="the list of other texts"
)
GRADES = Column("grades", "choices", ("grades", "relevance"), optional=True, described="the grades of relevant texts")


@dataclass(frozen=True)
class Query:
    """A query with its texts."""

    text: str
    candidates: list[str]
    grades: list[float]
    """Relevance of each candidate; 0 for those that are not relevant."""


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and pairs, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor) + texts.end_problems(model, examples)
    outputs = int(getattr(model.config, "num_labels", 0))
    if outputs != 1:
        problems.append(
            f"has {outputs} outputs; expected 1 (num_labels in config.json), the score of a query and a text: set task "
            "to fit the model"
        )
    return problems


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return one row per query and text: text, input_ids, (token_type_ids), labels, grade and the query's number.

    labels is 1 for a relevant text, else 0. Raises BadRows for queries that cannot be ranked.
    """
    import datasets

    spec = workload.dataset
    queries = texts.text_column(raw, spec.text, "text")
    for column, field in ((spec.positives, "positives"), (spec.negatives, "negatives"), (spec.grades, "grades")):
        if column is not None:
            require_column(raw, column, field)
    grades = list(raw[spec.grades]) if spec.grades else [None] * len(queries)
    columns = zip(queries, raw[spec.positives], raw[spec.negatives], grades, strict=True)
    read = [_read(*row) for row in columns]
    refuse((row, reason) for row, reason in enumerate(read) if isinstance(reason, str))
    pairs = list(_pairs([query for query in read if isinstance(query, Query)]))
    encoded = processor(
        [pair["query"] for pair in pairs],
        [pair["candidate"] for pair in pairs],
        truncation=True,
        max_length=workload.max_length,
    )
    text_classification.refuse_without_text(encoded["input_ids"], processor)
    made: dict[str, list[Any]] = {
        "text": [f"{pair['query']} | {pair['candidate']}" for pair in pairs],
        "labels": [float(pair["grade"] > 0) for pair in pairs],
        "grade": [pair["grade"] for pair in pairs],
        "number": [pair["number"] for pair in pairs],
        **{name: encoded[name] for name in text_classification.INPUTS if name in encoded},
    }
    note = text_classification.padding_note(processor)
    return datasets.Dataset.from_dict(made, info=datasets.DatasetInfo(description=note))


def _pairs(queries: Sequence[Query]) -> Iterator[dict[str, Any]]:
    for number, query in enumerate(queries):
        for candidate, grade in zip(query.candidates, query.grades, strict=True):
            yield {"number": number, "query": query.text, "candidate": candidate, "grade": grade}


def _read(query: str, positives: Any, negatives: Any, grades: Any) -> Query | str:
    """Return a query with its texts, or the reason why they cannot be ranked."""
    lists = {"positives": _listed(positives), "negatives": _listed(negatives)}
    for name, values in lists.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            return f"its {name} are {shown(values)}; expected a list of texts"
        if any(not value.strip() for value in values):
            return f"its {name} contain an empty text; remove it"
    if not lists["positives"]:
        return "it has no positives; expected at least one relevant text: remove the row"
    given = [1.0] * len(lists["positives"]) if grades is None else [numbers.number(each) for each in _listed(grades)]
    known = [grade for grade in given if grade is not None and grade > 0]
    if len(known) != len(lists["positives"]):
        count = len(lists["positives"])
        return f"its grades are {shown(grades)}; expected a number above 0 for each of its {count} positives"
    found = Query(query, lists["positives"] + lists["negatives"], known + [0.0] * len(lists["negatives"]))
    if len(set(found.grades)) == 1:
        return "it has no negatives, so that any order of its texts is right: add negatives, or remove the row"
    return found


def _listed(value: Any) -> Any:
    """Return a single text or number as a list of it."""
    return [value] if isinstance(value, str | int | float) else value


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return the score of each pair."""
    return {"score": logits[:, 0].double().tolist()}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return the figures of each query's order of texts, those of a random order, and the number of its first text."""
    found: dict[str, list[float]] = {name: [] for name in SAMPLE_OUTCOMES}
    rows = zip(examples["number"], examples["grade"], outcomes["score"], strict=True)
    for _, group in groupby(rows, key=lambda row: row[0]):
        _, grades, scores = zip(*group, strict=True)
        equal = [0.0] * len(scores)
        figures = (
            reciprocal_rank(grades, scores),
            ndcg(grades, scores),
            reciprocal_rank(grades, equal),
            ndcg(grades, equal),
            float(scores.index(max(scores))),
        )
        for values, figure in zip(found.values(), figures, strict=True):
            values.append(figure)
    return found


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] binary cross entropies (nats) of scores [batch, 1], and [batch] counts (1 each); float64."""
    import torch
    from torch.nn import functional as F

    each = F.binary_cross_entropy_with_logits(logits[:, 0].float(), labels.float(), reduction="none").double()
    return each, torch.ones_like(each)


def made_up() -> "datasets.Dataset":
    """Return two queries with the columns of a live data set."""
    import datasets

    first, second, third = texts.MADE_UP
    return datasets.Dataset.from_dict(
        {"text": [third, first], "positives": [[first], [second]], "negatives": [[second], [third]]}
    )


SAMPLE_OUTCOMES: Outcomes = {
    "reciprocal_rank": [1.0, 0.5, 0.25],
    "ndcg_at_10": [1.0, 0.63, 0.43],
    "random_reciprocal_rank": [0.5, 0.5, 0.4],
    "random_ndcg_at_10": [0.6, 0.6, 0.5],
    "answer": [0.0, 1.0, 2.0],
}
TASK = replace(
    text_regression.TASK,
    name="text-ranking",
    pipeline_tag="text-ranking",
    columns=(QUERY, POSITIVES, NEGATIVES, GRADES),
    metric="ndcg_at_10",
    sample_outcomes=SAMPLE_OUTCOMES,
    call='model(**processor("a query", "a text", return_tensors="pt"))',
    check=check,
    prepare=prepare,
    outcomes=outcomes,
    answers=answers,
    losses=losses,
    made_up=made_up,
)
