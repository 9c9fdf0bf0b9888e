"""Language models under llama.cpp: whole texts, single tokens, our integers, and exports that are refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from compress.base.errors import InputError
from compress.base.files import scratch
from compress.data.point import OperatingPoint
from compress.energy.peaks import Peaks, Read
from compress.export import export
from compress.measure import kernels
from compress.measure.graph_work import gguf_read_bytes
from compress.measure.limits import limit
from compress.measure.size import stored_bytes
from compress.methods import apply_step
from compress.model import artifact, gguf, runtimes
from compress.model.bundle import Bundle
from compress.model.manifest import INTEGERS
from compress.model.packing.expanding import grouped_layers
from compress.spec.steps import Quantize
from tests.export import made
from tests.helpers import assets

pytest.importorskip("xllamacpp", reason="the extra llama-cpp is not installed")
pytest.importorskip("gguf", reason="the extra llama-cpp is not installed")
from compress.model.runtimes import llama_library
from compress.model.runtimes.check import divergence
from compress.model.runtimes.llama_check import checked_in_llama_cpp
from compress.model.runtimes.llama_cpp import LlamaCppModel

IDS = torch.randint(4, 300, (2, 20), generator=torch.Generator().manual_seed(3))


def bundle(model: Any, words: Any = None) -> Bundle:
    return Bundle(model, words or made.tokenizer(), "causal-lm", torch.device("cpu"), runtime="llama.cpp")


def written(model: Any, words: Any = None, exact: bool = True) -> LlamaCppModel:
    folder = scratch("gguf")
    gguf.write(model, words or made.tokenizer(), grouped_layers(model), folder)
    return LlamaCppModel(folder / gguf.FILE, model.config, temporary=True, exact=exact)


def stories() -> tuple[Any, Any]:
    place = assets("models", "stories260K")
    model = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    return model, transformers.AutoTokenizer.from_pretrained(place)


def logits(model: Any, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, **inputs).logits
    return found


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3", "mistral"])
def test_whole_texts_and_tokens_one_by_one_have_the_models_logits(name: str) -> None:
    most = 3e-3 if name == "gemma3" else 1e-4  # ggml looks gelu up in a table of fp16 numbers
    model = getattr(made, name)().eval()
    found, expected = written(model), logits(model, IDS)
    assert torch.allclose(logits(found, IDS), expected, atol=most)
    found.prefill(IDS[:, :10])
    steps = torch.cat([found.append(IDS[:, i : i + 1]) for i in range(10, 20)], dim=1)
    assert torch.allclose(steps, expected[:, 10:], atol=most)
    found.rewind()
    assert torch.allclose(found.append(IDS[:, 10:11]), expected[:, 10:11], atol=most)


def test_stories_have_the_bounds_of_a_file_in_fp32_and_the_same_greedy_text() -> None:
    model, words = stories()
    ids = torch.tensor([words("Once upon a time, there was a little girl named Lily.")["input_ids"]])
    found = written(model, words)
    assert float((logits(found, ids) - logits(model, ids)).abs().max()) < 0.003
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
    assert torch.equal(found.generate(ids, max_new_tokens=40), expected)


def test_padding_on_either_side_changes_no_token() -> None:
    model = made.llama().eval()
    found, alone = written(model), logits(model, IDS[:1, :12])[0]
    for kept in (slice(0, 12), slice(8, 20)):
        ids, mask = IDS.clone(), torch.ones_like(IDS)
        mask[0] = 0
        mask[0, kept], ids[0, kept] = 1, IDS[0, :12]
        assert torch.allclose(logits(found, ids, attention_mask=mask)[0, kept], alone, atol=1e-4)


def test_a_text_longer_than_its_cache_is_read_into_a_larger_one() -> None:
    model = made.llama(max_position_embeddings=1024).eval()
    ids = torch.randint(4, 300, (1, 700), generator=torch.Generator().manual_seed(5))
    found, expected = written(model), logits(model, ids)
    found.prefill(ids[:, :10])
    found.append(ids[:, 10:690])
    assert torch.allclose(found.append(ids[:, 690:691])[0, 0], expected[0, 690], atol=1e-4)


def test_the_cache_holds_keys_and_values_of_the_tokens_in_fp16() -> None:
    model = made.llama().eval()
    found = written(model, exact=False)
    found.prefill(IDS)
    assert found.cache_bytes == 2 * 2 * 2 * 2 * 16 * 2 * 20  # 2 texts, keys and values, 2 layers, 2 heads of 16, fp16


@pytest.mark.parametrize(("bits", "symmetric"), [(8, True), (4, True), (4, "full")])
def test_an_artifact_has_our_integers_and_opens_in_llama_cpp(bits: Any, symmetric: Any, tmp_path: Path) -> None:
    model, words = stories()
    packed = apply_step(bundle(model, words), Quantize(bits=bits, symmetric=symmetric, group_size=32))
    assert packed.runtime == "llama.cpp"
    expected, layers = logits(packed.model, IDS), grouped_layers(packed.model)
    done = runtimes.finish(packed, packed.runtime)
    artifact.save(done, tmp_path / "a", {"runtime": "llama.cpp"})
    found, _, manifest = artifact.load(tmp_path / "a")
    assert isinstance(found, LlamaCppModel) and manifest.kind == "gguf"
    assert float(divergence(expected.flatten(0, 1), logits(found, IDS).flatten(0, 1)).mean()) < 0.05
    inner, _, _ = artifact.load(tmp_path / "a" / INTEGERS)
    assert torch.equal(logits(inner, IDS), expected)
    grouped = sum(layer.in_features * layer.out_features for layer in layers.values())
    others = 4 * (sum(p.numel() for p in packed.model.parameters()))
    assert stored_bytes(tmp_path / "a") < others + grouped * (bits / 8 + 1 / 16) + 40_000  # the tokenizer
    label = kernels.label(found, {"input_ids": IDS}, torch.device("cpu"), low_bit=True)
    assert label.label == "real" and any(op.name == f"MUL_MAT:q{bits}_0" for op in label.evidence)


def test_weights_that_fp16_holds_are_halved_beside_integers() -> None:
    model = made.llama().half().float().eval()
    packed = apply_step(bundle(model), Quantize(bits=8, symmetric=True, group_size=32))
    weights = list(written(packed.model).weights())
    assert {weight.dtype for weight in weights} == {np.dtype(np.float16)}
    dense = list(written(made.llama().half().float()).weights())
    assert {weight.dtype for weight in dense} == {np.dtype(np.float32)}


def test_a_wrong_export_in_floating_point_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "interleave", lambda tensor, heads: tensor)
    with pytest.raises(InputError, match="the exported graph differs from the model"):
        checked_in_llama_cpp(bundle(made.llama().eval()))


def test_wrong_integers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = stories()
    packed = apply_step(bundle(model, words), Quantize(bits=8, symmetric=True, group_size=32))
    true = gguf.blocks
    monkeypatch.setattr(gguf, "blocks", lambda integers: true(integers).flip(0))
    with pytest.raises(InputError, match=r"quantized layers differ from the model's: .* nats on average"):
        checked_in_llama_cpp(packed)


def test_what_gguf_lacks_is_refused_by_name() -> None:
    asymmetric = apply_step(
        dataclasses.replace(bundle(made.llama().eval()), runtime="eager"), Quantize(bits=4, backend="torch")
    )
    with pytest.raises(InputError, match="is not symmetric"):
        checked_in_llama_cpp(asymmetric)
    with pytest.raises(InputError, match="runs causal language models; got a model of text-classification"):
        checked_in_llama_cpp(dataclasses.replace(bundle(made.llama()), task="text-classification"))


def test_an_unknown_layout_of_settings_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(llama_library.KNOWN, "n_ctx", (0x04, 512))
    with pytest.raises(InputError, match=r"has other default settings .* install xllamacpp 2026\.10"):
        llama_library.Library()


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF, but damaged")
    with pytest.raises(InputError, match=r"llama\.cpp cannot open .*model\.gguf"):
        LlamaCppModel(tmp_path / "model.gguf", made.llama().config)


def test_an_artifact_for_llama_cpp_is_exported_from_the_integers_beside_it(tmp_path: Path) -> None:
    packed = apply_step(bundle(made.llama().eval()), Quantize(bits=4, symmetric=True, group_size=32))
    artifact.save(runtimes.finish(packed, packed.runtime), tmp_path / "a", {"runtime": packed.runtime})
    for target in ("gguf", "openvino"):
        assert export(tmp_path / "a", target, tmp_path / target).checks
    same = [(folder / gguf.FILE).read_bytes() for folder in (tmp_path / "a", tmp_path / "gguf")]
    assert same[0] == same[1]
    artifact.save(runtimes.finish(bundle(made.llama().eval()), "llama.cpp"), tmp_path / "b", {"runtime": "llama.cpp"})
    with pytest.raises(InputError, match=r"model\.gguf for llama\.cpp already"):
        export(tmp_path / "b", "gguf", tmp_path / "c")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_token_reads_the_files_weights_once_and_a_row_of_an_untied_embedding(bits: int, tied: bool) -> None:
    """Q8_0 takes 34 bytes and Q4_0 18 for 32 weights; norms are F32."""
    model = made.llama(tie_word_embeddings=tied)
    quantize = Quantize(bits=bits, symmetric=True, group_size=32, exclude=("*embed*",))
    model = apply_step(bundle(model), quantize).model
    graph = written(model, exact=False)
    c = model.config
    block = {8: 34, 4: 18}[bits] / 32
    layer = 2 * c.hidden_size**2 + 2 * c.hidden_size * c.num_key_value_heads * c.head_dim
    layer += 3 * c.hidden_size * c.intermediate_size
    weights = block * (c.num_hidden_layers * layer + c.vocab_size * c.hidden_size)
    weights += 4 * (2 * c.num_hidden_layers + 1) * c.hidden_size
    row = 0 if tied else graph_row(graph.path)
    assert gguf_read_bytes(graph.path, 1) == pytest.approx(weights + row)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_prompt_computes_what_the_eager_model_computes(bits: int) -> None:
    model, words = stories()
    point = OperatingPoint(batch_size=2, phase="prefill", context=20)
    peaks = Peaks(1, (Read(2**20, 1e9),), 1e9, {"float32": 1e12, "int8": 2e12}, {})
    eager = limit(model, point, {"input_ids": IDS}, peaks, integer=False)
    assert eager is not None and eager.reason is None
    plain = limit(written(model, words), point, {"input_ids": IDS}, peaks, integer=False)
    assert plain is not None and plain.work == pytest.approx(eager.work)
    packed = apply_step(bundle(model, words), Quantize(bits=bits, symmetric="full", group_size=32))
    found = limit(written(packed.model, words), point, {"input_ids": IDS}, peaks, integer=True)
    assert found is not None and sum(found.work.values()) == pytest.approx(sum(eager.work.values()))
    linear = sum(layer.in_features * layer.out_features for layer in grouped_layers(packed.model).values())
    assert found.work["int8"] == 2 * linear * IDS.numel()


def graph_row(file: Path) -> float:
    """Bytes of one row of the embedding, by its type in the file."""
    from gguf import GGUFReader

    (embedding,) = (tensor for tensor in GGUFReader(file).tensors if tensor.name == "token_embd.weight")
    return {"F32": 4, "F16": 2}[embedding.tensor_type.name] * 64
