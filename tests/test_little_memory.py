"""Peak memory of models made layer by layer, and the integers of a larger one. `make test-long` runs them."""

from pathlib import Path

import pytest
import torch

from benchmarks import little_memory
from tests import streams

pytestmark = pytest.mark.long


def test_the_peak_does_not_grow_with_the_number_of_layers() -> None:
    two, six = (little_memory.measured(layers, width=512, examples=16) for layers in (2, 6))
    layer = 4 * (2 * 512 * 512 + 2 * 512 * 64 + 3 * 512 * 1408)  # bytes in fp32
    assert six.peak_bytes - two.peak_bytes < layer
    assert six.fp16_bytes - two.fp16_bytes == pytest.approx(4 * layer / 2, rel=0.01)


def test_a_model_of_a_billion_parameters_takes_a_third_of_its_fp16_size() -> None:
    figures = little_memory.measured()
    print(figures)
    assert figures.of_fp16 <= little_memory.MOST_OF_FP16


def test_a_model_of_a_third_of_a_billion_parameters_gets_the_same_integers_both_ways(tmp_path: Path) -> None:
    little_memory.write_model(tmp_path / "model", layers=20, width=1024)
    little_memory.write_data(tmp_path / "data")
    source = little_memory.source_of(tmp_path)
    steps = [{"method": "quantize", "bits": 4, "group_size": 128, "rounding": "gptq", "calibration_examples": 4}]
    whole, layers = (streams.made(tmp_path, source, steps, memory) for memory in ("whole", "layers"))
    left, right = streams.tensors(whole), streams.tensors(layers)
    integers = [name for name in left if name.endswith(".packed")]
    assert len(integers) == 140 and all(torch.equal(left[name], right[name]) for name in integers)
