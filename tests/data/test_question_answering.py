"""Questions: their windows, the best answer over all of them, no answer, and which rows are refused."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from compress.analysis import metrics
from compress.base.config import InputError
from compress.data import live, template
from compress.data.dataset import Dataset
from compress.data.formats.readers import read_files
from compress.data.point import OperatingPoint
from compress.data.tasks import overlap, spans, task_of
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.asked import questions, reader, tokenizer

TASK = task_of("question-answering")
CONTEXT = "the old house near a river and winter"


def own(max_length: int = 32, doc_stride: int | None = 2, **changes: Any) -> Workload:
    spec = Dataset(path="d", text="question", text_pair="context", label="answers")
    fields = {"doc_stride": doc_stride, **changes}
    return Workload(task="question-answering", model="m", dataset=spec, max_length=max_length, **fields)


def prepared(rows: list[dict[str, Any]], **how: Any) -> datasets.Dataset:
    return TASK.prepare(datasets.Dataset.from_list(rows), tokenizer(), own(**how), None)


def asked(answers: Any, context: Any = CONTEXT, question: Any = "who ?") -> dict[str, Any]:
    return {"question": question, "context": context, "answers": answers}


def at(text: str, context: str = CONTEXT) -> dict[str, list[Any]]:
    return {"text": [text], "answer_start": [context.index(text)]}


NOTHING: dict[str, list[Any]] = {"text": [], "answer_start": []}


def answered(examples: datasets.Dataset, logits: list[np.ndarray]) -> dict[str, Any]:
    """Outcomes of a model with these logits [1 + context tokens, 2] of every window."""
    return dict(TASK.answers({"scores": [np.asarray(each, np.float32) for each in logits]}, examples))


def test_windows_of_a_long_context_share_tokens_and_label_the_answer() -> None:
    examples = prepared([asked(at("river"))], max_length=10)  # [CLS] who ? [SEP] five tokens [SEP]
    (windows,) = examples["rows"]
    words = [tokenizer().decode(ids).replace("[CLS] who ? [SEP] ", "").replace(" [SEP]", "") for ids in windows]
    assert words == ["the old house near a", "near a river and winter"]
    nothing, found = examples["targets"][0]
    assert nothing == [3, -100, -100, -100, 0, 0, 0, 0, 0, -100]
    assert found == [0, -100, -100, -100, 0, 0, 3, 0, 0, -100]
    assert examples["input_ids"][0] == windows[1], "timing runs the window with the answer"
    assert examples["types"][0][0] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert examples.info.description.startswith("2.000 windows per question (2 of 1); costs are per window; every")


@pytest.mark.parametrize(("stride", "holding"), [(3, 2), (0, 0)])
def test_an_answer_across_the_border_of_windows_needs_their_overlap(stride: int, holding: int) -> None:
    context = "house near river and winter music born was lives old"
    examples = prepared([asked(at("winter music born", context), context)], max_length=10, doc_stride=stride)
    labels = examples["targets"][0]
    if stride:  # windows of five begin at 0, 2, 4 and 6: those from 2 and from 4 hold tokens 4 to 6
        assert len(labels) >= 3
    assert sum(row[0] == 0 for row in labels) == holding


def test_windows_are_compared_by_raw_scores() -> None:
    context = "old river"  # windows of [first token, two words] with the logits of the table of silent errors
    examples = prepared([asked(at("old river", context), context)])
    two = datasets.Dataset.from_list(
        [{**examples[0], "begins": [[0, 4]] * 2, "ends": [[3, 9]] * 2}], features=examples.features
    )
    first, second = np.array([[1, 0], [6, 5.5], [5.5, 6]]), np.array([[2, 2], [0, 0], [0, 0]])

    def softmax(row: np.ndarray) -> np.ndarray:
        return np.exp(row) / np.exp(row).sum(axis=0)

    sure = [
        max(softmax(each)[i, 0] * softmax(each)[j, 1] for i in range(3) for j in range(i, 3))
        for each in (first, second)
    ]
    assert round(float(sure[0]), 3) == 0.385 and round(float(sure[1]), 3) == 0.619, "softmax would take the second"
    for order in ([first, second], [second, first]):
        found = spans.best(order, 30)
        assert found is not None
        assert found == (12.0, 0 if order[0] is first else 1, 0, 1)
        assert answered(two, order)["em"] == [1.0]


def test_the_best_span_is_that_of_all_pairs() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        windows = [
            draw.normal(size=(1 + draw.integers(1, 9), 2)).astype(np.float32) for _ in range(draw.integers(1, 4))
        ]
        longest = int(draw.integers(1, 6))
        pairs = {
            (number, i - 1, j - 1): float(each[i, 0]) + float(each[j, 1])
            for number, each in enumerate(windows)
            for i, j in itertools.product(range(1, len(each)), repeat=2)
            if i <= j < i + longest
        }
        assert spans.best(windows, longest) == (max(pairs.values()), *max(pairs, key=pairs.__getitem__))


def test_no_answer_needs_every_window_to_have_none() -> None:
    rows = [asked(at("river")), asked(NOTHING)]
    examples = prepared(rows, max_length=10)
    lacking, holding = np.zeros((6, 2)), np.zeros((6, 2))
    lacking[0], lacking[2], holding[0], holding[3] = 5, 0.1, 1, 4  # "old", which is no article, and "river"
    found = answered(examples, [lacking, holding, lacking, lacking])
    assert found["em"] == found["f1"] == [1.0, 1.0]
    assert found["no_answer"] == [0.0, 1.0] and len(set(found["answer"])) == 2
    never = answered(prepared(rows, max_length=10, null_threshold=100), [lacking, holding, lacking, lacking])
    assert never["em"] == [1.0, 0.0]
    always = answered(prepared(rows, max_length=10, null_threshold=-100), [lacking, holding, lacking, lacking])
    assert always["em"] == [0.0, 1.0]


def test_a_split_without_such_questions_is_always_answered() -> None:
    examples = prepared([asked(at("river"))], max_length=10)
    lacking, holding = np.zeros((6, 2)), np.zeros((6, 2))
    lacking[0], holding[0], holding[3] = 9, 9, 4
    assert answered(examples, [lacking, holding])["em"] == [1.0]


def test_an_answer_is_at_most_so_many_tokens() -> None:
    scores = np.zeros((9, 2))
    scores[1, 0], scores[8, 1], scores[2, 1] = 5, 5, 1
    found = answered(prepared([asked(at(CONTEXT))]), [scores])
    assert found["em"] == [1.0]
    assert answered(prepared([asked(at("the old"))], longest_answer=2), [scores])["f1"] == [1.0]  # score 6


def test_scores_that_are_not_finite_are_no_answer() -> None:
    scores = np.zeros((9, 2))
    scores[4, 1] = np.nan
    found = answered(prepared([asked(NOTHING), asked(at("river"))]), [scores, np.zeros((9, 2))])
    assert found["em"] == [0.0, 0.0] and found["answer"][0] == -1


def test_token_types_separate_question_and_context() -> None:
    model, examples = reader(), TASK.rows(prepared(questions(8, 3)))
    batch = TASK.collate(list(examples), tokenizer())
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    kinds = inputs["token_type_ids"] + 2 * (1 - inputs["attention_mask"])
    separators = (inputs["input_ids"] == 3).cumsum(dim=1) - (inputs["input_ids"] == 3).int()
    assert torch.equal(kinds == 1, (separators == 1) & (inputs["attention_mask"] == 1))
    with torch.no_grad():
        given = model(**inputs).start_logits
        without = model(**{**inputs, "token_type_ids": torch.zeros_like(kinds)}).start_logits
    assert not torch.allclose(given, without, atol=1e-3)


def test_evaluation_equals_a_loop_over_questions() -> None:
    model, tokens, rows = reader(), tokenizer(), questions(24, 4, unanswerable=0.3)
    examples = prepared(rows, max_length=24, doc_stride=6)
    found = evaluate(model, TASK, examples, tokens, torch.device("cpu"), 5).outcomes
    given: dict[float, str] = {}
    for number, row in enumerate(rows):
        encoded = tokens(
            row["question"], row["context"], truncation="only_second", max_length=24, stride=6,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        spots: dict[str, float] = {}
        nulls: list[float] = []
        for window, ids in enumerate(encoded["input_ids"]):
            with torch.no_grad():
                out = model(
                    torch.tensor([ids]), token_type_ids=torch.tensor([encoded["token_type_ids"][window]])
                )  # fmt: skip
            start, end = out.start_logits[0].tolist(), out.end_logits[0].tolist()
            nulls.append(start[0] + end[0])
            places, parts = encoded["offset_mapping"][window], encoded.sequence_ids(window)
            inside = [i for i, part in enumerate(parts) if part == 1]
            for i, j in itertools.product(inside, repeat=2):
                if i <= j < i + 30:
                    spots[row["context"][places[i][0] : places[j][1]]] = max(
                        start[i] + end[j], spots.get(row["context"][places[i][0] : places[j][1]], -1e9)
                    )
        answer = max(spots, key=spots.__getitem__)
        answer = "" if min(nulls) > spots[answer] else answer
        expected = overlap.scores(answer, overlap.references(row["answers"]["text"]))
        assert (found["em"][number], found["f1"][number]) == expected
        assert given.setdefault(found["answer"][number], answer) == answer
    assert len(given) > 5


def test_the_loss_is_that_of_start_and_end_over_possible_tokens() -> None:
    batch = TASK.collate(list(TASK.rows(prepared([asked(at("river and")), asked(NOTHING)]))), tokenizer())
    torch.manual_seed(0)
    logits = torch.randn(*batch["input_ids"].shape, 2)
    sums, counts = TASK.losses(logits, batch["labels"])
    expected = []
    for row, (first, last) in enumerate([(9, 10), (0, 0)]):  # [CLS] who ? [SEP] the old house near a river and winter
        possible = [i for i in range(logits.shape[1]) if batch["labels"][row, i] != -100]
        parts = [torch.log_softmax(logits[row, possible, part], 0) for part in (0, 1)]
        expected.append(-(parts[0][possible.index(first)] + parts[1][possible.index(last)]) / 2)
    assert torch.allclose(sums.float(), torch.stack(expected)) and counts.tolist() == [1, 1]


def test_a_window_that_is_cut_within_its_answer_has_none() -> None:
    (row,) = TASK.rows(prepared([asked(at("river and"))]))
    cut = {name: value[:10] for name, value in row.items()}
    _, places = TASK.aligned(torch.zeros(1, 10, 2), TASK.collate([cut], tokenizer())["labels"])
    assert places.tolist() == [[0, 0]]


def test_training_rows_are_windows_and_timing_batches_have_the_points_shape() -> None:
    examples = prepared(questions(8, 3), max_length=24)
    assert TASK.rows(examples).column_names == ["input_ids", "token_type_ids", "labels"]
    assert len(TASK.rows(examples)) == sum(map(len, examples["rows"]))
    (batch,) = TASK.fixed(examples, tokenizer(), OperatingPoint(batch_size=3, sequence_length=20), 1, 0)
    assert {tuple(value.shape) for value in batch.values()} == {(3, 20)} and "token_type_ids" in batch


def test_metrics_are_means_over_questions() -> None:
    found = {"em": [1.0, 0.0], "f1": [1.0, 0.5], "no_answer": [0.0, 0.0], "context_f1": [0.0, 0.0]}
    assert metrics.compute("f1", found) == 0.75 and metrics.compute("exact_match", found) == 0.5
    assert metrics.compute("f1", {"prediction": [1, 0], "reference": [1, 1]}) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="needs em; the task gives predictions, references"):
        metrics.compute("exact_match", {"prediction": [1], "reference": [1]})


REFUSED: dict[str, tuple[Any, str]] = {
    "elsewhere": (asked({"text": ["river"], "answer_start": [3]}), r"its context has ' old ' at answer_start 3; "
                  r"expected 'river', and it is at 21: correct answer_start \(a count of characters"),
    "nowhere": (asked({"text": ["lake"], "answer_start": [4]}), "it is nowhere in the context"),
    "hidden": (asked(None), "its answers are null, as in hidden test sets"),
    "no starts": (asked({"text": ["river"], "answer_start": []}), "it has 1 answers, but 0 answer_start"),
    "blank": (asked({"text": [" "], "answer_start": [3]}), "an answer is ' '; expected text, and empty lists"),
    "below 0": (asked({"text": ["the"], "answer_start": [-1]}), "answer_start is -1; expected the number of"),
    "question": (asked(at("river"), question="  "), "its question is empty; expected text: remove the row"),
    "context": (asked(NOTHING, context=""), "its context is empty"),
    "long question": (asked(at("river"), question="who " * 27), "its question leaves 2 of max_length 32 tokens for "
                      "the context; expected more than doc_stride 2: raise max_length, lower doc_stride, or remove"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_row_that_is_no_question_is_refused(kind: str) -> None:
    row, expected = REFUSED[kind]
    with pytest.raises(InputError, match=f"row 1: .*{expected}"):
        prepared([asked(at("river")), row])


def test_answers_of_another_type_are_refused() -> None:
    rows = [asked("river"), asked("winter")]
    with pytest.raises(InputError, match=r"its answers are 'river'; expected {text"):
        prepared(rows)
    with pytest.raises(InputError, match="none of the 2 questions has an answer"):
        prepared([asked({"text": list[str](), "answer_start": list[int]()})] * 2)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        TASK.prepare(datasets.Dataset.from_list([asked(at("river"))]), SimpleNamespace(is_fast=False), own(), None)
    bare = own().model_copy(update={"dataset": Dataset(path="d", text="question", label="answers")})
    with pytest.raises(InputError, match=r"dataset.text_pair is not set; expected the column of the context"):
        TASK.prepare(datasets.Dataset.from_list([asked(at("river"))]), tokenizer(), bare, None)
    with pytest.raises(ValueError, match="doc_stride 17: windows of max_length 32 would mostly repeat each other"):
        own(doc_stride=17)
    with pytest.raises(ValueError, match="doc_stride 4: text-classification has no such setting"):
        Workload(task="text-classification", model="m", dataset=Dataset(path="d"), doc_stride=4)


def test_a_model_with_too_few_positions_is_refused() -> None:
    model, examples = reader(), prepared(questions(4, 3))
    assert TASK.check(model, tokenizer(), examples, own()) == []
    (problem,) = TASK.check(model, tokenizer(), examples, own(max_length=96))
    assert "reads at most 64 tokens, but max_length is 96; set max_length to 64" in problem
    model.config.num_labels = 3
    assert "has 3 outputs for each token; expected 2" in TASK.check(model, tokenizer(), examples, own())[0]


def test_squads_own_file_is_read_and_lists_of_answers_are_equal(tmp_path: Path) -> None:
    rows = questions(5, 3, unanswerable=0.4)
    asked_of = [
        {"id": r["id"], "question": r["question"], "is_impossible": not r["answers"]["text"],
         "answers": [{"text": t, "answer_start": s} for t, s in zip(*r["answers"].values(), strict=True)]}
        for r in rows
    ]  # fmt: skip
    paragraphs = [{"context": r["context"], "qas": [qa]} for r, qa in zip(rows, asked_of, strict=True)]
    nested = {"version": "v2.0", "data": [{"title": "made", "paragraphs": paragraphs}]}
    lined = "\n".join(json.dumps({"context": r["context"], **qa}) for r, qa in zip(rows, asked_of, strict=True))
    expected = prepared(rows)
    for name, text in (
        ("test.json", json.dumps(nested)),
        ("dev.json", json.dumps(nested, indent=1)),
        ("test.jsonl", lined),
    ):
        (tmp_path / name).write_text(text)
        raw = read_files([tmp_path / name], own().dataset)
        assert TASK.prepare(raw, tokenizer(), own(), None).to_dict() == expected.to_dict()
    (tmp_path / "bad.json").write_text(json.dumps({"data": [{"title": "made", "paragraphs": 3}]}))
    with pytest.raises(InputError, match=r"bad\.json: article 1: its paragraphs are a int; expected data"):
        read_files([tmp_path / "bad.json"], own().dataset)


def test_init_writes_its_columns_and_length(tmp_path: Path) -> None:
    reader().save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_list(questions(4, 3)).to_parquet(tmp_path / "data" / "test.parquet")
    text = template.init(str(tmp_path / "model"), str(tmp_path / "data"), TASK.name)
    lines = ("text: question", "text_pair: context", "label: answers", "metric: f1", "max_length: 64")
    assert [line for line in lines if line not in text] == []


def test_live_data_has_the_default_columns() -> None:
    examples = live.prepare(TASK.made_up(), TASK.name, tokenizer(), reader())
    assert len(examples) == 3 and all(map(len, examples["input_ids"]))  # its rows: one window each
