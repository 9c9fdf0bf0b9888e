"""Retrieval: figures of queries by hand, the three tables, and bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.tasks import retrieval, search_tables, task_of
from compress.data.template import init
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.similar import CORPUS, NEW, QRELS, QUERIES, encoder, write_encoder, write_search

TASK = task_of("retrieval")


def opened(path: Path) -> tuple[Any, Any, Any]:
    source = locate.resolve(Workload.load(path))
    model, processor = loading.load_model(source)
    return model, processor, source


def examples_of(path: Path, limit: int | None = None) -> Any:
    model, processor, source = opened(path)
    return loading.load_examples(source, "test", processor, model.config, limit=limit)


def test_vectors_are_compared_by_direction() -> None:
    """Silent error 6: nDCG@10 is 1, and 0.6309 by dot products of vectors that are not normalised."""
    documents, query = np.array([[0.9, 0.1], [5.0, 5.0], [0.8, 0.3]]), np.array([[1.0, 0.0]])
    grades = np.array([1.0, 0.0, 0.0])
    assert retrieval.figures(grades, retrieval.cosine(query, documents)[0])["ndcg_at_10"] == 1.0
    assert retrieval.figures(grades, retrieval.dot(query, documents)[0])["ndcg_at_10"] == pytest.approx(
        0.6309, abs=1e-4
    )


def test_gain_is_the_grade_itself() -> None:
    """Silent error 6b: 0.6704 by linear gain, 0.62 by 2^grade - 1."""
    found = retrieval.figures(np.array([3.0, 0.0, 2.0, 1.0]), np.array([0.2, 0.9, 0.8, 0.1]))
    assert found["ndcg_at_10"] == pytest.approx(0.6704, abs=1e-4)
    assert found["answer"] == 1.0 and found["reciprocal_rank"] == 0.5


def test_recall_is_a_share_of_all_relevant_texts() -> None:
    grades, scores = np.zeros(200), np.linspace(1, 0, 200)
    grades[[0, 9, 10, 150]] = [1, 3, 1, 2]
    found = retrieval.figures(grades, scores)
    assert (found["recall_at_10"], found["recall_at_100"]) == (0.5, 0.75)
    assert found["random_recall_at_10"] == pytest.approx(10 / 200)


def test_figures_of_queries_equal_a_literal_ranking(tmp_path: Path) -> None:
    model, processor, source = opened(write_search(tmp_path))
    examples = loading.load_examples(source, "test", processor, model.config)
    assert examples["text"][:3] == ["good film", "lovely scene", "the film was very good"]
    note = "2 queries, 4 texts; 1 of 3 queries have no relevant text and are left out"
    assert note in examples.info.description
    loading.check(source, model, processor, examples)
    found = evaluate(model, TASK, examples, processor, torch.device("cpu"), 4).outcomes
    plain = encoder()

    def vector(text: str) -> torch.Tensor:
        batch = processor(text, return_tensors="pt")
        with torch.no_grad():
            mean = plain(**{n: batch[n] for n in ("input_ids", "attention_mask")}).last_hidden_state[0].mean(dim=0)
        return mean / mean.norm()

    titled = [f"{title or ''} {text}".strip() for title, text in zip(CORPUS["title"], CORPUS["text"], strict=True)]
    for row, (query, right, grades) in enumerate((("good film", 0, [2, 0, 0, 0]), ("lovely scene", 3, [0, 0, 0, 1]))):
        scores = [float(vector(query) @ vector(text)) for text in titled]
        rank = sorted(range(4), key=lambda place: -scores[place]).index(right) + 1
        assert found["reciprocal_rank"][row] == pytest.approx(1 / rank)
        assert found["ndcg_at_10"][row] == pytest.approx(1 / np.log2(1 + rank))
        assert max(grades) > 0 and found["recall_at_10"][row] == 1.0


def test_prompts_of_queries_and_texts_differ(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "the ", "passage": "a "}, "default_prompt_name": None}
    write_encoder(tmp_path / "model", **{"config_sentence_transformers.json": prompts})
    model, processor, source = opened(write_search(tmp_path))
    examples = loading.load_examples(source, "test", processor, model.config)
    first = [processor.decode(ids).split()[1] for ids in examples["input_ids"]]
    assert first == ["the", "the", "a", "a", "a", "a"]


def test_prompts_that_are_not_pooled_have_one_length(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "the film ", "passage": "a "}}
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    files = {"config_sentence_transformers.json": prompts, "1_Pooling/config.json": pooling}
    write_encoder(tmp_path / "model", **files)
    with pytest.raises(InputError, match="have 3 and 2 tokens, which its pooling leaves out"):
        opened(write_search(tmp_path))


def test_a_model_that_ranks_by_dot_products_is_judged_by_them(tmp_path: Path) -> None:
    changed = {**NEW["config_sentence_transformers.json"], "similarity_fn_name": "dot"}
    write_encoder(tmp_path / "model", **{"config_sentence_transformers.json": changed})
    model, processor, source = opened(write_search(tmp_path))
    assert set(loading.load_examples(source, "test", processor, model.config)["similarity"]) == {"dot"}
    changed["similarity_fn_name"] = "euclidean"
    (tmp_path / "model" / "config_sentence_transformers.json").write_text(json.dumps(changed))
    model, processor, source = opened(tmp_path / "search.yaml")
    with pytest.raises(InputError, match="compares vectors by euclidean; expected cosine or dot"):
        loading.check(source, model, processor, loading.load_examples(source, "test", processor, model.config))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown query": (
        {"qrels": {**QRELS, "query-id": ["1", "9", "2"]}},
        "qrels.parquet row 1: query-id '9' is not the id of a query",
    ),
    "unknown text": (
        {"qrels": {**QRELS, "corpus-id": ["d1", "d2", "d9"]}},
        "qrels.parquet row 2: its text 'd9' is not in corpus.parquet",
    ),
    "no grade": (
        {"qrels": {**QRELS, "score": ["2", "high", "1"]}},
        "qrels.parquet row 1: score is 'high'; expected a grade",
    ),
    "negative": (
        {"qrels": {**QRELS, "score": [2, -1, 1]}},
        "qrels.parquet row 1: score is -1; expected a grade of at least 0",
    ),
    "two grades": (
        {"qrels": {**QRELS, "corpus-id": ["d1", "d1", "d4"]}},
        "qrels.parquet row 1: 'd1' has the grade 0, and 2 in an earlier row for query '1'; expected one grade",
    ),
    "none relevant": (
        {"qrels": {**QRELS, "score": [0, 0, 0]}},
        "qrels.parquet: no query has a text with a grade above 0",
    ),
    "no qrels": ({"dataset": {"qrels": None}}, "qrels: not set; set dataset.qrels to its file"),
    "no qrels file": ({"dataset": {"qrels": "judged.tsv"}}, "no qrels 'judged.tsv'; the folder holds corpus.parquet"),
    "no corpus file": ({"dataset": {"corpus": "texts"}}, "no corpus 'texts'; the folder holds corpus.parquet"),
    "no queries": ({"dataset": {"test": "questions"}}, "no test 'questions'; the folder holds corpus.parquet"),
    "one file": ({"dataset": {"path": "data/queries.parquet"}}, "one file; expected a folder with the queries"),
    "no ids": (
        {"corpus": {"name": ["d1", "d2"], "text": ["a", "b"]}},
        "corpus.parquet: has no column _id (BEIR's form); it has name, text",
    ),
    "ids twice": (
        {"corpus": {**CORPUS, "_id": ["d1", "d2", "d4", "d4"]}},
        "corpus.parquet row 3: _id 'd4' is the id of an earlier row too",
    ),
    "queries twice": (
        {"queries": {**QUERIES, "_id": ["1", "2", "2"]}},
        "queries.parquet row 2: _id '2' is the id of an earlier row too",
    ),
    "null id": ({"corpus": {**CORPUS, "_id": ["d1", "d2", None, "d4"]}}, "corpus.parquet row 2: its _id is null"),
    "no query": (
        {"queries": {**QUERIES, "text": ["good film", " ", "unjudged"]}},
        "queries.parquet row 1: its text is empty",
    ),
    "null text": (
        {"corpus": {**CORPUS, "text": ["a", None, "a", "a"]}},
        "corpus.parquet: text column 'text': row 1 is",
    ),
    "all texts empty": (
        {"corpus": {**CORPUS, "title": [""] * 4, "text": [""] * 4}},
        "corpus.parquet: all 4 texts are empty",
    ),
    "no texts": ({"corpus": {name: [] for name in CORPUS}}, "corpus.parquet is empty"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tables_are_refused_with_file_and_row(kind: str, tmp_path: Path) -> None:
    changes, expected = BAD[kind]
    path = write_search(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        examples_of(path)
    assert expected in str(caught.value), str(caught.value)
    assert len(caught.value.problems) == 1


def test_rows_of_text_files_are_named_by_their_line(tmp_path: Path) -> None:
    tables = {"test": "queries", "corpus": "corpus", "qrels": "qrels/test.tsv"}
    path = write_search(tmp_path, corpus={**CORPUS, "_id": ["d1", "d2", "d3", "d1"]}, beir=True, dataset=tables)
    with pytest.raises(InputError, match=r"corpus\.jsonl line 4: _id 'd1' is the id of an earlier row too"):
        examples_of(path)
    bad = {**QRELS, "corpus-id": ["d1", "d2", "d9"]}
    path = write_search(tmp_path, qrels=bad, beir=True, dataset=tables)
    with pytest.raises(InputError, match=r"qrels/test\.tsv row 2: its text 'd9' is not in corpus\.jsonl"):
        examples_of(path)


def test_empty_texts_are_ranked_and_counted(tmp_path: Path) -> None:
    corpus = {**CORPUS, "title": ["", "", "", ""], "text": ["was very good", "", "the end", "lovely"]}
    assert (
        "1 texts of corpus.parquet are empty, first row 1"
        in examples_of(write_search(tmp_path, corpus=corpus)).info.description
    )


def test_other_tasks_read_one_table(tmp_path: Path) -> None:
    path = write_search(tmp_path, task="text-classification")
    with pytest.raises(ValueError, match="text-classification reads one table; only retrieval has several"):
        Workload.load(path)


def test_a_limit_takes_queries_and_leaves_the_corpus_whole(tmp_path: Path) -> None:
    examples = examples_of(write_search(tmp_path), limit=1)
    assert examples["text"][0] == "good film" and len(examples) == 1 + len(CORPUS["_id"])


def test_a_smaller_search_keeps_the_judgements_of_its_texts(tmp_path: Path) -> None:
    model, processor, source = opened(write_search(tmp_path))
    whole = loading.load_examples(source, "test", processor, model.config)
    assert search_tables.fewer(whole, 6) is whole
    smaller = search_tables.fewer(whole, 5)
    assert smaller["text"] == [*whole["text"][:2], *(whole["text"][2 + row] for row in (0, 1, 2))]
    assert (smaller["judged"][:2], smaller["grades"][:2]) == ([[0, 1], []], [[2, 0], []])
    found = evaluate(model, TASK, smaller, processor, torch.device("cpu"), 1).outcomes
    assert [len(values) for values in found.values()] == [2] * len(found)
    assert all(0 <= row < 3 for row in found["answer"])


@pytest.mark.parametrize("beir", [True, False], ids=["BEIR", "parquet"])
def test_init_finds_the_three_tables(beir: bool, tmp_path: Path) -> None:
    write_search(tmp_path, beir=beir)
    text = init(str(tmp_path / "model"), str(tmp_path / "data"), "retrieval")
    qrels = "qrels/test.tsv" if beir else "qrels"
    assert "  train: null" in text and "  test: queries\n  text: text\n  corpus: corpus\n" in text
    assert f"  qrels: {qrels}\nmetric: ndcg_at_10\n" in text
    (tmp_path / "found.yaml").write_text(text)
    examples = examples_of(tmp_path / "found.yaml")
    assert examples["text"][:2] == ["good film", "lovely scene"] and examples["grades"][:2] == [[2, 0], [1]]


def test_init_names_what_a_folder_lacks(tmp_path: Path) -> None:
    write_search(tmp_path)
    (tmp_path / "data" / "qrels.parquet").unlink()
    text = init(str(tmp_path / "model"), str(tmp_path / "data"), "retrieval")
    assert "  qrels: qrels  # not found: name its file\n" in text
    (tmp_path / "data" / "queries.parquet").unlink()
    with pytest.raises(InputError, match=r"no test split; the folder holds corpus\.parquet; expected .* named queries"):
        init(str(tmp_path / "model"), str(tmp_path / "data"), "retrieval")
