"""llama.cpp and onnxruntime-genai in a session: their own decode figures, and why one has none of several texts."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from compress.data.point import OperatingPoint
from compress.measure.session import unable
from compress.records import files as result_files
from tests.export import made
from tests.helpers import QUICK, compress, sentences

pytest.importorskip("xllamacpp", reason="the extra llama-cpp is not installed")
pytest.importorskip("gguf", reason="the extra llama-cpp is not installed")
pytest.importorskip("onnxruntime_genai", reason="the extra onnxruntime-genai is not installed")

PER_TOKEN = 2 * 2 * 2 * 16
"""Numbers in the cache for a token: keys and values of 2 layers of 2 heads of width 16."""


def test_both_are_measured_with_their_caches_and_judged_by_their_own_answers(tmp_path: Path) -> None:
    made.llama().save_pretrained(tmp_path / "model")
    made.tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.txt").write_text("\n".join(sentences(40, 2)["text"]))
    decode = {"phase": "decode", "context": 16, "new_tokens": 4}
    plain = {
        "task": "causal-lm",
        "model": "model",
        "dataset": {"path": "data", "train": None, "test": "test"},
        "max_length": 32,
        "headline": {**decode, "batch_size": 1},
        "points": [{**decode, "batch_size": 2}, {"phase": "prefill", "batch_size": 2, "context": 16}],
    }
    step = {"method": "quantize", "bits": 8, "symmetric": True, "group_size": 32}
    yaml = YAML()
    yaml.dump(plain, tmp_path / "my.yaml")
    for name, runtime in (("llama", "llama.cpp"), ("genai", "onnxruntime-genai")):
        yaml.dump({"steps": [step], "runtime": runtime}, tmp_path / f"{name}.yaml")
    more = ("--set", "measure.points=all", "--set", "steps.0.bits=8")
    done = compress("run", "llama.yaml", "genai.yaml", "--workload", "my.yaml", *QUICK, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {r.recipe["runtime"]: r for r in result_files.read_all(tmp_path / "results")[0]}
    for runtime, width in (("llama.cpp", 2), ("onnxruntime-genai", 4)):
        result = found[runtime]
        assert result.runtime == runtime and result.kernel is not None and result.kernel.label == "real"
        headline = result.points[0]
        assert headline.verdict is not None and headline.cache_bytes == (16 + 4) * PER_TOKEN * width
        assert {ratio.reference for ratio in headline.ratios} >= {"fp32 eager", f"fp32 {runtime}"}
        assert result.accuracy is not None and result.accuracy.estimate.value > 1
    shapes = {name: sorted((p.phase, p.batch_size) for p in result.points) for name, result in found.items()}
    assert shapes["llama.cpp"] == [("decode", 1), ("decode", 2), ("prefill", 2)]
    assert shapes["onnxruntime-genai"] == [("decode", 1), ("prefill", 2)]
    assert any("appends tokens to one text only" in note for note in found["onnxruntime-genai"].notes)


@pytest.mark.parametrize(
    ("runtime", "phase", "texts", "why"),
    [
        ("llama.cpp", "prefill", 256, None),
        ("llama.cpp", "prefill", 257, "reads at most 256 texts at once"),
        ("llama.cpp", "decode", 300, "reads at most 256 texts at once"),
        ("onnxruntime-genai", "prefill", 8, None),
        ("onnxruntime-genai", "decode", 2, "appends tokens to one text only"),
        ("onnxruntime", "decode", 1, "keeps no cache"),
        ("openvino", "decode", 1000, None),
    ],
)
def test_a_runtime_is_measured_at_the_batches_that_its_cache_takes(
    runtime: str, phase: str, texts: int, why: str | None
) -> None:
    fields = {"phase": phase, "batch_size": texts, "context": 16, **({"new_tokens": 4} if phase == "decode" else {})}
    point = OperatingPoint.model_validate(fields)
    found = unable(runtime, point)
    assert found == "" if why is None else why in found
