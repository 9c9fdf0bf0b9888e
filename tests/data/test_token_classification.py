"""Tags of words: what is judged, what the data's tags mean, and which rows are refused."""

from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from seqeval.metrics import accuracy_score, f1_score
from transformers import PreTrainedTokenizerFast

from compress.analysis import metrics
from compress.base.config import InputError
from compress.data.dataset import Dataset
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.tagged import OTHER_ORDER, TAGS, sentences, tagger, tokenizer

TASK = task_of("token-classification")


def own(max_length: int = 32, metric: str = "", **dataset: Any) -> Workload:
    columns = {"text": "tokens", "label": "ner_tags", **dataset}
    spec = Dataset(path="d", **columns)
    return Workload(task="token-classification", model="m", dataset=spec, max_length=max_length, metric=metric)


def raw(tokens: list[list[str]], tags: list[list[Any]], names: tuple[str, ...] | None = None) -> datasets.Dataset:
    found = datasets.Dataset.from_dict({"tokens": tokens, "ner_tags": tags})
    return found.cast_column("ner_tags", datasets.List(datasets.ClassLabel(names=list(names)))) if names else found


def prepared(tokens: list[list[str]], tags: list[list[Any]], **how: Any) -> datasets.Dataset:
    model = SimpleNamespace(id2label=dict(enumerate(how.pop("model", TAGS))))
    given = raw(tokens, tags, how.pop("names", None))
    return TASK.prepare(given, tokenizer(), own(**how), model)


def scored(examples: datasets.Dataset, predicted: list[list[int]]) -> dict[str, float]:
    """The metrics of a model that predicts these tags for the tokens of every row, all in one batch."""
    batch = TASK.collate(list(examples), tokenizer())
    logits = torch.zeros(*batch["input_ids"].shape, 5)
    for row, tags in enumerate(predicted):
        for place, tag in enumerate(tags):
            logits[row, place, tag] = 1
    found = TASK.answers(TASK.outcomes(logits, batch), examples)
    return {name: metrics.compute(name, found) for name in ("entity_f1", "token_accuracy")}


def test_a_words_first_piece_is_judged_and_no_other() -> None:
    examples = prepared([["wolfgang", "mozart", "in", "salzburg"]], [["B-PER", "I-PER", "O", "B-LOC"]])
    assert examples["labels"] == [[-100, 1, -100, 2, -100, 0, 3, -100, -100]]
    wrong_pieces = [0, 1, 2, 2, 2, 0, 3, 4, 0]  # as in B-PER I-PER | I-PER I-PER | O | B-LOC I-LOC
    assert scored(examples, [wrong_pieces]) == {"entity_f1": 1.0, "token_accuracy": 1.0}


def test_words_beyond_max_length_count_as_missed() -> None:
    words, tags = ["old", "in", "old", "in", "old", "in", "old", "in", "old"], ["B-LOC", "O"] * 4 + ["B-LOC"]
    examples = prepared([words], [tags], max_length=8)  # [CLS], six words, [SEP]
    assert examples["judged"] == [[0, 1, 2, 3, 4, 5]]
    found = scored(examples, [[0, 3, 0, 3, 0, 3, 0, 0]])
    full = [["B-LOC", "O", "B-LOC", "O", "B-LOC", *["O"] * 4]]
    assert found["entity_f1"] == 0.75 == pytest.approx(f1_score([tags], full))
    assert found["token_accuracy"] == pytest.approx(6 / 9)
    assert examples.info.description == "3 words beyond max_length 8, or without a token, count as missed"


def test_an_entity_across_the_cut_is_not_found() -> None:
    examples = prepared([["old"] * 7], [["O"] * 5 + ["B-LOC", "I-LOC"]], max_length=8)
    assert scored(examples, [[0] * 6 + [3, 0]])["entity_f1"] == 0


def test_special_tokens_and_padding_are_not_counted() -> None:
    long = ["old"] * 8
    examples = prepared([["the", "old", "house", "in"], long], [["B-PER", "I-PER", "I-PER", "B-PER"], ["O"] * 8])
    alone = examples.select([0])
    found = TASK.answers(outcomes_of(examples, [[0, 1, 0, 2, 0, 0, 0, 0, 0, 0], [0] * 10]), examples)
    assert (found["right"][0], found["words"][0]) == (2, 4)  # CLS, SEP and four PAD would give 0.8
    assert scored(alone, [[0, 1, 0, 2, 0, 0]])["token_accuracy"] == 0.5


def outcomes_of(examples: datasets.Dataset, predicted: list[list[int]]) -> Any:
    batch = TASK.collate(list(examples), tokenizer())
    return TASK.outcomes(torch.nn.functional.one_hot(torch.tensor(predicted), 5).float(), batch)


@pytest.mark.parametrize("kind", ["classes", "names", "ids"])
def test_the_datas_order_of_tags_is_not_the_models(kind: str) -> None:
    tags: list[Any] = {
        "classes": [1, 2, 0, 3],
        "names": ["B-PER", "I-PER", "O", "B-LOC"],
        "ids": [1, 3, 4, 0],  # without names of their own, numbers are the model's ids
    }[kind]
    names = TAGS if kind == "classes" else None
    examples = prepared([["old", "house", "in", "river"]], [tags], names=names, model=OTHER_ORDER)
    assert examples["tags"] == [[1, 3, 4, 0]]
    assert scored(examples, [[0, 1, 3, 4, 0, 0]]) == {"entity_f1": 1.0, "token_accuracy": 1.0}


def test_numbers_in_another_order_than_the_models_are_refused_if_o_shows_it() -> None:
    words, tags = [["old", "house", "in", "river"]], [[0, 0, 0, 3]]
    said = "as ids of the model 3 of 4 words are B-LOC; expected mostly O: write the names into the data, or set"
    with pytest.raises(InputError, match=said):
        prepared(words, tags, model=OTHER_ORDER)
    assert prepared(words, tags, model=OTHER_ORDER, labels="ids")["tags"] == tags
    note = "the tags are numbers without names, read as ids of the model: most words, 0, are O"
    assert prepared(words, tags).info.description == note


def test_a_model_that_does_not_name_its_tags_takes_the_datas_names_in_order() -> None:
    unnamed = tuple(f"LABEL_{number}" for number in range(5))
    examples = prepared([["old", "house"]], [[3, 4]], names=TAGS, model=unnamed)
    assert scored(examples, [[0, 3, 4, 0]])["entity_f1"] == 1
    assert "the data's classes are used in order: O, B-PER" in examples.info.description
    with pytest.raises(InputError, match="'B-LOC' is neither a number nor a label of the model"):
        prepared([["old"]], [["B-LOC"]], model=unnamed)


def test_a_word_without_a_token_shifts_no_other() -> None:
    examples = prepared([["old", "\u200b", "house", "in"]], [["O", "O", "B-LOC", "I-LOC"]])
    assert examples["judged"] == [[0, 2, 3]]
    assert scored(examples, [[0, 0, 3, 4, 0]]) == {"entity_f1": 1.0, "token_accuracy": 0.75}


def test_examples_give_the_f1_and_the_accuracy_of_seqeval_whatever_the_batches() -> None:
    data, model = sentences(50, seed=3), tagger()
    examples = TASK.prepare(datasets.Dataset.from_dict(data), tokenizer(), own(), model.config)
    found = [evaluate(model, TASK, examples, tokenizer(), torch.device("cpu"), size).outcomes for size in (1, 7, 64)]
    assert found[0] == found[1] == found[2]
    predicted = []
    with torch.no_grad():
        for words in data["tokens"]:
            encoded = tokenizer()(words, is_split_into_words=True, return_tensors="pt")
            tags, ids = model(**encoded).logits[0].argmax(-1).tolist(), encoded.word_ids(0)
            predicted.append([TAGS[tags[ids.index(word)]] for word in range(len(words))])
    gold = data["ner_tags"]
    assert metrics.compute("entity_f1", found[0]) == pytest.approx(f1_score(gold, predicted), abs=1e-12)
    assert metrics.compute("token_accuracy", found[0]) == pytest.approx(accuracy_score(gold, predicted), abs=1e-12)
    assert len(set(found[0]["answer"])) > 40  # sentences with other tags have other numbers


def test_an_answer_that_is_not_finite_is_no_tag() -> None:
    examples = prepared([["old", "house"]], [["B-LOC", "O"]])
    batch = TASK.collate(list(examples), tokenizer())
    found = TASK.answers(TASK.outcomes(torch.full((1, 4, 5), torch.nan), batch), examples)
    assert (found["tp"], found["predicted"], found["gold"], found["right"]) == ([0.0], [0.0], [1.0], [0.0])


class XLNetLikeTokenizer(PreTrainedTokenizerFast):
    """A tokenizer of a model that is trained with padding on the left."""


def test_labels_are_padded_on_the_side_of_their_tokens() -> None:
    examples = prepared([["old"], ["wolfgang", "in", "old"]], [["B-LOC"], ["B-PER", "O", "O"]])
    right = TASK.collate(list(examples), tokenizer())
    assert right["labels"].tolist() == [[-100, 3, -100, -100, -100, -100], [-100, 1, -100, 0, 0, -100]]
    left = TASK.collate(list(examples), tokenizer(XLNetLikeTokenizer))
    assert left["labels"].tolist() == [[-100, -100, -100, -100, 3, -100], [-100, 1, -100, 0, 0, -100]]
    assert left["attention_mask"].tolist()[0] == [0, 0, 0, 1, 1, 1]


def test_losses_are_those_of_the_model_over_judged_tokens() -> None:
    data, model = sentences(9, seed=4), tagger()
    examples = TASK.prepare(datasets.Dataset.from_dict(data), tokenizer(), own(), model.config)
    batch = TASK.collate(list(examples), tokenizer())
    with torch.no_grad():
        output = model(**batch)
    sums, counted = TASK.losses(output.logits, batch["labels"])
    assert counted.tolist() == [len(words) for words in data["tokens"]]
    assert float(sums.sum() / counted.sum()) == pytest.approx(float(output.loss), rel=1e-5)


def test_timing_batches_have_the_asked_shape_and_no_labels() -> None:
    examples = prepared(sentences(20, 5)["tokens"], sentences(20, 5)["ner_tags"])
    (batch,) = TASK.fixed(examples, tokenizer(), OperatingPoint(batch_size=4, sequence_length=16), 1, 0)
    assert batch["input_ids"].shape == (4, 16) and "labels" not in batch
    assert TASK.headline == OperatingPoint(batch_size=8, sequence_length=64)


BAD: dict[str, tuple[list[Any], list[Any], str]] = {
    "lengths": ([["a"], ["a", "b"]], [["O"], ["O"]], "^row 1: it has 2 tokens, but 1 tags; expected one tag for each"),
    "no tokens": ([["a"], []], [["O"], []], "^row 1: it has no tokens; expected at least one"),
    "unknown tag": ([["a"], ["b"]], [["O"], ["B-GPE"]], "^row 1: label column 'ner_tags': 'B-GPE' is neither"),
    "id too large": ([["a"], ["b"]], [[0], [9]], "^row 1: label column 'ner_tags': label 9, but the model has 5"),
    "hidden": ([["a"], ["b"]], [[0], [-1]], "^row 1: its tags contain -1, as in hidden test sets"),
    "null": ([["a"], ["b", None]], [["O"], ["O", "O"]], "^row 1: its tokens contain null; expected words"),
    "text": (["a b"], [["O", "O"]], "^row 0: its tokens are 'a b'; expected a list, which csv and tsv cannot hold"),
    "no token known": ([["a"], ["\u200b"]], [["O"], ["O"]], "^row 1: its words have no token"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_row_that_is_no_tagged_words_is_named(kind: str) -> None:
    tokens, tags, expected = BAD[kind]
    with pytest.raises(InputError, match=expected) as raised:
        prepared(tokens, tags)
    assert len(raised.value.problems) == 1


def test_entities_need_tags_of_entities_and_some_of_them() -> None:
    model, words = tagger(("NOUN", "VERB", "ADJ")), [["old", "house"]]
    examples = TASK.prepare(raw(words, [["ADJ", "NOUN"]]), tokenizer(), own(), model.config)
    (problem,) = TASK.check(model, tokenizer(), examples, own())
    assert problem.startswith("has tags that are no entities, such as NOUN, VERB, ADJ; entity_f1 expects O, and B-")
    assert TASK.check(model, tokenizer(), examples, own(metric="token_accuracy")) == []
    outside = prepared(words, [["O", "O"]])
    (problem,) = TASK.check(tagger(), tokenizer(), outside, own())
    assert problem.startswith("finds no entity to judge: all tags of the 1 examples are O")


def test_a_byte_level_tokenizer_keeps_the_space_before_a_word(tmp_path: Any) -> None:
    from transformers import RobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", "o", "l", "d", "Ġo", "ld", "Ġold", "old"]
    merges = [("l", "d"), ("Ġ", "o"), ("Ġo", "ld"), ("o", "ld")]
    RobertaTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=merges).save_pretrained(tmp_path)
    stored = task_of("text-classification").load_processor(str(tmp_path))
    assert stored([["old", "old"]], is_split_into_words=True).tokens(0)[1:-1] == ["old", "old"]
    loaded = TASK.load_processor(str(tmp_path))
    assert loaded([["old", "old"]], is_split_into_words=True).tokens(0)[1:-1] == ["Ġold", "Ġold"]
    with pytest.raises(InputError, match="drops the space before a word; load it with add_prefix_space=True"):
        TASK.prepare(raw([["old"]], [["O"]]), stored, own(), tagger().config)
