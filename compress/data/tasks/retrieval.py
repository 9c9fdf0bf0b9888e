"""Retrieval: the texts of a corpus in the order of their similarity to a query, judged by graded relevance (BEIR).

    queries  -> vectors \
                          similarities [queries, texts] -> nDCG@10, recall@10 and @100, reciprocal rank of each query
    corpus   -> vectors /

Prepared examples are texts: first the judged queries, then the whole corpus. Answers are of queries. Calibration,
training and operating points are of texts, queries and corpus alike: state a point for each, since a corpus is encoded
once in large batches, and queries one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.data.tasks import search_tables, sentence_similarity, sentences, text_classification, texts
from compress.data.tasks.columns import Column
from compress.data.tasks.ranks import ndcg, recall, reciprocal_rank
from compress.data.tasks.task import Outcomes, Search
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import numpy as np

QUERY = Column("text", "text", ("text", "query", "question"), described="the query, and the text in the corpus")
CUTOFFS = (10, 100)
AT_ONCE = 256
"""Queries whose similarities are computed at a time."""


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return texts alone, as training and calibration take them: text, input_ids, (token_type_ids)."""
    import datasets

    given = texts.text_column(raw, workload.dataset.text, "text")
    encoded, _ = sentences.encode(given, processor, workload, sentences.settings_of(config), "document")
    text_classification.refuse_without_text(encoded["input_ids"], processor)
    return datasets.Dataset.from_dict({"text": given, **encoded})


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = texts.text_problems(model, processor, examples, workload)
    problems += texts.padding_problems(model, processor)
    problems = problems or sentences.length_problems(model, processor, workload)
    similarity = sentences.settings_of(model.config).similarity
    if similarity not in SIMILARITIES:
        problems.append(f"compares vectors by {similarity}; expected {' or '.join(SIMILARITIES)}")
    return problems


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return the figures of each query's order of the corpus, those of a random order, and the row of its first text.

    A text with the id of the query is ranked as any other.
    """
    import numpy as np

    vectors = np.asarray(outcomes["vector"], dtype=np.float64)  # [queries and texts, width]
    count = sum(examples["is_query"])
    queries, corpus = vectors[:count], vectors[count:]
    similarity = SIMILARITIES[examples["similarity"][0]]
    judgements = list(zip(examples["judged"][:count], examples["grades"][:count], strict=True))
    found: dict[str, list[float]] = {name: [] for name in SAMPLE_OUTCOMES}
    for start in range(0, count, AT_ONCE):
        similar = similarity(queries[start : start + AT_ONCE], corpus)
        for (rows, values), scores in zip(judgements[start : start + AT_ONCE], similar, strict=True):
            grades = np.zeros(len(corpus))
            grades[rows] = values
            for name, figure in figures(grades, scores).items():
                found[name].append(figure)
    return found


def figures(grades: "np.ndarray", scores: "np.ndarray") -> dict[str, float]:
    """Return the figures of one query: of an order of texts by scores, and of a random order."""
    import numpy as np

    own, random = (
        {
            "reciprocal_rank": reciprocal_rank(grades, each),
            "ndcg_at_10": ndcg(grades, each),
            **{f"recall_at_{cutoff}": recall(grades, each, cutoff) for cutoff in CUTOFFS},
        }
        for each in (scores, np.zeros_like(scores))
    )
    return {**own, **{f"random_{name}": value for name, value in random.items()}, "answer": float(scores.argmax())}


def cosine(queries: "np.ndarray", corpus: "np.ndarray") -> "np.ndarray":
    """Return the cosines [queries, texts]; 0 for vectors of zeros."""
    return dot(*(_unit(each) for each in (queries, corpus)))


def dot(queries: "np.ndarray", corpus: "np.ndarray") -> "np.ndarray":
    """Return the dot products [queries, texts]."""
    found: np.ndarray = queries @ corpus.T
    return found


def _unit(vectors: "np.ndarray") -> "np.ndarray":
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = vectors / np.where(lengths == 0, 1.0, lengths)
    return found


SIMILARITIES = {"cosine": cosine, "dot": dot}
"""Similarity of vectors in a folder of sentence-transformers -> function; models that rank by others are refused."""
SAMPLE_OUTCOMES: Outcomes = {
    "reciprocal_rank": [1.0, 0.5, 0.25],
    "ndcg_at_10": [1.0, 0.63, 0.43],
    "recall_at_10": [1.0, 1.0, 0.5],
    "recall_at_100": [1.0, 1.0, 1.0],
    "random_reciprocal_rank": [0.5, 0.5, 0.4],
    "random_ndcg_at_10": [0.6, 0.6, 0.5],
    "random_recall_at_10": [0.5, 0.5, 0.5],
    "random_recall_at_100": [1.0, 1.0, 1.0],
    "answer": [0.0, 1.0, 2.0],
}
TASK = replace(
    sentence_similarity.TASK,
    name="retrieval",
    columns=(QUERY,),
    metric="ndcg_at_10",
    sample_outcomes=SAMPLE_OUTCOMES,
    configure=sentences.configure_search,
    settings=sentences.SEARCH_SETTINGS,
    check=check,
    prepare=prepare,
    fixed=text_classification.fixed,
    made_up=texts.made_up,
    rows=text_classification.TASK.rows,
    answers=answers,
    trains_on_rows=False,
    search=Search(search_tables.judged, search_tables.prepare, search_tables.fewer),
)
