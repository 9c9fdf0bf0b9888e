"""Examples in the tokens of a trimmed vocabulary: the same text as the dense model's, scored per dense token."""

import math
from typing import Any

import datasets
import pytest

from compress.data.dataset import Dataset
from compress.data.tasks import task_of
from compress.data.tasks.windows import in_parts, windows, windows_like
from compress.data.workload import Workload
from compress.model.vocabulary import kept_ids, trimmed
from tests.made_models import llama
from tests.made_tokenizers import TEXT, byte_level, pieces

OTHER = "zebras galore, naïve café 🤯🤯 the story of 你好你好 and the end of it all was 12345 xylophones"


def pair(kind: str) -> tuple[Any, Any]:
    """A tokenizer, and the same one with the tokens of one text only."""
    dense = {"first token": byte_level, "no first token": lambda: byte_level(begin=False), "pieces": pieces}[kind]()
    kept = kept_ids(dense, dense(TEXT[0], add_special_tokens=False)["input_ids"])
    return dense, trimmed(dense, kept, "causal-lm")


@pytest.mark.parametrize("stride", [15, 4, 1])
@pytest.mark.parametrize("kind", ["first token", "no first token", "pieces"])
@pytest.mark.parametrize("text", [*TEXT, OTHER, "zz zzz " * 40])
def test_windows_are_of_the_same_text_and_every_token_is_scored_once(text: str, kind: str, stride: int) -> None:
    dense, own = pair(kind)
    prefix = [] if kind == "no first token" else [dense.bos_token_id]
    theirs = list(windows(text, dense, prefix, 15, stride))
    ours = list(windows_like(text, own, dense, 15, stride))
    assert len(ours) == len(theirs)
    assert [row["tokens"] for row in ours] == [len(row["input_ids"]) - row["context"] for row in theirs]
    assert [row["text"] for row in ours] == [row["text"] for row in theirs]
    ids = own(text, add_special_tokens=False)["input_ids"]
    scored = [id for row in ours for id in row["input_ids"][row["context"] :]]
    if prefix:
        assert scored == ids
        assert all(row["input_ids"][0] == own.bos_token_id for row in ours)
    else:
        assert all(row["context"] >= 1 for row in ours)
        assert set(scored) <= set(ids)
    whole = own.convert_ids_to_tokens(ids)
    joined = "".join(whole)
    for row in ours:  # what is read is a piece of the text, without a gap
        assert "".join(own.convert_ids_to_tokens(row["input_ids"][len(prefix) :])) in joined


def test_a_text_of_kept_tokens_has_the_same_windows() -> None:
    dense, own = pair("first token")
    kept = kept_ids(dense, dense(TEXT[0])["input_ids"])
    theirs = list(windows(TEXT[0], dense, [dense.bos_token_id], 5, 5))
    for ours, row in zip(windows_like(TEXT[0], own, dense, 5, 5), theirs, strict=True):
        assert [kept[id] for id in ours.pop("input_ids")] == row.pop("input_ids")
        assert ours.pop("tokens") == 5 or ours is not None
        assert ours == row


def test_a_longer_first_token_without_one_before_it_counts_no_dense_token_that_it_covers() -> None:
    """ab|c of the trimmed tokenizer against a|bc: of bc only c is predicted, so no dense token is counted for it."""
    from tests.data.test_tasks import bytes_tokenizer

    dense = bytes_tokenizer(begin=False)

    class Pairs:
        """Two letters a token."""

        def __call__(self, text: str, **_: Any) -> Any:
            starts = range(0, len(text), 2)
            ids = [ord(text[start]) for start in starts]
            return {"input_ids": ids, "offset_mapping": [(start, min(start + 2, len(text))) for start in starts]}

    (row,) = windows_like("abcd", Pairs(), dense, 8, 8)
    assert row == {"text": "cd", "input_ids": [97, 99], "context": 1, "bytes": 2, "tokens": 2}


def workload(task: str, **settings: Any) -> Workload:
    fields = {"multiple-choice": {"text": "query", "label": "gold"}, "cloze": {"text": "context"}}.get(task, {})
    return Workload(
        task=task, model="m", dataset=Dataset(path="d", train=None, **fields), **{"max_length": 48, **settings}
    )


def test_perplexity_is_per_dense_token_and_the_remark_has_the_ratio() -> None:
    dense, own = pair("first token")
    task, raw = task_of("causal-lm"), datasets.Dataset.from_dict({"text": [OTHER]})
    assert task.prepare_like is not None
    found = task.prepare_like(raw, own, workload("causal-lm"), llama().config, dense)
    theirs = task.prepare(raw, dense, workload("causal-lm"), llama().config)
    tokens = [len(ids) - context for ids, context in zip(theirs["input_ids"], theirs["context"], strict=True)]
    own_tokens = sum(len(ids) - context for ids, context in zip(found["input_ids"], found["context"], strict=True))
    assert own_tokens > sum(tokens)
    rows = task.rows(found)
    outcomes = task.answers({"nll": [1.0] * len(rows), "tokens": [9.0] * len(rows)}, found)
    assert outcomes["tokens"] == tokens
    assert math.isclose(sum(outcomes["bytes"]), len(OTHER.encode()))
    assert f"{own_tokens / sum(tokens):.3f} times the tokens of the dense model" in found.info.description
    ids = dense(OTHER, add_special_tokens=False)["input_ids"]
    gone = sum(token not in own.get_vocab() for token in dense.convert_ids_to_tokens(ids))
    assert 0 < gone < len(ids)
    assert f"lacks {gone} of the {len(ids)} tokens of the test split, written with" in found.info.description
    same = task.prepare_like(
        datasets.Dataset.from_dict({"text": [TEXT[0]]}), own, workload("causal-lm"), llama().config, dense
    )
    assert "takes as many tokens" in same.info.description
    kept = len(dense(TEXT[0], add_special_tokens=False)["input_ids"])
    assert f"lacks none of the {kept} tokens of the test split" in same.info.description


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("length", [8, 9, 12, 20, 37])
def test_a_window_of_more_tokens_than_positions_is_read_in_parts_that_score_each_token_once(
    length: int, first: int
) -> None:
    ids = list(range(length))
    found = list(in_parts(ids, 1, first, 8))
    assert [id for part, context in found for id in part[context:]] == ids[1:]
    assert all(len(part) <= 8 for part, _ in found)
    assert all(part[:first] == ids[:first] and context >= 1 for part, context in found)
    assert all(context >= 4 for _, context in found[1:])  # what is scored later has half of the positions before it
    assert list(in_parts(ids, 1, first, None)) == [(ids, 1)]


def test_a_window_read_in_parts_is_one_example() -> None:
    dense, own = pair("first token")
    raw, config = datasets.Dataset.from_dict({"text": ["the story of the actors " * 20]}), llama().config
    task = task_of("causal-lm")
    assert task.prepare_like is not None
    found = task.prepare_like(raw, own, workload("causal-lm", max_length=66), config, dense)
    theirs = task.prepare(raw, dense, workload("causal-lm", max_length=66), config)
    rows = task.rows(found)
    assert len(found) == len(theirs) < len(rows)
    assert max(task.lengths(rows)) <= config.max_position_embeddings == 66
    assert "longer than its 66 positions and are read in parts" in found.info.description
    outcomes = task.answers({"nll": [1.0] * len(rows), "tokens": [9.0] * len(rows)}, found)
    assert outcomes["nll"] == [float(len(parts)) for parts in found["rows"]]
    assert sum(outcomes["tokens"]) == sum(map(len, theirs["input_ids"])) - sum(theirs["context"])


def test_choices_and_clozes_are_scored_by_the_lengths_of_the_dense_model() -> None:
    dense, own = pair("first token")
    rows = {
        "query": ["an actor"], "context": ["an actor"], "choices": [["is great", "is poor, quite dull"]],
        "continuation": ["was great"], "gold": [0],
    }  # fmt: skip
    raw, config = datasets.Dataset.from_dict(rows), llama().config
    for task, settings in (("multiple-choice", {"normalization": "tokens"}), ("cloze", {})):
        declared, view = task_of(task), workload(task, **settings)
        assert declared.prepare_like is not None
        found = declared.prepare_like(raw, own, view, config, dense)
        theirs = declared.prepare(raw, dense, view, config)
        assert len(found["input_ids"][0]) > len(theirs["input_ids"][0])
        assert found["tokens"][0] == len(theirs["input_ids"][0]) - theirs["context"][0]
        if task == "multiple-choice":
            assert found["lengths"] == theirs["lengths"]
        else:
            answers = declared.answers({"nll": [1.0], "tokens": [9.0], "greedy": [1.0]}, found)
            assert answers["tokens"] == [float(found["tokens"][0])]
        assert "likelihoods are of whole texts" in found.info.description
        tokens = dense.convert_ids_to_tokens(theirs["input_ids"][0])
        gone = sum(token not in own.get_vocab() for token in tokens)
        assert f"lacks {gone} of the {len(tokens)} tokens of the test split" in found.info.description
