"""Training in another form than is kept: LoRA, quantization-aware; what is compared beside answers; when it stops."""

import copy
import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data import live
from compress.data.tasks.text_classification import collate
from compress.methods import apply_step
from compress.methods.distill import (
    PROJECTION,
    adapters,
    distill,
    halve,
    soft_loss,
    squared_distance,
    worth_remembering,
)
from compress.methods.distill.batches import answers, split, total_steps
from compress.methods.distill.relations import Attention, Watch, attention_scores, score_loss
from compress.methods.prune import prune
from compress.model.architectures import layers_of
from compress.model.bundle import Bundle
from compress.model.layers import matrix, weight_layers
from compress.spec.order import order_problems
from compress.spec.steps import Distill, Prune, Quantize
from tests.helpers import bert as other
from tests.made_models import MODELS, bert, bundle, inputs, logits, text_examples, trainable
from tests.methods.test_distill import sentence_logits
from tests.methods.test_encoder_decoders import bundle as encoder_decoder_bundle

SHORT: dict[str, Any] = {"max_steps": 4, "batch_size": 8, "precision": "fp32", "learning_rate": 3e-3}
FORMATS = {
    "ternary": Quantize(bits=2, format="ternary", group_size=32),
    "binary": Quantize(bits=1, group_size="row"),
    "int4": Quantize(bits=4, format="int4", backend="torch", group_size=32),
    "int3-symmetric": Quantize(bits=3, symmetric=True, group_size=32),
    "torchao": Quantize(bits=8, format="int8", backend="torchao"),
    "mixed": Quantize(
        bits=2, format="ternary", group_size=32, overrides={"*.0.*": {"format": "int8_weight", "bits": 8}}
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_every_layer_computes_while_it_is_trained_what_it_will_when_it_is_converted(kind: str, name: str) -> None:
    trains_as_it_converts(replace(trainable(MODELS[kind]()), runtime="eager"), FORMATS[name])


def test_a_part_with_its_own_bits_is_trained_under_the_runtime_of_the_first_part() -> None:
    step = Quantize(bits=3, group_size=32, overrides={"*.0.*": {"bits": 8}})
    trains_as_it_converts(trainable(bert()), step)  # 8 bits alone would become a graph


def test_an_encoder_decoder_is_trained_for_what_eager_executes() -> None:
    note = trains_as_it_converts(encoder_decoder_bundle(), Quantize(bits=8))
    assert "int8 of torchao" in note


def trains_as_it_converts(bundle: Bundle, step: Quantize) -> str:
    """Compare what every layer computes in training with what it computes after the step; return training's note."""
    one = replace(bundle, coming=(step,))
    draw = torch.Generator().manual_seed(0)
    names = [name for part in step.parts for name, _ in weight_layers(one.model, part)]
    given = {n: torch.randn(3, 7, matrix(one.model.get_submodule(n)).shape[1], generator=draw) for n in names}
    with torch.no_grad():
        dense = {n: one.model.get_submodule(n)(given[n]) for n in names}
        with adapters.quantized(one.model, one) as said:
            trained = {n: one.model.get_submodule(n)(given[n]) for n in names}
        converted = apply_step(one, step).model
        answers = {n: (dense[n], trained[n], converted.get_submodule(n)(given[n])) for n in names}
    assert f"{len(names)} layers in" in said
    for n, (plain, ours, theirs) in answers.items():
        assert not torch.allclose(plain, theirs, atol=1e-4), n
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    return said


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_model_answers_while_it_is_trained_as_its_graph_will(per_channel: bool) -> None:
    step = Quantize(bits=8, per_channel=per_channel)
    one = replace(trainable(bert()), coming=(step,))
    dense = logits(one.model)
    with adapters.quantized(one.model, one), torch.no_grad():
        trained = one.model(**inputs(one.model)).logits
    with torch.no_grad():
        converted = apply_step(one, step).model(**inputs(one.model)).logits
    assert not torch.allclose(trained, dense, atol=1e-4)
    # onnxruntime fuses: values on an edge may fall to the other side
    assert float((trained - converted).norm() / (trained - dense).norm()) < 0.2


@pytest.mark.parametrize("name", ["ternary", "binary"])
def test_training_for_a_format_lowers_the_loss_that_quantizing_causes(name: str) -> None:
    teacher, step = other(seed=3), FORMATS[name]
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(2.5)  # answers that differ from text to text

    def loss(model: Any) -> float:
        answers, wanted = sentence_logits(model), sentence_logits(teacher)
        return float(soft_loss(answers, wanted, 1.0))

    made = replace(
        trainable(copy.deepcopy(teacher)), teacher=lambda: teacher, train=lambda: text_examples(256), coming=(step,)
    )
    plain = loss(apply_step(made, step).model)
    config = Distill(max_steps=80, batch_size=16, learning_rate=2e-3, precision="fp32", soft_weight=1.0)
    one = replace(made, model=copy.deepcopy(teacher))
    unaware = loss(apply_step(distill(one, config), step).model)
    two = replace(made, model=copy.deepcopy(teacher))
    aware = distill(two, config.model_copy(update={"quantization_aware": True}))
    assert "trained as" in aware.notes[-1]
    assert loss(apply_step(aware, step).model) < 0.5 * min(plain, unaware)


def test_after_training_a_model_has_plain_weights_in_full_precision() -> None:
    made = replace(trainable(bert()), coming=(FORMATS["ternary"],))
    done = distill(made, Distill(**SHORT, quantization_aware=True))
    weight = done.model.bert.encoder.layer[0].output.dense.weight
    assert isinstance(weight, torch.nn.Parameter)
    assert len(weight.unique()) > 100
    assert not any("parametrizations" in name for name in done.model.state_dict())


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Quantize(bits=4, format="nf4"), "nf4 through bitsandbytes is not supported"),
        (Quantize(bits=4, rounding="gptq", group_size=32), "supports rounding nearest"),
        (Quantize(bits=8, format="int8_static"), "int8_static through openvino is not supported"),
    ],
)
def test_formats_that_cannot_be_trained_for_are_refused(step: Quantize, said: str) -> None:
    with pytest.raises(InputError, match=said):
        distill(replace(trainable(bert()), coming=(step,)), Distill(**SHORT, quantization_aware=True))


def test_quantization_awareness_without_a_quantize_step_is_refused_at_load() -> None:
    aware = Distill(quantization_aware=True)
    assert order_problems((aware, Quantize())) == []
    assert "no quantize step comes after it" in order_problems((aware,))[0]
    with pytest.raises(InputError, match="no quantize step comes after it"):
        distill(trainable(bert()), Distill(**SHORT, quantization_aware=True))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_merged_updates_change_every_linear_layer_by_their_rank_and_nothing_else(kind: str) -> None:
    made = trainable(MODELS[kind]())
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    other = MODELS[kind]()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    done = distill(replace(made, teacher=lambda: other), Distill(**SHORT, lora_rank=2))
    after = done.model.state_dict()
    assert set(after) == set(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    for name in changed:
        assert name.endswith("weight")
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4) <= 2, name
    assert "updates of rank 2" in done.notes[-1]


def test_an_update_keeps_pruned_weights_at_zero() -> None:
    made = prune(trainable(bert()), Prune(structure="unstructured", fraction=0.5))
    for fields in ({"lora_rank": 2}, {"quantization_aware": True}):
        one = replace(made, model=copy.deepcopy(made.model), teacher=lambda: other(seed=3), coming=(FORMATS["int4"],))
        done = distill(one, Distill(**SHORT, **fields))
        for name in made.layers:
            zero = made.model.get_submodule(name).weight == 0
            assert bool((done.model.get_submodule(name).weight[zero] == 0).all()), (fields, name)


@pytest.mark.parametrize(
    "fields", [{"lora_rank": 2}, {"quantization_aware": True}, {"hidden_weight": 1.0, "hidden_loss": "mse"}]
)
def test_every_form_resumes_from_its_checkpoint(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.methods.distill.training.SAVE_STEPS", 2)
    made = replace(trainable(bert()), teacher=lambda: other(seed=3), coming=(FORMATS["int4"],), work=tmp_path)
    student = {"config": {"hidden_size": 16}} if "hidden_loss" in fields else {}
    config = Distill(**SHORT, **fields, **student)
    one = distill(replace(made, model=bert()), config)
    two = distill(replace(made, model=bert()), config)
    assert "resumed at 4" in two.notes[-1]
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, two.model.state_dict()[name]), name
    assert not hasattr(two.model, PROJECTION)


def test_a_narrower_student_is_compared_through_a_projection_that_goes_again() -> None:
    made = replace(trainable(bert()), teacher=lambda: other(seed=3))
    config = Distill(config={"hidden_size": 16}, hidden_weight=1.0, hidden_loss="mse", **SHORT)
    done = distill(made, config)
    assert not any(PROJECTION in name for name in done.model.state_dict())
    assert done.model.config.hidden_size == 16


def test_squared_distance_ignores_padding() -> None:
    teacher = torch.randn(2, 3, 8)
    student = teacher + 1
    student[1, 2] += 100
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert squared_distance(student, teacher, mask) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_attention_scores_give_the_models_own_attention(kind: str) -> None:
    model = MODELS[kind]()
    model.set_attn_implementation("eager")
    watched, watch = Attention(model, model, ((0, 0), (1, 1))), Watch(model, (0, 1), "test")
    given = inputs(model)
    with torch.no_grad():
        probabilities = model(**given, output_attentions=True).attentions
    seen, mask = watch.seen, given.get("attention_mask")
    for index in (0, 1):
        scores = attention_scores(seen[index, "query"], seen[index, "key"], 8)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
        torch.testing.assert_close(scores.softmax(-1), probabilities[index], rtol=1e-4, atol=1e-5)
    assert watched.loss(mask) == 0
    watched.close()
    watch.close()


def test_the_loss_of_scores_is_their_mean_square_over_pairs_of_real_tokens() -> None:
    one, two = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    mask = torch.tensor([[1, 1, 1], [1, 0, 1]])
    squares = [
        float((one[b, :, i, j] - two[b, :, i, j]).square().mean())
        for b in range(2) for i in range(3) for j in range(3) if mask[b, i] and mask[b, j]
    ]  # fmt: skip
    assert score_loss(one, two, mask) == pytest.approx(sum(squares) / len(squares), rel=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2", "vit", "distilbert"])
def test_attention_of_every_architecture_can_be_distilled(kind: str) -> None:
    made = trainable(MODELS[kind](layers=4))
    done = distill(made, Distill(keep_every=2, attention_weight=1.0, hidden_weight=0.5, hidden_loss="mse", **SHORT))
    assert len(layers_of(done.model, "test")) == 2
    assert torch.isfinite(logits(done.model)).all()


def test_attention_of_other_numbers_of_heads_is_refused() -> None:
    made = replace(prune(trainable(bert()), Prune(structure="heads", fraction=0.5)), teacher=bert)
    with pytest.raises(InputError, match="student layer 0 has 2 heads, teacher layer 0 has 4"):
        distill(made, Distill(attention_weight=1.0, **SHORT))


def test_held_out_examples_are_others_than_those_trained_on() -> None:
    examples = text_examples(60)
    train, held = split(examples, seed=1)
    assert (len(train), len(held)) == (57, 3)
    assert sorted(str(e) for e in [*train, *held]) == sorted(str(e) for e in examples)
    assert str(list(split(examples, seed=1)[1])) == str(list(held))


def test_training_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.methods.distill.training.SAVE_STEPS", 2)
    made = replace(trainable(bert()), teacher=lambda: other(seed=3))
    # a rate at which every step makes it worse
    done = distill(made, Distill(batch_size=8, precision="fp32", learning_rate=3.0, max_steps=60, patience=2))
    steps = int(done.notes[-1].split(" optimizer steps")[0].rpartition(" ")[2])
    assert steps < 60
    assert "on held-out examples at best" in done.notes[-1]


def test_the_best_weights_are_taken_though_a_later_loss_was_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.methods.distill import training

    monkeypatch.setattr(training, "SAVE_STEPS", 2)
    plain, steps = training.DistillTrainer.compute_loss, [0]

    def failing(self: Any, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        steps[0] += 1
        loss = plain(self, model, inputs, *given, **named)
        return loss * float("nan") if steps[0] == 9 else loss

    monkeypatch.setattr(training.DistillTrainer, "compute_loss", failing)
    config = {"batch_size": 8, "precision": "fp32", "learning_rate": 1e-3, "max_steps": 12}
    done = distill(trainable(bert()), Distill(**config, patience=2))  # type: ignore[arg-type]
    assert "on held-out examples at best" in done.notes[-1]
    assert all(p.isfinite().all() for p in done.model.parameters())
    steps[0] = 0
    with pytest.raises(RuntimeError, match="diverged"):
        distill(trainable(bert()), Distill(**config))  # type: ignore[arg-type]


def test_accumulated_batches_count_as_one_step() -> None:
    assert total_steps(96, Distill(epochs=1, batch_size=8)) == 12
    assert total_steps(96, Distill(epochs=1, batch_size=8, accumulation=3)) == 4
    for optimizer in ("adamw", "adafactor"):
        done = distill(trainable(bert()), Distill(**SHORT, accumulation=2, optimizer=optimizer))  # type: ignore[arg-type]
        assert "4 optimizer steps" in done.notes[-1]


def test_small_batches_accumulated_train_like_one_large_batch() -> None:
    trained = []
    for size, accumulation in ((16, 1), (4, 4)):
        examples = text_examples(64)
        made = replace(trainable(bert()), train=lambda examples=examples: examples)
        config = Distill(batch_size=size, accumulation=accumulation, precision="fp32", learning_rate=1e-3, max_steps=4)
        done = distill(made, config)
        trained.append((done.model, float(done.notes[-1].rpartition("mean loss ")[2])))
    (large, mean), (small, same) = trained
    assert same == pytest.approx(mean, rel=0.05)  # batches hold other examples, of other lengths; not four times it
    with torch.no_grad():
        apart = [float((a - b).norm() / a.norm()) for a, b in zip(large.parameters(), small.parameters(), strict=True)]
    assert max(apart) < 0.05


def test_a_classifier_of_images_is_distilled_with_remembered_answers() -> None:
    import datasets
    import numpy
    from PIL import Image
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=8, patch_size=4,
        num_labels=3,
    )  # fmt: skip
    model = ViTForImageClassification(config).eval()
    draw = numpy.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=numpy.uint8)) for _ in range(24)]
    raw = datasets.Dataset.from_dict({"image": pictures, "label": [i % 3 for i in range(24)]})
    processor = ViTImageProcessor(size={"height": 8, "width": 8})
    examples = live.prepare(raw, "image-classification", processor, model)
    made = bundle(model, task="image-classification", processor=processor, train=lambda: examples)
    step = Distill(epochs=3, batch_size=8, precision="fp32")
    assert worth_remembering(made, step, len(examples))
    assert "9 optimizer steps" in distill(made, step).notes[-1]


def test_training_memory_is_released_after_the_step() -> None:
    held: list[weakref.ref[Any]] = []

    def teacher() -> Any:
        model = other(seed=3)
        held.append(weakref.ref(model))
        return model

    gc.disable()  # the collector may come late: a GPU's memory would be full by then
    try:
        done = apply_step(replace(trainable(bert()), teacher=teacher), Distill(**SHORT))
    finally:
        gc.enable()
    assert done.model is not None
    assert [each() for each in held] == [None]


def test_a_teacher_in_bf16_answers_under_autocast_exactly_as_in_fp32() -> None:
    for kind in ("bert", "llama", "gpt2"):
        model = MODELS[kind]()
        given = inputs(model)
        found = []
        for _ in range(2):
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                found.append(model(**given, output_hidden_states=True))
            halve(model)
        assert torch.equal(found[0].logits, found[1].logits)
        for one, two in zip(found[0].hidden_states, found[1].hidden_states, strict=True):
            assert torch.equal(one, two)
        types = {type(m).__name__: m.weight.dtype for m in model.modules() if getattr(m, "weight", None) is not None}
        assert {types[name] for name in types if name in ("Linear", "Conv1D")} <= {torch.bfloat16, torch.float32}
        assert types["Embedding"] == torch.float32


def test_updates_do_not_go_with_a_fresh_student_or_quantization_awareness() -> None:
    with pytest.raises(ValueError, match="lora_rank and quantization_aware"):
        Distill(lora_rank=4, quantization_aware=True)
    with pytest.raises(ValueError, match="lora_rank and a fresh student"):
        Distill(lora_rank=4, config={"hidden_size": 16})


def test_answers_of_the_teacher_are_computed_once_where_they_are_asked_for_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = text_examples(64)
    made = replace(trainable(bert()), train=lambda: examples)
    config = Distill(epochs=3, batch_size=8, precision="fp32", learning_rate=1e-3)
    assert worth_remembering(made, config, 64)
    for fields in (
        {"epochs": 1.5},
        {"max_steps": 10},
        {"hidden_weight": 1.0},
        {"relation_weight": 1.0},
        {"attention_weight": 1.0},
    ):
        assert not worth_remembering(made, config.model_copy(update=fields), 64), fields
    teacher, calls = other(seed=3), []
    teacher.register_forward_pre_hook(lambda *_: calls.append(1))
    remembered = distill(replace(made, teacher=lambda: teacher), config)
    assert len(calls) == 8  # one pass, of three
    monkeypatch.setattr("compress.methods.distill.worth_remembering", lambda *_: False)
    anew = distill(replace(made, model=bert(), teacher=lambda: teacher), config)
    assert len(calls) == 8 + 24
    for one, two in zip(remembered.model.parameters(), anew.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)  # padding of other lengths rounds differently


def test_remembered_answers_stand_beside_their_examples() -> None:
    examples, model = text_examples(30), other(seed=3)
    made = trainable(model)
    found = answers(model, examples, made, Distill(batch_size=7, precision="fp32"))
    for index in (0, 13, 29):
        batch = collate([examples[index]], made.processor)
        with torch.no_grad():
            torch.testing.assert_close(found[[index]], model(**batch).logits, rtol=1e-4, atol=1e-5)
