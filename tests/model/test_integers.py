"""Integers of a layer leave as they are: packed words, blocks, and the reasons for which a format has no place."""

from typing import Any

import pytest
import torch

from compress.base.errors import InputError
from compress.methods import apply_step
from compress.model.gguf.blocks import blocks
from compress.model.packing import grouped
from compress.model.packing.expanding import grouped_layers
from compress.model.packing.integers import Integers, from_words, refuse, words
from compress.spec.exports import TARGETS, Target, target_of
from compress.spec.steps import Quantize
from tests import made_models
from tests.export import made

GENERATOR = torch.Generator().manual_seed(3)


def integers(bits: int = 4, rows: int = 8, columns: int = 64, size: int = 32) -> Integers:
    """Random symmetric integers."""
    ints = torch.randint(0, 2**bits, (rows, columns), generator=GENERATOR, dtype=torch.int32)
    scale = torch.rand(rows, columns // size, generator=GENERATOR).half()
    return Integers(ints, scale, torch.full_like(scale, 2 ** (bits - 1)), bits, None, torch.float32)


def quantized(**settings: Any) -> Any:
    """A small Llama whose layers are quantized with these settings."""
    bundle = made_models.bundle(made.llama(), task="causal-lm", processor=made.tokenizer())
    return apply_step(bundle, Quantize(**settings))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_words_hold_values_lowest_first(bits: int) -> None:
    values = torch.randint(0, 2**bits, (3, 64), generator=GENERATOR)
    found = words(values, bits)
    for row in range(3):
        for word in range(64 * bits // 32):
            part = values[row, word * (32 // bits) : (word + 1) * (32 // bits)].tolist()
            expected = sum(value << (bits * index) for index, value in enumerate(part))
            assert int(found[row, word]) % 2**32 == expected
    assert torch.equal(from_words(found, bits), values.int())


@pytest.mark.parametrize("bits", [4, 8])
def test_words_are_those_of_compressed_tensors(bits: int) -> None:
    package = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    value = integers(bits)
    assert torch.equal(words(value.ints, bits), package.pack_to_int32(value.signed.to(torch.int8), bits))


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_are_those_of_gguf(bits: int) -> None:
    package = pytest.importorskip("gguf")
    value = integers(bits)
    kind = package.GGMLQuantizationType[{4: "Q4_0", 8: "Q8_0"}[bits]]
    read = torch.from_numpy(package.dequantize(blocks(value).numpy(), kind))
    assert torch.equal(read, (value.signed.view(8, 2, 32) * value.scale.float()[..., None]).view(8, 64))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bits", [4, 8])
def test_symmetric_groups_of_32_are_held_by_all_formats(target: Target, bits: int) -> None:
    bundle = quantized(bits=bits, symmetric=True, group_size=32)
    assert len(refuse(bundle.model, bundle.layers, target)) == 14


REFUSED = [
    ("compressed-tensors", {"bits": 4, "backend": "torch", "group_size": 32}, "is not symmetric"),
    ("gguf", {"bits": 4, "symmetric": True, "group_size": 64}, "has groups of 64; expected 32"),
    ("gguf", {"bits": 2, "symmetric": True, "group_size": 32}, "has 2 bits; expected 4 or 8"),
    ("gptq", {"bits": 3, "symmetric": True, "group_size": 32}, "has 3 bits; expected 2 or 4 or 8"),
    ("gptq", {"bits": 4, "rounding": "hqq", "group_size": 32}, "has zeros that are no integers"),
    ("openvino", {"bits": 4, "format": "nf4", "group_size": 64}, "is stored as nf4 of bitsandbytes"),
]


@pytest.mark.parametrize(("target", "settings", "reason"), REFUSED)
def test_what_a_format_cannot_hold_is_refused_by_the_layers_name(target: Target, settings: Any, reason: str) -> None:
    bundle = quantized(**{**settings, "exclude": ("*lm_head*", "*down_proj*")})  # 96 inputs have no groups of 64
    with pytest.raises(InputError) as refused:
        refuse(bundle.model, bundle.layers, target)
    assert "model.layers.0.self_attn.q_proj" in str(refused.value)
    assert reason in str(refused.value)


def test_blocks_of_onnx_are_powers_of_two() -> None:
    layer = grouped.make(torch.nn.Linear(96, 8), {"format": "int4", **made.SYMMETRIC, "group_size": "row"})
    with pytest.raises(InputError, match="onnx: 0 has groups of 96; expected 16 or 32 or 64 or 128 or 256"):
        refuse(torch.nn.Sequential(layer), {}, "onnx")


def test_scales_of_inputs_have_no_place() -> None:
    bundle = quantized(**made.SYMMETRIC)
    grouped_layers(bundle.model)["model.layers.1.mlp.up_proj"].input_scale = torch.ones(64).half()
    with pytest.raises(InputError, match=r"model\.layers\.1\.mlp\.up_proj has a scale for each input"):
        refuse(bundle.model, bundle.layers, "gguf")


def test_outputs_that_do_not_fill_words_are_refused_for_gptq_only() -> None:
    layer = grouped.make(torch.nn.Linear(32, 12), {"format": "int4", **made.SYMMETRIC})
    model = torch.nn.Sequential(layer)
    with pytest.raises(InputError, match="gptq: 0 has 12 outputs; expected a multiple of 8"):
        refuse(model, {}, "gptq")
    assert list(refuse(model, {}, "gguf")) == ["0"]


def test_an_unknown_format_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="--to ggfu: unknown format; expected one of compressed-tensors, gguf"):
        target_of("ggfu")
