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

from compress.base.config import InputError
from compress.data.bad_rows import refuse, shown
from compress.data.tasks import numbers, sentence_similarity, sentences, text_classification, texts
from compress.data.tasks.labels import require_column
from compress.data.tasks.ranks import ndcg, recall, reciprocal_rank
from compress.data.tasks.task import Column, Outcomes, Search, WorkloadView

if TYPE_CHECKING:
    import datasets
    import numpy as np

IDS = ("_id", "id")
QUERY_IDS, TEXT_IDS, GRADES = ("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "docid"), ("score", "grade")
QUERY = Column("text", "text", ("text", "query", "question"), described="the query, and the text in the corpus")
CUTOFFS = (10, 100)
AT_ONCE = 256
"""Queries whose similarities are computed at a time."""


def judged(queries: "datasets.Dataset", qrels: "datasets.Dataset", workload: WorkloadView) -> "datasets.Dataset":
    """Return the queries with a relevant text: their text, and the ids and grades of the texts judged for them.

    Raises BadRows for judgements without a grade, of an unknown query, or given twice.
    """
    import datasets

    ids = _ids(queries, "queries")
    texts.text_column(queries, workload.dataset.text, "text")
    columns = [_column(qrels, names, "qrels") for names in (QUERY_IDS, TEXT_IDS, GRADES)]
    found: dict[str, dict[str, float]] = {query: {} for query in ids}
    problems = []
    for row, (query, text, grade) in enumerate(zip(*(qrels[column] for column in columns), strict=True)):
        query, text, number = str(query), str(text), numbers.number(grade)
        if query not in found:
            problems.append(
                (row, f"qrels: {columns[0]} {shown(query)} is not the id of a query; add it, or drop the row")
            )
        elif number is None or number < 0:
            problems.append((row, f"qrels: {columns[2]} is {shown(grade)}; expected a grade of at least 0"))
        elif found[query].setdefault(text, number) != number:
            problems.append((row, f"qrels: {shown(text)} has two grades for query {shown(query)}; expected one"))
    refuse(problems)
    kept = [row for row, query in enumerate(ids) if any(found[query].values())]
    if not kept:
        raise InputError("qrels: no query has a text of a grade above 0; expected judgements of the queries")
    return datasets.Dataset.from_dict(
        {
            workload.dataset.text: [queries[workload.dataset.text][row] for row in kept],
            "judged": [list(found[ids[row]]) for row in kept],
            "grades": [list(found[ids[row]].values()) for row in kept],
        },
        info=datasets.DatasetInfo(description=f"{len(kept)} of {len(ids)} queries are judged"),
    )


def prepare_search(
    queries: "datasets.Dataset", corpus: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any
) -> "datasets.Dataset":
    """Return texts, queries first: text, input_ids, (token_type_ids), and of queries the rows and grades judged.

    A text of the corpus follows its title, if it has one. Raises BadRows for judged texts that the corpus lacks.
    """
    import datasets

    own = sentences.settings_of(config)
    places = {text: row for row, text in enumerate(_ids(corpus, "corpus"))}
    refuse(
        (row, f"its judged text {shown(text)} is not in the corpus; add it, or drop it from the qrels")
        for row, each in enumerate(queries["judged"])
        for text in each
        if text not in places
    )
    parts = {"query": texts.text_column(queries, workload.dataset.text, "text"), "document": _texts(corpus, workload)}
    columns: dict[str, list[Any]] = {"text": [], "judged": [], "grades": []}
    notes = [f"vectors: {own}", f"{len(parts['query'])} queries, {len(places)} texts", queries.info.description]
    for kind, given in parts.items():
        encoded, cut = sentences.encode(given, processor, workload, own, kind)
        text_classification.refuse_without_text(encoded["input_ids"], processor)
        columns["text"] += given
        for name, values in encoded.items():
            columns.setdefault(name, []).extend(values)
        notes += [f"{cut} of the {kind} texts are cut at max_length {workload.max_length}"] if cut else []
    empty: list[list[Any]] = [[]] * len(places)
    columns["judged"] = [[places[text] for text in each] for each in queries["judged"]] + empty
    columns["grades"] = list(queries["grades"]) + empty
    columns["similarity"] = [own.similarity] * len(columns["text"])
    notes.append(text_classification.padding_note(processor))
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description="; ".join(filter(None, notes))))


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return texts alone, as training and calibration take them: text, input_ids, (token_type_ids)."""
    import datasets

    given = texts.text_column(raw, workload.dataset.text, "text")
    encoded, _ = sentences.encode(given, processor, workload, sentences.settings_of(config), "document")
    text_classification.refuse_without_text(encoded["input_ids"], processor)
    return datasets.Dataset.from_dict({"text": given, **encoded})


def _texts(corpus: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return the texts of a corpus, each after its title, as BEIR joins them."""
    given = texts.text_column(corpus, workload.dataset.text, "text")
    if "title" not in corpus.column_names:
        return given
    return [f"{title or ''} {text}".strip() for title, text in zip(corpus["title"], given, strict=True)]


def _ids(table: "datasets.Dataset", what: str) -> list[str]:
    """Return the ids of a table's rows as text. Raises BadRows for one that occurs twice."""
    column = _column(table, IDS, what)
    ids = [str(value) for value in table[column]]
    first: dict[str, int] = {}
    refuse(
        (row, f"{what}: {column} {shown(value)} is also that of row {first[value]}; expected ids of their own")
        for row, value in enumerate(ids)
        if first.setdefault(value, row) != row
    )
    return ids


def _column(table: "datasets.Dataset", names: Sequence[str], what: str) -> str:
    found = next((name for name in names if name in table.column_names), None)
    if found is None:
        require = ", ".join(table.column_names)
        raise InputError(f"{what}: has no column {names[0]} (BEIR's form); it has {require}: rename one")
    return found


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
    """Return the figures of each query's order of the corpus, those of a random order, and the row of its first text."""
    import numpy as np

    vectors = np.asarray(outcomes["vector"], dtype=np.float64)  # [queries and texts, width]
    count = sum(bool(each) for each in examples["judged"])
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
    own, random = (
        {
            "reciprocal_rank": reciprocal_rank(grades, each),
            "ndcg_at_10": ndcg(grades, each),
            **{f"recall_at_{cutoff}": recall(grades, each, cutoff) for cutoff in CUTOFFS},
        }
        for each in (scores, [0.0] * len(grades))
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
    search=Search(judged, prepare_search),
)
