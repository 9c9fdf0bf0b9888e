"""Distillation: the loss by hand, students of every kind, training that resumes, repeats itself and leaves no trace."""

import copy
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from compress.base.config import InputError
from compress.data.tasks.causal_lm import aligned
from compress.data.tasks.text_classification import collate
from compress.methods.calibrate import truncate
from compress.methods.depth import keep_layers
from compress.methods.distill import (
    Compared,
    distill,
    distillation_loss,
    hidden_distance,
    soft_loss,
    squared_distance,
)
from compress.methods.distill.batches import total_steps
from compress.methods.distill.students import match, rename, spread
from compress.methods.distill.trainer import LengthGroups
from compress.methods.distill.training import last_checkpoint
from compress.methods.lowrank import lowrank
from compress.methods.prune import prune
from compress.model.architectures import layers_of
from compress.model.bundle import Bundle
from compress.spec.steps import Distill, LowRank, Prune
from tests.helpers import ROOT, bert, tokenizer, trained_bert
from tests.made_models import MODELS, bundle, distilbert, gpt2, inputs, llama, logits, text_examples

SHORT = {"max_steps": 4, "batch_size": 8, "precision": "fp32"}


def test_soft_loss_is_the_divergence_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.0, 3.0, 1.0]])
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    torch.testing.assert_close(soft_loss(student, teacher, 2.0), 4 * (p * (p.log() - q.log())).sum())
    assert soft_loss(teacher, teacher, 2.0) == 0


def test_soft_loss_of_a_language_model_leaves_out_what_predicts_nothing() -> None:
    labels = torch.tensor([[5, 6, 7, -100], [5, 6, 7, 8]])
    (student, following), (teacher, _) = (aligned(torch.randn(2, 4, 9), labels) for _ in range(2))
    counted = following != -100
    assert counted.tolist() == [[True, True, False], [True, True, True]]
    one = [soft_loss(student[i, j][None], teacher[i, j][None], 1.5) for i in (0, 1) for j in range(3) if counted[i, j]]
    torch.testing.assert_close(soft_loss(student, teacher, 1.5, counted), torch.stack(one).mean())


def test_hidden_distance_ignores_padding_and_length_of_vectors() -> None:
    teacher = torch.randn(2, 3, 8)
    student = 5 * teacher
    student[1, 2] = -teacher[1, 2]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert hidden_distance(student, teacher, mask) == pytest.approx(0, abs=1e-6)
    assert hidden_distance(student, teacher, None) == pytest.approx(2 / 6, abs=1e-6)


def test_distances_of_several_layers_at_once_are_their_mean() -> None:
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(3, 2, 5, 8, generator=draw) for _ in range(2))
    for mask in (None, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])):
        for distance in (hidden_distance, squared_distance):
            apart = torch.stack([distance(one, two, mask) for one, two in zip(ours, theirs, strict=True)])
            torch.testing.assert_close(distance(ours, theirs, mask), apart.mean())


@pytest.mark.parametrize(("soft", "hidden"), [(1.0, 0.0), (0.0, 0.0), (0.6, 0.5)])
def test_the_loss_is_the_weighted_sum_of_its_three_parts(soft: float, hidden: float) -> None:
    teacher, student = bert(seed=0), bert(seed=1)
    batch = {**inputs(teacher), "labels": torch.tensor([0, 1])}
    config = Distill(soft_weight=soft, hidden_weight=hidden, temperature=3)
    pairs = ((0, 0), (1, 1)) if hidden else ()
    loss, _ = distillation_loss(student, teacher, batch, config, Compared(pairs))
    mine = student(**batch, output_hidden_states=True)
    theirs = teacher(**inputs(teacher), output_hidden_states=True)
    mask = batch["attention_mask"]
    cosines = [
        F.cosine_similarity(a, b, dim=-1)[mask == 1]
        for a, b in zip(mine.hidden_states, theirs.hidden_states, strict=True)
    ]
    wanted = soft * soft_loss(mine.logits, theirs.logits, 3) + (1 - soft) * F.cross_entropy(
        mine.logits, batch["labels"]
    )
    wanted = wanted + hidden * torch.stack([1 - c.mean() for c in cosines[1:]]).mean()
    torch.testing.assert_close(loss, wanted)


def test_a_student_equal_to_its_teacher_has_only_the_hard_loss() -> None:
    model = bert()
    batch = {**inputs(model), "labels": torch.tensor([0, 1])}
    config = Distill(soft_weight=0.9, hidden_weight=1.0)
    loss, outputs = distillation_loss(model, copy.deepcopy(model), batch, config, Compared(((0, 0), (1, 1))))
    torch.testing.assert_close(loss, 0.1 * outputs.loss, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("count", "k", "kept"),
    [(6, 2, (0, 2, 5)), (12, 2, (0, 2, 4, 7, 9, 11)), (2, 2, (0,)), (5, 2, (0, 2, 4)), (12, 4, (0, 6, 11))],
)
def test_every_kth_layer_spans_from_the_first_to_the_last(count: int, k: int, kept: tuple[int, ...]) -> None:
    assert spread(count, -(-count // k)) == kept


def test_each_kept_layer_answers_for_those_up_to_the_next() -> None:
    assert match((0, 2, 5), 6, 6) == ((0, 1), (1, 4), (2, 5))
    assert match((0, 1), 2, 2) == ((0, 0), (1, 1))
    assert match((0, 2), 3, 6) == ((0, 3), (1, 5))  # taken from a model that is itself half as deep as the teacher


@pytest.mark.parametrize("kind", MODELS)
def test_a_student_of_some_layers_loads_plainly_and_has_those_layers(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind](layers=4)
    wanted = [copy.deepcopy(layer.module.state_dict()) for layer in layers_of(model, "")]
    keep_layers(model, (0, 3))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), logits(model))
    for layer, index in zip(layers_of(again, ""), (0, 3), strict=True):
        assert all(torch.equal(tensor, wanted[index][name]) for name, tensor in layer.module.state_dict().items())


@pytest.mark.parametrize("make", [llama, gpt2])
def test_a_shorter_language_model_generates_with_its_cache(make: Any) -> None:
    model = make(layers=4)
    keep_layers(model, (1, 3))
    ids = inputs(model)["input_ids"][:1]
    answers = [model.generate(ids, max_new_tokens=4, do_sample=False, use_cache=cache) for cache in (True, False)]
    assert torch.equal(*answers)


def test_entries_of_earlier_steps_move_with_their_layer() -> None:
    layers = {"e.layer.0.a": {"x": 0}, "e.layer.1.a": {"x": 1}, "e.layer.10.a": {"x": 10}, "": {"y": 1}}
    assert rename(layers, "e.layer", (0, 10)) == {"e.layer.0.a": {"x": 0}, "e.layer.1.a": {"x": 10}, "": {"y": 1}}
    grouped = {"e.layer.3.q": {"rank": 2}, "e.layer.3.k": {"rank": 2, "borrows": "e.layer.3.q"}}
    assert rename(grouped, "e.layer", (1, 3))["e.layer.1.k"] == {"rank": 2, "borrows": "e.layer.1.q"}


def sentence_batch() -> dict[str, torch.Tensor]:
    return collate(list(text_examples(200, seed=9)), bundle(None).processor)


def sentence_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        answer: torch.Tensor = model(**sentence_batch()).logits
    return answer


def accuracy(model: Any) -> float:
    return float((sentence_logits(model).argmax(-1) == sentence_batch()["labels"]).float().mean())


@pytest.fixture(scope="module")
def trained_model() -> Any:
    return trained_bert()


def test_a_student_of_half_the_layers_learns_to_answer_like_the_teacher(trained_model: Any) -> None:
    made = bundle(
        copy.deepcopy(trained_model), teacher=lambda: copy.deepcopy(trained_model), train=lambda: text_examples(256)
    )
    config = Distill(keep_every=2, hidden_weight=1.0, max_steps=60, batch_size=16, learning_rate=3e-3)
    done = distill(made, config)
    assert len(done.model.bert.encoder.layer) == done.model.config.num_hidden_layers == 1
    assert accuracy(trained_model) > 0.9 and accuracy(done.model) > 0.85


def test_recovery_brings_a_damaged_low_rank_model_back_to_the_teacher(trained_model: Any) -> None:
    made = bundle(
        copy.deepcopy(trained_model), teacher=lambda: copy.deepcopy(trained_model), train=lambda: text_examples(256)
    )
    cut = lowrank(made, LowRank(parameters=0.5))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in cut.model.bert.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    before = copy.deepcopy(cut.model)
    done = distill(cut, Distill(max_steps=60, batch_size=16, learning_rate=2e-3))
    answers = [sentence_logits(model) for model in (trained_model, before, done.model)]
    damage = soft_loss(answers[1], answers[0], 1)
    assert damage > 0.1 and soft_loss(answers[2], answers[0], 1) < 0.5 * damage
    assert done.layers == cut.layers


def test_a_fresh_student_has_the_changed_fields_and_nothing_of_earlier_steps() -> None:
    made = prune(bundle(bert()), Prune(fraction=0.25))
    done = distill(made, Distill(config={"hidden_size": 16, "num_hidden_layers": 1}, **SHORT))
    assert done.model.config.hidden_size == 16 and done.layers == {}
    assert done.model(**inputs(done.model)).logits.shape == (2, 2)


def test_another_pretrained_model_can_be_the_student(tmp_path: Path) -> None:
    other = distilbert(layers=1)
    other.save_pretrained(tmp_path / "other")
    tokenizer().save_pretrained(tmp_path / "other")
    made = lowrank(bundle(bert()), LowRank())
    made = replace(made, teacher=lambda: trained_bert(steps=2))
    done = distill(made, Distill(model=str(tmp_path / "other"), learning_rate=1e-9, hidden_weight=1.0, **SHORT))
    assert type(done.model).__name__ == "DistilBertForSequenceClassification" and done.layers == {}
    torch.testing.assert_close(logits(done.model), logits(other), atol=1e-4, rtol=0)


def test_a_pretrained_student_learns_the_teachers_labels_by_the_teachers_numbers(tmp_path: Path) -> None:
    other = bert()
    other.config.id2label, other.config.label2id = {0: "pos", 1: "neg"}, {"pos": 0, "neg": 1}
    other.save_pretrained(tmp_path / "other")
    tokenizer().save_pretrained(tmp_path / "other")
    teacher = bert(seed=1)
    teacher.config.id2label, teacher.config.label2id = {0: "neg", 1: "pos"}, {"neg": 0, "pos": 1}
    done = distill(bundle(teacher), Distill(model=str(tmp_path / "other"), **SHORT))
    assert done.model.config.id2label == {0: "neg", 1: "pos"}
    assert done.model.config.label2id == {"neg": 0, "pos": 1}


def test_a_pretrained_student_of_another_tokenizer_or_with_other_labels_is_refused(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path / "a")
    words = tokenizer()
    words.add_tokens(["new"])
    words.save_pretrained(tmp_path / "a")
    with pytest.raises(InputError, match="another tokenizer"):
        distill(bundle(bert()), Distill(model=str(tmp_path / "a"), **SHORT))
    config = bert().config
    config.num_labels = 3
    type(bert())(config).save_pretrained(tmp_path / "b")
    tokenizer().save_pretrained(tmp_path / "b")
    with pytest.raises(InputError, match="has 3 labels, the teacher 2"):
        distill(bundle(bert()), Distill(model=str(tmp_path / "b"), **SHORT))
    with pytest.raises(InputError, match="cannot be loaded"):
        distill(bundle(bert()), Distill(model=str(tmp_path / "c"), **SHORT))


def test_two_trainings_give_equal_weights_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(distill(bundle(bert(layers=4), seed=3), Distill(keep_every=2, hidden_weight=1.0, **SHORT)).model)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    other = distill(bundle(bert(layers=4), seed=4), Distill(keep_every=2, hidden_weight=1.0, **SHORT)).model
    assert not all(torch.equal(a, b) for a, b in zip(models[0].parameters(), other.parameters(), strict=True))
    torch.manual_seed(5)
    bert_free = Distill(**SHORT)
    model = copy.deepcopy(models[0])
    torch.manual_seed(5)
    distill(bundle(model), bert_free)
    assert torch.equal(torch.rand(3), expected)


def test_a_trained_model_is_clean() -> None:
    model = bert()
    before = model.config.to_dict()
    done = distill(bundle(model), Distill(**{**SHORT, "precision": "bf16"}))
    assert not done.model.training and all(p.grad is None and p.dtype == torch.float32 for p in done.model.parameters())
    assert done.model.config.to_dict() == before and "forward" not in vars(done.model)
    assert "4 optimizer steps" in done.notes[-1]


def test_weights_that_were_pruned_away_stay_zero() -> None:
    made = prune(bundle(bert()), Prune(structure="unstructured", fraction=0.5))
    done = distill(made, Distill(**SHORT))
    for name, entry in done.layers.items():
        assert (done.model.get_submodule(name).weight == 0).float().mean().item() >= entry["sparsity"] - 1e-6


def test_without_a_teacher_the_present_model_teaches() -> None:
    done = distill(bundle(bert(layers=4)), Distill(keep_every=2, **SHORT))
    assert len(done.model.bert.encoder.layer) == 2


def test_hidden_states_of_unequal_width_are_refused_with_both_widths() -> None:
    made = bundle(bert())
    with pytest.raises(InputError, match="student's hidden states have width 16, the teacher's 32"):
        distill(made, Distill(config={"hidden_size": 16}, hidden_weight=1.0, **SHORT))
    wide = bert()
    cut = prune(bundle(copy.deepcopy(wide), teacher=lambda: wide), Prune(structure="hidden", fraction=0.3))
    with pytest.raises(InputError, match="set hidden_weight to 0"):
        distill(cut, Distill(hidden_weight=1.0, **SHORT))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layers": (0, 2)}, "2; expected numbers from 0 to 1"),
        ({"layers": (1, 0)}, "ascending"),
        ({"layers": ()}, "empty"),
        ({"config": {"hidden_sise": 8}}, "did you mean hidden_size"),
        ({"config": {"hidden_size": 30}}, "invalid for"),
    ],
)
def test_students_that_cannot_be_made_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(bundle(bert()), Distill(**config, **SHORT))


def test_training_examples_are_needed() -> None:
    with pytest.raises(InputError, match="distill needs training examples"):
        distill(bundle(bert(), train=None), Distill(**SHORT))


def test_truncation_keeps_the_closing_token() -> None:
    example = {"input_ids": [2, 5, 6, 7, 3], "token_type_ids": [0, 0, 0, 1, 1], "labels": 1, "text": "abcde"}
    cut = truncate(example, 3, closing=3)
    assert cut == {"input_ids": [2, 5, 3], "token_type_ids": [0, 0, 1], "labels": 1, "text": "abcde"}
    assert truncate(example, 3, closing=None)["input_ids"] == [2, 5, 6]
    assert truncate(example, 5, closing=3) == example


def test_steps_are_epochs_at_most_max_steps() -> None:
    assert total_steps(100, Distill(epochs=3, batch_size=32)) == 12
    assert total_steps(100, Distill(epochs=0.5, batch_size=32)) == 2
    assert total_steps(10**6, Distill(epochs=3, max_steps=1500)) == 1500


def test_every_epoch_visits_every_example_once_in_another_order() -> None:
    epoch = [0]
    groups = LengthGroups(list(range(40)), 4, 0, lambda: epoch[0])
    first = list(groups)
    epoch[0] = 1
    second = list(groups)
    assert sorted(first) == sorted(second) == list(range(40)) and first != second
    epoch[0] = 0
    assert list(groups) == first


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (10, None), (9, '{"global'), (3, "{}")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-3"
    assert last_checkpoint(tmp_path / "none") is None


CHILD = """
import json, sys
from pathlib import Path
import compress.methods.distill.training as training
training.SAVE_STEPS = 3
from compress.methods.distill import distill
from compress.spec.steps import Distill
from tests.helpers import bert
from tests.made_models import bundle
import dataclasses
told = []
for folder in sys.argv[2:]:
    done = distill(bundle(bert(layers=4), work=Path(folder)), Distill(
        keep_every=2, hidden_weight=1.0, max_steps=int(sys.argv[1]), epochs=1000, batch_size=8, precision="fp32"))
    told.append({"note": done.notes[-1], "sum": sum(p.double().sum().item() for p in done.model.parameters())})
print(json.dumps(told))
"""


def start(steps: int, *folders: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(steps), *map(str, folders)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_killed_training_resumes_where_it_was_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    steps = 20  # 8 steps an epoch: the kill falls into the middle of one
    child = start(steps, tmp_path / "a")
    deadline = time.monotonic() + 120
    while not any(last_checkpoint(f) for f in (tmp_path / "a").glob("distill-*")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    second, untouched = json.loads(start(steps, tmp_path / "a", tmp_path / "b").communicate(timeout=240)[0])
    assert "resumed at" in second["note"] and "20 optimizer steps" in second["note"]
    assert "resumed" not in untouched["note"]
    assert second["sum"] == pytest.approx(untouched["sum"], rel=1e-9) and math.isfinite(second["sum"])


def test_other_settings_do_not_resume_from_these_checkpoints(tmp_path: Path) -> None:
    made: Bundle = bundle(bert(layers=4), work=tmp_path)
    distill(replace(made, model=bert(layers=4)), Distill(**SHORT))
    again = distill(replace(made, model=bert(layers=4)), Distill(**SHORT))
    other = distill(replace(made, model=bert(layers=4)), Distill(**{**SHORT, "learning_rate": 1e-3}))
    assert "resumed at 4" in again.notes[-1] and "resumed" not in other.notes[-1]
    assert len(list(tmp_path.glob("distill-*"))) == 2


def test_frozen_embeddings_stay_and_the_rest_learns() -> None:
    started = bundle(bert(seed=0))
    before = {name: tensor.clone() for name, tensor in started.model.state_dict().items()}
    config = Distill(**SHORT, freeze_embeddings=True)
    after = distill(replace(started, teacher=trained_bert), config).model.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert "bert.embeddings.word_embeddings.weight" not in changed
    assert "bert.encoder.layer.0.attention.self.query.weight" in changed


@pytest.mark.parametrize("dropout", [True, False])
def test_the_student_sees_dropout_only_when_asked(dropout: bool) -> None:
    model, seen = bert(seed=0), []
    model.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    started = bundle(model)
    distill(replace(started, teacher=lambda: bert(seed=1)), Distill(**SHORT, dropout=dropout))
    assert set(seen) == {dropout}
