"""The three tables of a search, as BEIR writes them: queries, a corpus, and judgements of their pairs (qrels).

    queries  _id, text            ->  judged queries: text, and places in the corpus with their grades
    qrels    query-id, corpus-id, score
    corpus   _id, (title), text   ->  texts, after the queries in the prepared examples

Each table has an error of its own for bad rows, with its file and the row.
"""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import BadRows, placed, refuse, shown
from compress.data.spacing import spaced_rows
from compress.data.tasks import numbers, sentences, text_classification, texts
from compress.data.tasks.task import Table
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets

IDS = ("_id", "id")
QUERY_IDS, TEXT_IDS, GRADES = ("query-id", "query_id", "qid"), ("corpus-id", "corpus_id", "docid"), ("score", "grade")


def judged(queries: Table, qrels: Table, workload: WorkloadView) -> "datasets.Dataset":
    """Return the queries with a relevant text: their text, and for each judged text its id, its grade and its place.

    Raises InputError for queries without a text or with the id of another one, and for judgements without a grade, of
    an unknown query, or with another grade before.
    """
    import datasets

    with placed(queries.name, queries.place):
        ids = _ids(queries.rows)
        given = texts.text_column(queries.rows, workload.dataset.text, "text")
        refuse((row, "its text is empty; remove the query") for row, text in enumerate(given) if not text.strip())
    with placed(qrels.name, qrels.place):
        found = _judgements(qrels.rows, ids)
    kept = [row for row, query in enumerate(ids) if any(grade > 0 for grade, _ in found[query].values())]
    if not kept:
        raise InputError(f"{qrels.name}: no query has a text with a grade above 0; expected judgements of the queries")
    of_kept = [found[ids[row]] for row in kept]
    without = len(ids) - len(kept)
    note = f"{without} of {len(ids)} queries have no relevant text and are left out" if without else ""
    return datasets.Dataset.from_dict(
        {
            workload.dataset.text: [given[row] for row in kept],
            "judged": [list(each) for each in of_kept],
            "grades": [[grade for grade, _ in each.values()] for each in of_kept],
            "places": [[f"{qrels.name} {qrels.place(row)}" for _, row in each.values()] for each in of_kept],
        },
        info=datasets.DatasetInfo(description=note),
    )


def _judgements(qrels: "datasets.Dataset", ids: Sequence[str]) -> dict[str, dict[str, tuple[float, int]]]:
    """Return query -> text -> grade and row of the judgement, by their ids. Raises BadRows."""
    columns = [_column(qrels, names) for names in (QUERY_IDS, TEXT_IDS, GRADES)]
    found: dict[str, dict[str, tuple[float, int]]] = {query: {} for query in ids}
    problems = []
    for row, (query, text, grade) in enumerate(zip(*(qrels[column] for column in columns), strict=True)):
        number = numbers.number(grade)
        if str(query) not in found:
            problems.append((row, f"{columns[0]} {shown(query)} is not the id of a query; add it, or remove the row"))
        elif number is None or number < 0:
            problems.append((row, f"{columns[2]} is {shown(grade)}; expected a grade of at least 0"))
        elif found[str(query)].setdefault(str(text), (number, row))[0] != number:
            grades = f"{number:g}, and {found[str(query)][str(text)][0]:g} in an earlier row"
            problems.append((row, f"{shown(text)} has the grade {grades} for query {shown(query)}; expected one grade"))
    refuse(problems)
    return found


def prepare(
    queries: "datasets.Dataset", corpus: Table, processor: Any, workload: WorkloadView, config: Any
) -> "datasets.Dataset":
    """Return texts, queries first: text, input_ids, (token_type_ids), and of queries the rows and grades judged.

    A text of the corpus follows its title, if it has one. Raises InputError for judged texts that the corpus lacks.
    """
    import datasets

    own = sentences.settings_of(config)
    asked = texts.text_column(queries, workload.dataset.text, "text")
    with placed(corpus.name, corpus.place):
        rows = {text: row for row, text in enumerate(_ids(corpus.rows))}
        documents = _documents(corpus.rows, workload.dataset.text)
    _refuse_missing(queries, rows, corpus.name)
    columns: dict[str, list[Any]] = {"text": [*asked, *documents]}
    notes = [f"vectors: {own}", f"{len(asked)} queries, {len(documents)} texts", queries.info.description]
    empty = [row for row, text in enumerate(documents) if not text]
    if empty:
        notes.append(f"{len(empty)} texts of {corpus.name} are empty, first {corpus.place(empty[0])}")
    for kind, given, name in (("query", asked, "queries"), ("document", documents, corpus.name)):
        encoded, cut = sentences.encode(given, processor, workload, own, kind)
        with placed(name, corpus.place):
            text_classification.refuse_without_text(encoded["input_ids"], processor)
        for column, values in encoded.items():
            columns.setdefault(column, []).extend(values)
        notes += [f"{cut} of the {kind} texts are cut at max_length {workload.max_length}"] if cut else []
    unjudged: list[list[Any]] = [[]] * len(documents)
    columns["judged"] = [[rows[text] for text in each] for each in queries["judged"]] + unjudged
    columns["grades"] = list(queries["grades"]) + unjudged
    columns["is_query"] = [True] * len(asked) + [False] * len(documents)
    columns["similarity"] = [own.similarity] * len(columns["text"])
    notes.append(text_classification.padding_note(processor))
    return datasets.Dataset.from_dict(columns, info=datasets.DatasetInfo(description="; ".join(filter(None, notes))))


def fewer(examples: "datasets.Dataset", most: int) -> "datasets.Dataset":
    """Return a smaller search of at most `most` texts: evenly spaced queries, half of them, and texts of the corpus.

    Judgements of texts that are left out are dropped: its answers can be compared, its figures are of no use.
    """
    if len(examples) <= most:
        return examples
    count = sum(examples["is_query"])
    queries = spaced_rows(count, most // 2)
    documents = spaced_rows(len(examples) - count, most - len(queries))
    places = {row: place for place, row in enumerate(documents)}
    chosen = examples.select([*queries, *(count + row for row in documents)])

    def kept(row: dict[str, Any]) -> dict[str, Any]:
        pairs = [each for each in zip(row["judged"], row["grades"], strict=True) if each[0] in places]
        return {"judged": [places[text] for text, _ in pairs], "grades": [grade for _, grade in pairs]}

    found = [kept(row) for row in chosen.select_columns(["judged", "grades"])]
    smaller = chosen.to_dict() | {name: [row[name] for row in found] for name in ("judged", "grades")}
    return type(examples).from_dict(smaller, features=examples.features)


def _refuse_missing(queries: "datasets.Dataset", known: Container[str], corpus: str) -> None:
    """Raise InputError for judged texts that the corpus lacks, with the rows of the judgements."""
    pairs = zip(queries["judged"], queries["places"], strict=True)
    judgements = [each for texts, places in pairs for each in zip(texts, places, strict=True)]
    missing = [
        (number, f"its text {shown(text)} is not in {corpus}; add it, or remove the judgement")
        for number, (text, _) in enumerate(judgements)
        if text not in known
    ]
    if missing:
        raise InputError(BadRows(missing, lambda number: judgements[number][1]).problems)


def _documents(corpus: "datasets.Dataset", column: str) -> list[str]:
    """Return the texts of a corpus, each after its title, as BEIR joins them."""
    given = texts.text_column(corpus, column, "text")
    titles = corpus["title"] if "title" in corpus.column_names else [None] * len(given)
    return [f"{title or ''} {text}".strip() for title, text in zip(titles, given, strict=True)]


def _ids(rows: "datasets.Dataset") -> list[str]:
    """Return the ids of a table's rows as text. Raises BadRows for one that occurs twice."""
    column = _column(rows, IDS)
    refuse((row, f"its {column} is null; expected an id") for row, value in enumerate(rows[column]) if value is None)
    ids = [str(value) for value in rows[column]]
    first: dict[str, int] = {}
    refuse(
        (row, f"{column} {shown(value)} is the id of an earlier row too; expected ids of their own")
        for row, value in enumerate(ids)
        if first.setdefault(value, row) != row
    )
    return ids


def _column(rows: "datasets.Dataset", names: Sequence[str]) -> str:
    found = next((name for name in names if name in rows.column_names), None)
    if found is None:
        raise InputError(f"has no column {names[0]} (BEIR's form); it has {', '.join(rows.column_names)}: rename one")
    return found
