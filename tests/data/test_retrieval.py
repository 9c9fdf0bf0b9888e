"""Retrieval: figures of queries by hand, the three tables, and bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.tasks import retrieval, task_of
from compress.data.template import init
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.similar import CORPUS, NEW, QRELS, encoder, write_encoder, write_search

TASK = task_of("retrieval")


def opened(path: Path) -> tuple[Any, Any, Any]:
    source = locate.resolve(Workload.load(path))
    model, processor = loading.load_model(source)
    return model, processor, source


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
    assert (
        "2 queries, 4 texts" in examples.info.description and "2 of 3 queries are judged" in examples.info.description
    )
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
        "row 1: qrels: query-id '9' is not the id of a query",
    ),
    "unknown text": (
        {"qrels": {**QRELS, "corpus-id": ["d1", "d2", "d9"]}},
        "judged query 1: its judged text 'd9' is not in the corpus",
    ),
    "no grade": ({"qrels": {**QRELS, "score": ["2", "high", "1"]}}, "row 1: qrels: score is 'high'; expected a grade"),
    "negative": (
        {"qrels": {**QRELS, "score": [2, -1, 1]}},
        "row 1: qrels: score is -1; expected a grade of at least 0",
    ),
    "two grades": (
        {"qrels": {**QRELS, "corpus-id": ["d1", "d1", "d4"]}},
        "row 1: qrels: 'd1' has two grades for query '1'",
    ),
    "none relevant": ({"qrels": {**QRELS, "score": [0, 0, 0]}}, "qrels: no query has a text of a grade above 0"),
    "no qrels": ({"dataset": {"qrels": None}}, "qrels: not set; set dataset.qrels to its file"),
    "no corpus file": ({"dataset": {"corpus": "texts"}}, "no corpus 'texts'"),
    "no ids": (
        {"corpus": {"name": ["d1", "d2"], "text": ["a", "b"]}},
        "corpus: has no column _id (BEIR's form); it has name, text",
    ),
    "ids twice": (
        {"corpus": {**CORPUS, "_id": ["d1", "d2", "d4", "d4"]}},
        "row 3: corpus: _id 'd4' is also that of row 2",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_tables_are_refused_with_the_row(kind: str, tmp_path: Path) -> None:
    changes, expected = BAD[kind]
    model, processor, source = opened(write_search(tmp_path, **changes))
    with pytest.raises(InputError) as caught:
        loading.load_examples(source, "test", processor, model.config)
    assert expected in str(caught.value), str(caught.value)


def test_init_finds_the_three_tables(tmp_path: Path) -> None:
    write_search(tmp_path)
    text = init(str(tmp_path / "model"), str(tmp_path / "data"), "retrieval")
    assert "test: queries" in text and "  corpus: corpus\n" in text and "  qrels: qrels\n" in text
    assert "metric: ndcg_at_10" in text
