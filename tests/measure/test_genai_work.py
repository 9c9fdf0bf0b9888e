"""Work of graphs of onnxruntime-genai equals that of the torch model, and of integers that of their bits."""

from typing import Any

import pytest
import torch

from compress.data.point import OperatingPoint
from compress.energy.peaks import Peaks, Read
from compress.measure.genai_work import genai_work
from compress.measure.limits import limit
from compress.measure.work import work
from compress.methods import apply_step
from compress.records.limit import MEMORY
from compress.spec.steps import Quantize
from tests.export import made

pytest.importorskip("onnxruntime_genai", reason="the extra onnxruntime-genai is not installed")
from compress.model.runtimes.genai_build import checked_in_genai

IDS = torch.randint(4, 300, (1, 20), generator=torch.Generator().manual_seed(3))
BATCH = {"input_ids": IDS}
PEAKS = Peaks(1, (Read(2**30, 1e10),), 1e10, {"float32": 1e12, "int8": 4e12}, {})


def size(model: Any, exclude: str = "") -> int:
    """Bytes of a model's parameters."""
    return sum(p.numel() * 4 for name, p in model.named_parameters() if not exclude or exclude not in name)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_operations_are_those_of_torch_and_a_token_reads_all_weights_but_one_row_of_the_embedding(name: str) -> None:
    model = getattr(made, name)().eval()
    found = checked_in_genai(made.of_genai(model))
    counted = genai_work(found.path, found.heads[1], 1, 20)
    assert counted.unknown == ()
    expected = work(model, lambda: model(input_ids=IDS)).operations
    assert sum(counted.operations.values()) == pytest.approx(sum(expected.values()), rel=1e-6)
    embedding = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embedding
    whole = size(model) if tied else size(model, "embed_tokens") + embedding.shape[1] * 4
    rotation = found.heads[1] * 4  # a row of cosines and sines, each of half the width
    assert counted.read_bytes == pytest.approx(whole + rotation, abs=rotation)


def test_integers_are_read_with_their_scales_and_multiplied_in_eight_bits() -> None:
    model = made.llama().eval()
    linear = sum(module.weight.numel() for name, module in model.named_modules() if name.endswith("_proj"))
    dense = checked_in_genai(made.of_genai(model))
    step = Quantize(bits=4, backend="torch", symmetric=True, group_size=32)
    found = checked_in_genai(apply_step(made.of_genai(made.llama().eval()), step))
    counted = genai_work(found.path, found.heads[1], 1, 20)
    assert counted.operations["int8"] == 2 * linear * 20
    saved = genai_work(dense.path, dense.heads[1], 1, 20).read_bytes - counted.read_bytes
    assert saved == linear * 4 - linear // 2 - linear // 32 * 4


def test_prompts_and_tokens_have_a_limit() -> None:
    found = checked_in_genai(made.of_genai(made.llama().eval()))
    prompt = limit(found, OperatingPoint(batch_size=1, sequence_length=20, phase="prefill"), BATCH, PEAKS, False)
    assert prompt is not None
    assert prompt.work == {"float32": genai_work(found.path, found.heads[1], 1, 20).operations["float32"]}
    point = OperatingPoint(batch_size=1, sequence_length=20, phase="decode", new_tokens=3)
    token = limit(found, point, BATCH, PEAKS, False)
    assert token is not None
    heads, width = found.heads
    cached = 2 * found.config.num_hidden_layers * heads * width * 4
    weights = genai_work(found.path, width, 1, 1).read_bytes
    assert token.work == {
        MEMORY: pytest.approx(weights + cached * (20 + 2), rel=0.01)
    }  # 21, 22 and 23 tokens, or 20 to 22
