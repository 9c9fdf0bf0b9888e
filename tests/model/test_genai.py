"""Language models under onnxruntime-genai: whole texts, single tokens, our integers, and exports that are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.errors import InputError
from compress.measure import kernels
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.manifest import INTEGERS
from compress.model.runtimes.check import divergence
from compress.spec.steps import Quantize
from tests.export import made
from tests.helpers import assets

pytest.importorskip("onnxruntime_genai", reason="the extra onnxruntime-genai is not installed")
from compress.model.runtimes import genai_build
from compress.model.runtimes.genai import GenaiModel
from compress.model.runtimes.genai_build import checked_in_genai

IDS = torch.randint(4, 300, (2, 20), generator=torch.Generator().manual_seed(3))
FP32 = 1e-4
"""Largest difference of logits of fp32 graphs; 8e-6 was seen."""


def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, **inputs).logits
    return found


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_whole_texts_and_tokens_one_by_one_have_the_models_logits(name: str) -> None:
    model = getattr(made, name)().eval()
    found, expected = checked_in_genai(made.of_genai(model)), logits(model, IDS)
    assert torch.allclose(logits(found, IDS), expected, atol=FP32)
    for texts in (1, 2):
        found.prefill(IDS[:texts, :10])
        steps = torch.cat([found.append(IDS[:texts, i : i + 1]) for i in range(10, 20)], dim=1)
        assert torch.allclose(steps, expected[:texts, 10:], atol=FP32)
        found.rewind()
        assert torch.allclose(found.append(IDS[:texts, 10:11]), expected[:texts, 10:11], atol=FP32)


def test_a_reserved_cache_holds_all_its_tokens() -> None:
    model = made.llama(max_position_embeddings=1024).eval()
    found, ids = checked_in_genai(made.of_genai(model)), torch.randint(2, 300, (1, 700))
    found.reserve(700, rewinds=True)
    found.prefill(ids[:, :10])
    last = torch.cat([found.append(ids[:, i : i + 69]) for i in range(10, 700, 69)], dim=1)  # of ten appended texts
    assert torch.allclose(last, logits(model, ids)[:, 78::69], atol=FP32)


def test_it_generates_what_transformers_generates_and_counts_its_cache() -> None:
    model = made.llama().eval()
    expected = model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=8, do_sample=False)
    found = checked_in_genai(made.of_genai(model))
    assert torch.equal(found.generate(IDS, max_new_tokens=8), expected)
    assert found.cache_bytes == 2 * 2 * 2 * 2 * 16 * 4 * (expected.shape[1] - 1)  # texts, k and v, layers, heads, width


def test_padding_changes_no_token() -> None:
    model = made.llama().eval()
    ids, mask = IDS.clone(), torch.ones_like(IDS)
    mask[0, 12:] = 0
    found = logits(checked_in_genai(made.of_genai(model)), ids, attention_mask=mask)
    assert torch.allclose(found[0, :12], logits(model, IDS[:1, :12])[0], atol=FP32)


def test_threads_on_cores_of_their_own_change_no_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions have a thread per core; tests have one thread."""
    model = made.llama().eval()
    one = checked_in_genai(made.of_genai(model))
    before = torch.get_num_threads()
    monkeypatch.setattr("compress.model.runtimes.genai.pinned_cores", lambda: [0, 0])
    try:
        torch.set_num_threads(2)
        two = GenaiModel(one.path, model.config)
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(logits(two, IDS), logits(one, IDS), atol=FP32)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [8, 4])
def test_an_artifact_has_our_integers_and_opens_in_onnxruntime_genai(
    bits: int, symmetric: bool, tmp_path: Path
) -> None:
    config = Quantize(bits=bits, symmetric=symmetric, group_size=32)
    packed = apply_step(made.of_genai(made.llama().eval()), config)
    assert packed.runtime == "onnxruntime-genai"
    expected = logits(packed.model, IDS)
    artifact.save(runtimes.finish(packed, packed.runtime), tmp_path / "a", {"runtime": packed.runtime})
    found, _, manifest = artifact.load(tmp_path / "a")
    assert isinstance(found, GenaiModel) and manifest.kind == "genai"
    assert float(divergence(expected.flatten(0, 1), logits(found, IDS).flatten(0, 1)).mean()) < 0.01
    inner, _, _ = artifact.load(tmp_path / "a" / INTEGERS)
    assert torch.equal(logits(inner, IDS), expected)
    label = kernels.label(found, {"input_ids": IDS}, torch.device("cpu"), low_bit=True)
    assert label.label == "real" and any("MatMulNBits" in operator.name for operator in label.evidence)


def test_a_feed_forward_as_wide_as_the_vocabulary_is_a_wrong_graph_and_refused() -> None:
    model = made.llama(intermediate_size=320, vocab_size=320).eval()
    with pytest.raises(InputError, match=r"the exported graph (differs from the model|fails)|its builder fails"):
        checked_in_genai(made.of_genai(model))


def test_heads_of_another_width_and_other_architectures_are_refused_before_building() -> None:
    place = assets("models", "stories260K")
    stories = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    with pytest.raises(InputError, match="attention heads of width 8; its attention needs a multiple of 16"):
        checked_in_genai(made.of_genai(stories))
    with pytest.raises(InputError, match="architecture gemma3_text; expected one of llama"):
        checked_in_genai(made.of_genai(made.gemma3()))
    with pytest.raises(InputError, match="got a model of text-classification"):
        checked_in_genai(dataclasses.replace(made.of_genai(made.llama()), task="text-classification"))


def test_wrong_integers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = apply_step(made.of_genai(made.llama().eval()), Quantize(bits=4, symmetric=True, group_size=32))
    true = genai_build.product_with
    monkeypatch.setattr(
        genai_build,
        "product_with",
        lambda node, integers, **settings: true(
            node, dataclasses.replace(integers, ints=integers.ints.flip(1)), **settings
        ),
    )
    with pytest.raises(InputError, match="the exported graph differs from the model"):
        checked_in_genai(packed)


def test_layers_that_share_a_product_are_quantized_alike_or_refused() -> None:
    config = Quantize(bits=4, symmetric=True, group_size=32, exclude=("*v_proj*", "*lm_head*"))
    with pytest.raises(InputError, match="quantize all three alike, or none"):
        checked_in_genai(apply_step(made.of_genai(made.llama().eval()), config))
