"""stdlib-search: halves of functions, a contrastive loss, and the level that the trained model reaches."""

import math
from pathlib import Path

import pytest
import torch

from compress.data import loading, locate, offline
from compress.data.offline import search, text
from compress.data.offline.search import Pair
from compress.data.sentences import settings
from compress.data.workload import Workload

SOURCE = '''
@first
@second
def one(a):

    """Text."""
    b = a

    def inner():
        return b
    return inner

class Kept:
    def two(self):
        return 2
    async def three(self, x):
        y = x
        return y
'''


def test_functions_have_their_decorators_their_inner_functions_and_no_empty_lines() -> None:
    found = list(search.functions(SOURCE, 3))
    assert found[0] == [
        "@first", "@second", "def one(a):", '    """Text."""', "    b = a", "    def inner():", "        return b",
        "    return inner",
    ]  # fmt: skip
    assert found[1:] == [["async def three(self, x):", "    y = x", "    return y"]]
    assert search.cut(found[1]) == Pair("async def three(self, x):", "    y = x\n    return y")
    assert search.cut(found[1], 2) == Pair("async def three(self, x):\n    y = x", "    return y")


def test_no_half_of_the_test_occurs_twice_or_in_the_training() -> None:
    def function(name: str, *lines: str) -> str:
        return "\n".join((f"def {name}():", *(f"    {line}" for line in lines), ""))

    shared = ["d = 4", "e = 5", "f = 6"]
    files = [
        (function("a", "b = 2", "c = 3", *shared), False),
        ("no python", False),
        (function("g", "h = 2", "i = 3", *shared), True),  # its second half is one of the training
        (function("j", "k = 2", "l = 3", "m = 4", "n = 5", "o = 6") * 2, True),  # the same function twice
        (function("p", "q = 2"), True),  # too short
        (function("r", "s = 2"), False),  # too short for halves of two lines, but three lines are enough to train on
        (function("t", "u = 2", "v = 3"), False),
    ]
    train, test = search.split(iter(files))
    assert [lines[0] for lines in train] == ["def a():", "def t():"]
    assert [pair.query.split("\n")[0] for pair in test] == ["def j():"]


def test_the_tables_are_a_search_with_one_relevant_text_for_each_query() -> None:
    tables = search.search_tables([Pair("a", "b"), Pair("c", "d")])
    assert tables["test"].to_dict() == {"_id": ["0", "1"], "text": ["a", "c"]}
    assert tables["corpus"].to_dict() == {"_id": ["0", "1"], "text": ["b", "d"]}
    assert tables["qrels"].to_dict() == {"query-id": ["0", "1"], "corpus-id": ["0", "1"], "score": [1, 1]}


def test_the_loss_is_that_of_finding_each_part_among_all() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(2)), dim=-1)
    queries, documents = vectors[:3].tolist(), vectors[3:].tolist()

    def found(one: list[float], among: list[list[float]], right: int) -> float:
        scores = [sum(a * b for a, b in zip(one, each, strict=True)) / 0.25 for each in among]
        return math.log(sum(map(math.exp, scores))) - scores[right]

    losses = [found(queries[i], documents, i) + found(documents[i], queries, i) for i in range(3)]
    assert float(search.contrast(vectors, 0.25)) == pytest.approx(sum(losses) / 6, rel=1e-5)


def test_the_model_is_a_folder_of_sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    tiny = search.Settings(vocabulary=512, hidden=32, heads=2, intermediate=32, steps=1)
    monkeypatch.setattr(search, "SETTINGS", tiny)
    found = settings.of_folder(offline.ensure("stdlib-search") / "model")
    assert found is not None
    assert (found.pooling, found.normalize, found.max_length) == (("mean",), True, 64)


@pytest.mark.long
def test_the_full_size_encoder_ranks_far_better_than_chance_and_worse_than_tfidf() -> None:
    """nDCG@10 by independent code; TF-IDF of the words reaches more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    train, test = search.split(text.files())
    model, processor = loading.load_model(locate.resolve(Workload.load("stdlib-search")))

    def vectors(texts: list[str]) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat(
                [
                    model(**processor(texts[i : i + 32], padding=True, truncation=True, return_tensors="pt")).logits
                    for i in range(0, len(texts), 32)
                ]
            ).double()

    words = TfidfVectorizer(lowercase=False).fit(["\n".join(lines) for lines in train])
    queries, documents = [pair.query for pair in test], [pair.document for pair in test]
    own = vectors(queries) @ vectors(documents).T
    plain = torch.as_tensor((words.transform(queries) @ words.transform(documents).T).toarray())
    assert 0.40 <= ndcg(own) < ndcg(plain)


def ndcg(similar: torch.Tensor) -> float:
    """Mean of 1 / log2(1 + rank) of the own document, if among the first ten; similar [queries, documents]."""
    ranks = 1 + (similar > similar.diagonal()[:, None]).sum(1).double()
    return float(torch.where(ranks <= 10, 1 / torch.log2(1 + ranks), 0.0).mean())
