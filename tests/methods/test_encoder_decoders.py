"""Steps on small encoder-decoders of four families: what they leave generates and reloads equal, or is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data.tasks import decoding, task_of
from compress.methods import apply_step
from compress.methods.calibrate import shortened
from compress.methods.capture import capture
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.sharing import tied_embeddings
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.task_runs import bundled
from tests.translated import FAMILIES, encoder_decoder, pairs, tokenizer

TASK = task_of("translation")


def bundle(family: str = "t5", **changes: Any) -> Bundle:
    rows = pairs(48, seed=7)
    columns = {"text": [row["en"] for row in rows], "target": [row["de"] for row in rows]}
    return bundled(encoder_decoder(family), TASK, columns, tokenizer(begins=family == "bart"), **changes)


STEPS: dict[str, Step] = {
    "int8 weights": Quantize(bits=8, format="int8_weight", backend="torch", group_size=32),
    "int4 by gptq": Quantize(bits=4, rounding="gptq", group_size=32, backend="torch", calibration_examples=16),
    "int8 of torchao": Quantize(bits=8),
    "masked": Prune(structure="unstructured", fraction=0.5, importance="wanda", calibration_examples=16),
    "narrower": Prune(structure="feed_forward", fraction=0.25, importance="magnitude"),
    "narrower by gradients": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "low rank": LowRank(parameters=0.6, weighting="whitened", calibration_examples=16),
    "low rank by gradients": LowRank(parameters=0.6, weighting="fisher", calibration_examples=16),
    "student": Distill(max_steps=2, batch_size=8, precision="fp32"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", STEPS)
def test_steps_leave_a_model_that_generates_and_reloads_equal(kind: str, family: str, tmp_path: Path) -> None:
    before = bundle(family)
    words = before.processor
    batch = words([pair["en"] for pair in pairs(3, 1)], padding=True, return_tensors="pt")
    after = apply_step(before, STEPS[kind])
    with torch.no_grad():
        written = decoding.generated(after.model, batch)
    artifact.save(after, tmp_path / "artifact")
    loaded, _, _ = artifact.load(tmp_path / "artifact")
    assert torch.equal(decoding.generated(loaded, batch), written)
    assert kind == "student" or len(after.layers) >= (8 if kind.startswith("narrower") else 20)
    if kind.startswith("narrower"):
        outputs = ("fc2", "wo")
        widths = [module.in_features for name, module in loaded.named_modules() if name.endswith(outputs)]
        assert widths == [48] * 4, "both layers of the encoder and of the decoder"


def test_gated_feed_forward_parts_lose_both_projections() -> None:
    import transformers

    fields = {"vocab_size": len(tokenizer()), "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}
    config = transformers.T5Config(**fields, feed_forward_proj="gated-gelu", decoder_start_token_id=0)
    made = replace(bundle(), model=transformers.T5ForConditionalGeneration(config).eval())
    pruned = apply_step(made, Prune(structure="feed_forward", fraction=0.25)).model
    shapes = {name: tuple(p.shape) for name, p in pruned.named_parameters() if "DenseReluDense" in name}
    assert sorted(shapes.values()) == [(32, 48)] * 2 + [(48, 32)] * 4 and pruned.config.d_ff == 48


@pytest.mark.parametrize(
    "step",
    [
        Prune(structure="heads"),
        Prune(structure="layers", importance="influence"),
        Prune(structure="hidden"),
        Distill(keep=0.5),
    ],
    ids=["heads", "layers", "hidden", "kept layers"],
)
def test_steps_of_one_stack_of_layers_are_refused(step: Step) -> None:
    for family in FAMILIES:
        with pytest.raises(InputError, match=f"does not apply to model type '{family}': its encoder and its decoder"):
            apply_step(bundle(family), step)


CROSS = {"t5": "EncDecAttention", "bart": "encoder_attn", "marian": "encoder_attn", "pegasus": "encoder_attn"}


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_of_inputs_leave_padding_out(family: str) -> None:
    made = bundle(family)
    rows = [made.train_examples("test")[number] for number in range(8)]
    examples = [{**row, "labels": row["labels"][:-2]} for row in rows]
    batch = TASK.collate(examples, made.processor)
    linear = torch.nn.Linear
    names = [n for n, m in made.model.named_modules() if isinstance(m, linear) and n != "lm_head"]
    found = capture(made.model, [batch], names)
    source, target = int(batch["attention_mask"].sum()), int(batch["decoder_attention_mask"].sum())
    assert source != target
    keys_and_values = tuple(f"{CROSS[family]}.{projection}" for projection in ("k", "v", "k_proj", "v_proj"))
    of_source = {n for n in names if "encoder" in n.split(".") or n.endswith(keys_and_values)}
    assert len(names) == 2 * (6 + 10) and len(of_source) == 2 * (6 + 2)
    assert {name: found[name].rows for name in names} == {n: source if n in of_source else target for n in names}


def test_a_shorter_source_keeps_its_whole_target() -> None:
    examples = list(bundle().train_examples("test"))
    equal = next(row for row in examples if len(row["labels"]) == len(row["input_ids"]))
    (cut,) = shortened([equal], 4, tokenizer(), TASK)
    assert len(cut["input_ids"]) == 4 and cut["labels"] == equal["labels"]


def test_a_head_that_encoder_and_decoder_embed_with_is_not_quantized_apart_from_them() -> None:
    """T5 has the head's weight in three embeddings: integers in one of them alone would untie the others."""
    plain = bundle("t5")
    names = tied_embeddings(plain.model, plain.model.lm_head)
    assert names == ["shared", "encoder.embed_tokens", "decoder.embed_tokens"]
    with pytest.raises(InputError, match="lm_head: its weight is tied to the input embedding; exclude it"):
        apply_step(plain, Quantize(bits=8, backend="torch", group_size=32, exclude=()))
    done = apply_step(plain, Prune(structure="unstructured", fraction=0.5, exclude=()))
    assert {name: done.layers[name]["sparsity"] for name in names} == dict.fromkeys(names, 0.5)
