"""Caches of 8 and 4 bits: the rounding, the bytes by hand, what a text loses, and judging through the cache."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.base.device import CPU
from compress.harness.supported import supported_runtime
from compress.measure.decode import Decoding
from compress.model import artifact, runtimes
from compress.model.cache_layers import GROUP, RECENT, RoundedLayer, packed, rounded, unpacked
from compress.model.caching import Caching, caching
from compress.model.rounded_cache import RoundedCacheModel, with_rounded_cache
from compress.model.runtimes import check
from compress.model.runtimes.stateful import StatefulModel
from compress.records.machine import describe
from compress.spec.recipe import Recipe
from tests import families, made_models
from tests.made_models import llama

IDS = torch.randint(4, 64, (2, 60), generator=torch.Generator().manual_seed(5))
KINDS = {"int8": 8, "int4": 4}


def states(tokens: int, width: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of 2 texts and 3 heads."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, tokens, width, generator=draw), torch.randn(2, 3, tokens, width, generator=draw)


@pytest.mark.parametrize("bits", [8, 4])
def test_codes_are_the_nearest_of_a_grid_from_the_least_to_the_largest_number(bits: int) -> None:
    tensor = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    codes, scale, low = rounded(tensor, bits, dim=-1)
    for row in range(3):
        grid = [float(low[row]) + code * float(scale[row]) for code in range(2**bits)]
        for column in range(32):
            errors = [abs(float(tensor[row, column]) - value) for value in grid]
            assert errors[int(codes[row, column])] == pytest.approx(min(errors), abs=1e-6)
    assert torch.equal(unpacked(packed(codes, bits), bits), codes)
    assert packed(codes, bits).numel() == codes.numel() * bits // 8


def test_equal_numbers_are_kept() -> None:
    codes, scale, low = rounded(torch.full((1, 32), 0.5), 8, dim=-1)
    assert torch.equal(codes * scale.float() + low.float(), torch.full((1, 32), 0.5))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("prompt", [10, 63, 64, 100])
def test_bytes_are_those_by_hand_whatever_the_prompt(bits: int, prompt: int) -> None:
    layer = RoundedLayer(bits)
    layer.update(*states(prompt))
    for tokens in range(prompt + 1, 131):
        layer.update(*states(1, seed=tokens))
        groups = max(0, (tokens - 32) // 32)
        recent = (tokens - 32 * groups) * 2 * 64 * 4  # keys and values in fp32
        codes = 32 * groups * 2 * 64 * bits // 8
        scales = 4 * (groups * 64 + 32 * groups * 2)  # fp16 scale and minimum: per channel, and twice per token
        assert layer.stored_bytes == layer.bytes_with(tokens) == 2 * 3 * (recent + codes + scales)
        assert layer.get_seq_length() == tokens


def test_recent_tokens_stay_as_computed_and_earlier_ones_are_close() -> None:
    keys, values = states(130)
    for bits, most in ((8, 0.02), (4, 0.35)):
        layer = RoundedLayer(bits)
        first_keys, first_values = layer.update(keys[:, :, :120], values[:, :, :120])
        assert torch.equal(first_keys, keys[:, :, :120]) and torch.equal(first_values, values[:, :, :120])
        for i in range(120, 130):
            all_keys, all_values = layer.update(keys[:, :, i : i + 1], values[:, :, i : i + 1])
        earlier = 130 - (130 - RECENT) % GROUP - RECENT
        for found, true in ((all_keys, keys), (all_values, values)):
            assert torch.equal(found[:, :, earlier:], true[:, :, earlier:])
            assert 0 < (found[:, :, :earlier] - true[:, :, :earlier]).abs().max() < most


def test_single_tokens_cannot_be_dropped_from_it() -> None:
    layer = RoundedLayer(8)
    layer.update(*states(70))
    with pytest.raises(RuntimeError, match="a rounded cache cannot drop 2 tokens: go back by restore"):
        layer.crop(2)
    assert layer.get_seq_length() == 70


def test_a_whole_text_is_scored_through_the_cache_and_more_bits_lose_less() -> None:
    model = made_models.llama()
    long = torch.randint(4, 64, (2, 66), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        dense = model(input_ids=long).logits
        errors = []
        for kind in KINDS:
            made = with_rounded_cache(model, kind)
            mask = torch.ones_like(long)
            mask[1, 60:] = 0  # padding on the right changes nothing before it
            found = made(input_ids=long, attention_mask=mask).logits
            assert torch.allclose(found[:, :64], dense[:, :64], atol=1e-5)  # 32 tokens are rounded after the 64th
            errors.append(float((found[0, 64:] - dense[0, 64:]).abs().max()))
    assert 1e-5 < errors[0] < errors[1]
    with pytest.raises(InputError, match="padded on the left"):
        made(input_ids=long, attention_mask=mask.flip(1))


def test_every_pass_after_the_prompt_is_the_same() -> None:
    made = with_rounded_cache(llama(), "int4")
    decoding = Decoding(caching(made), 6, IDS)  # the 64th token is within the pass
    with torch.no_grad():
        first, second = (torch.cat([decoding() for _ in range(6)], dim=1) for _ in range(2))
    assert torch.equal(first, second)
    assert decoding.cache_bytes == made.bytes_with(66, now=66) == made.cache_bytes


def test_generate_uses_the_rounded_cache() -> None:
    made = with_rounded_cache(llama(), "int8")
    with torch.no_grad():
        found = made.generate(IDS[:1, :58], max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
        ids = [made.prefill(IDS[:1, :58])]
        while len(ids) < 6:
            ids.append(made.step(ids[-1]))
    assert torch.equal(found[:, 58:], torch.cat(ids, dim=1))


def test_openvino_rounds_its_cache_and_states_the_bytes() -> None:
    model = families.family("Llama", **{**families.GROUPED, "head_dim": 32})
    bundle = made_models.trainable(model)
    made = runtimes.prepare(check.checked_with_cache(bundle), "openvino", kv_cache="int8")
    assert isinstance(made, StatefulModel)
    with torch.no_grad():
        dense = model(input_ids=IDS).logits
        found = made(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    assert 1e-6 < float((found - dense).abs().max()) < 0.2
    per_head = 32 + 8  # codes, and scale and zero point in fp32
    assert made.cache_bytes == 2 * 60 * 2 * 2 * 2 * per_head  # texts, tokens, layers, keys and values, heads
    decoding = Decoding(made, 5, IDS)
    first, second = (torch.cat([decoding() for _ in range(5)], dim=1) for _ in range(2))
    assert torch.equal(first, second)  # set back, the cache is rounded to the same codes


def test_without_it_openvino_keeps_what_it_computes_in() -> None:
    model = llama()
    graph = check.checked_with_cache(made_models.trainable(model))
    exact = StatefulModel(graph.path, model.config, exact=True)
    with torch.no_grad():
        dense = model(input_ids=IDS).logits
    exact.prefill(IDS[:, :30])
    steps = torch.cat([exact.append(IDS[:, i : i + 1]) for i in range(30, 60)], dim=1)
    assert torch.allclose(steps, dense[:, 30:], atol=1e-4)  # its own default is 8 bits
    assert exact.cache_bytes == 2 * 60 * 2 * 2 * 4 * 4 * 4


def test_an_artifact_keeps_the_setting(tmp_path: Path) -> None:
    bundle = made_models.trainable(llama())
    artifact.save(bundle, tmp_path / "a", {"runtime": "eager", "kv_cache": "int4"})
    model, _, manifest = artifact.load(tmp_path / "a")
    made = runtimes.runnable_artifact(model, "eager", manifest)
    assert isinstance(made, RoundedCacheModel) and isinstance(made, Caching) and made.bits == 4
    assert made.config is model.config


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"name": "mine", "kv_cache": "int8", **fields})


def test_what_has_no_rounded_cache_is_refused_with_the_reason() -> None:
    machine = describe(CPU)
    assert supported_runtime(recipe(), machine, "causal-lm") == "auto"
    with pytest.raises(InputError, match="only language models keep a cache"):
        supported_runtime(recipe(), machine, "text-classification")
    for runtime in ("compile", "onnxruntime"):
        with pytest.raises(InputError, match=f"{runtime} has no rounded cache; use runtime eager or openvino"):
            supported_runtime(recipe(runtime=runtime), machine, "causal-lm")
    with pytest.raises(InputError, match=r"OpenVINO 2026\.4 crashes when a cache of 4 bits is set back"):
        supported_runtime(recipe(runtime="openvino", kv_cache="int4"), machine, "causal-lm")
    with pytest.raises(InputError, match="keeps its cache in DynamicSlidingWindowLayer"):
        with_rounded_cache(families.gemma3(), "int8")


def test_rounded_inputs_are_noted_only_where_logits_change() -> None:
    from compress.methods import apply_step
    from compress.spec.steps import Quantize

    bundle = made_models.trainable(llama())
    dense = check.checked_with_cache(bundle)
    assert check.rounded_inputs(bundle, dense) is None
    quantized = apply_step(bundle, Quantize(bits=8, symmetric=True, group_size=32))
    graph = check.checked_with_cache(quantized)
    changed = graph.rounding(check.check_batches(quantized)[0]).difference
    note = check.rounded_inputs(quantized, graph)
    if note is None:  # a CPU without products of integers
        assert changed < 0.01
    else:
        assert f"groups of {graph.input_group}" in note and f"by up to {changed:.2g}" in note
