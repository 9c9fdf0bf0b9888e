"""Similarity of sentences: rows, cosines and scores by hand, and bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from compress.analysis import metrics
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.bad_rows import BadRows
from compress.data.sentences.encoder import class_of
from compress.data.tasks import sentence_similarity, sentences, task_of, task_of_class
from compress.data.template import init
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.helpers import tokenizer
from tests.similar import encoder, pairs, write_encoder, write_pairs, write_similar

TASK = task_of("sentence-similarity")


def opened(path: Path) -> tuple[Any, Any, Any]:
    source = locate.resolve(Workload.load(path))
    model, processor = loading.load_model(source)
    return model, processor, source


def vector(model: Any, text: str, **how: Any) -> np.ndarray:
    """The vector of one text alone, by a literal mean over its tokens."""
    batch = tokenizer()(text, return_tensors="pt", truncation=True, max_length=24)
    with torch.no_grad():
        states = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).last_hidden_state[0]
    mean: np.ndarray = states.double().mean(dim=0).numpy()
    return mean


@pytest.mark.parametrize("generation", ["old", "new", "plain"])
def test_scores_are_the_cosines_of_texts_alone(generation: str, tmp_path: Path) -> None:
    path = write_similar(tmp_path, generation)
    model, processor, source = opened(path)
    examples = loading.load_examples(source, "test", processor, model.config)
    found = evaluate(model, TASK, examples, processor, torch.device("cpu"), 8)
    plain, data = encoder(), pairs(60, 2)
    expected = []
    for text, other in zip(data["text"], data["text_pair"], strict=True):
        a, b = vector(plain, text), vector(plain, other)
        expected.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert np.allclose(found.outcomes["score"], expected, atol=1e-6)
    assert found.outcomes["reference"] == data["label"]
    assert metrics.compute("spearman", found.outcomes) > 0.3


def test_cosines_do_not_depend_on_the_lengths_of_vectors() -> None:
    ours, theirs = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]), np.array([[40.0, 30.0], [1.0, 2.0], [np.nan, 0.0]])
    assert sentence_similarity.cosines(ours, theirs)[:2].tolist() == [0.96, 0.0]
    assert np.isnan(sentence_similarity.cosines(ours, theirs)[2])


def test_both_texts_of_an_example_are_rows(tmp_path: Path) -> None:
    model, processor, source = opened(write_similar(tmp_path))
    test = loading.load_examples(source, "test", processor, model.config, limit=2)
    assert TASK.rows(test)["text"] == [test["text"][0], test["text_pair"][0], test["text"][1], test["text_pair"][1]]
    train = loading.load_examples(source, "train", processor, model.config, limit=3)
    assert len(train) == 6 and "labels" not in train.column_names


def test_texts_alone_are_enough_for_training(tmp_path: Path) -> None:
    path = write_similar(tmp_path)
    write_pairs(tmp_path / "data", {"text": ["a good film", "the end"]}, pairs(8, 2))
    model, processor, source = opened(path)
    assert loading.load_examples(source, "train", processor, model.config)["text"] == ["a good film", "the end"]


def test_a_prompt_stands_before_every_text_and_may_be_left_out_of_the_mean(tmp_path: Path) -> None:
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    write_encoder(tmp_path / "model", **{"1_Pooling/config.json": pooling})
    model, processor, source = opened(write_similar(tmp_path, prompt="the story "))
    examples = loading.load_examples(source, "test", processor, model.config, limit=1)
    assert model.config.sentence_encoder["skipped"] == 3  # [CLS] the story
    ids = examples["input_ids"][0]
    assert processor.decode(ids).split()[:3] == ["[CLS]", "the", "story"]
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids])).logits[0]
        states = encoder()(input_ids=torch.tensor([ids])).last_hidden_state[0, 3:].mean(dim=0)
    assert torch.allclose(found, states / states.norm(), atol=1e-6)
    assert "prompt 'the story ' (3 tokens not pooled)" in examples.info.description


def test_texts_over_max_length_are_counted(tmp_path: Path) -> None:
    model, processor, source = opened(
        write_similar(tmp_path, max_length=12, headline={"batch_size": 4, "sequence_length": 8})
    )
    examples = loading.load_examples(source, "test", processor, model.config)
    over = sum(len(text.split()) > 10 for name in ("text", "text_pair") for text in pairs(60, 2)[name])
    assert over and f"{over} texts are cut at max_length 12" in examples.info.description


BAD = {
    "out of range": ([2.0, 7.0, 3.0], "row 1: label column 'label' has the score 7; expected 0 to 5"),
    "hidden": ([2.0, 3.0, -1.0], "row 2: label column 'label' has the score -1; expected 0 to 5"),
    "not a number": (["2", "much", "3"], "row 1: label column 'label' has 'much'; expected a number"),
    "missing": ([2.0, None, 3.0], "row 1: label column 'label' has null; expected a number"),
    "infinite": ([2.0, float("inf"), 3.0], "row 1: label column 'label' has inf; expected a number"),
}


@pytest.mark.parametrize("kind", BAD)
def test_scores_that_are_none_are_refused_with_the_row(kind: str, tmp_path: Path) -> None:
    labels, expected = BAD[kind]
    test = {"text": ["a", "the", "end"], "text_pair": ["film", "the", "story"], "label": labels}
    model, processor, source = opened(write_similar(tmp_path, test=test))
    with pytest.raises(InputError) as caught:
        loading.load_examples(source, "test", processor, model.config)
    assert expected in str(caught.value)


def test_scores_of_every_common_scale_are_read() -> None:
    import datasets

    for scores in ([-1.0, 0.5], [0.0, 1.0], [0.0, 5.0], [1.0, 5.0]):
        raw = datasets.Dataset.from_dict({"text": ["a", "b"], "text_pair": ["b", "c"], "label": scores})
        assert raw["label"] == scores
    assert issubclass(BadRows, InputError)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no second text": ({"dataset": {"text_pair": None}}, "set dataset.text_pair to the second one"),
    "another column": ({"dataset": {"text_pair": "other"}}, "no text_pair column 'other'"),
    "too long": ({"max_length": 40}, "was published with at most 24 tokens, but max_length is 40; set it to 24"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_workloads_that_do_not_fit_are_refused(kind: str, tmp_path: Path) -> None:
    changes, expected = REFUSED[kind]
    model, processor, source = opened(write_similar(tmp_path, "old", **changes))
    with pytest.raises(InputError, match=expected):
        examples = loading.load_examples(source, "test", processor, model.config)
        loading.check(source, model, processor, examples)


def test_equal_scores_cannot_be_correlated(tmp_path: Path) -> None:
    test = {"text": ["a", "the"], "text_pair": ["film", "end"], "label": [1.0, 1.0]}
    model, processor, source = opened(write_similar(tmp_path, test=test))
    examples = loading.load_examples(source, "test", processor, model.config)
    with pytest.raises(InputError, match="cannot be judged by spearman: all 2 labels are 1"):
        loading.check(source, model, processor, examples)


def test_settings_of_encoders_belong_to_this_task() -> None:
    fields = {"task": "text-classification", "model": "m", "dataset": {"path": "d"}, "pooling": "mean"}
    with pytest.raises(ValueError, match="text-classification has no such setting; only sentence-similarity"):
        Workload.model_validate(fields)


def test_init_recognises_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "model", "old")
    data = write_pairs(
        tmp_path / "data", *({**pairs(4, seed), "sentence2": pairs(4, seed)["text_pair"]} for seed in (1, 2))
    )
    text = init(str(folder), str(data), "sentence-similarity")
    assert "max_length: 24" in text and "metric: spearman" in text and "pooling" not in text
    plain = write_encoder(tmp_path / "plain", "plain")
    assert "pooling: mean  # the model does not state its pooling" in init(str(plain), str(data), "sentence-similarity")


def test_the_size_of_a_gradients_loss_is_that_of_a_move_of_the_vector() -> None:
    moved = torch.zeros(4000, 8, dtype=torch.float64)
    moved[:, 2] = 0.3
    projections, counts = sentences.losses(moved, torch.arange(4000))
    assert counts.sum() == 4000
    assert float(projections.square().mean()) == pytest.approx(0.3**2 / 8, rel=0.1)


def test_a_student_is_compared_by_cosine_or_by_similarities() -> None:
    teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert sentences.soft_loss(3 * teacher, teacher, 2.0) == 0
    assert float(sentences.soft_loss(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), teacher, 2.0)) == 0.5
    wider = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert sentences.soft_loss(wider, teacher, 2.0) == 0
    assert float(sentences.soft_loss(torch.ones(2, 3), teacher, 2.0)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Bert", "sentence-similarity"),
        ("CLIP", "zero-shot-image-classification"),
        ("ViT", None),
        ("Wav2Vec2", None),
        ("T5", None),
    ],
)
def test_encoders_of_pictures_and_sound_embed_no_sentences(kind: str, expected: str | None) -> None:
    config = getattr(transformers, f"{kind}Config")()
    assert task_of_class(f"{kind}Model", config.to_dict()) == expected
    if expected != "sentence-similarity":
        with pytest.raises(InputError, match="expected an encoder of texts"):
            class_of(config)
