"""Static caches: the tokens of the dynamic one, no new memory and no new graphs from pass to pass, and refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.base.device import CPU
from compress.harness.supported import supported_runtime
from compress.measure.decode import Decoding, Generation, Prefill
from compress.measure.windows import compilations
from compress.model import artifact, runtimes
from compress.model.caching import Caching, caching
from compress.model.static_cache import StaticCacheModel, refusal, with_static_cache
from compress.records.machine import describe
from compress.spec.recipe import Recipe
from tests import families, made_models

IDS = torch.randint(4, 64, (2, 24), generator=torch.Generator().manual_seed(0))
SHORT, LONG = 6, 14
"""Prompts that fill the windows of 8 and 10 tokens later on, and that have filled them."""


def windowed() -> Any:
    """Mistral, all of whose layers attend to 10 tokens."""
    return families.family("Mistral", **families.GROUPED, sliding_window=10)


MODELS: dict[str, Callable[[], Any]] = {**families.FAMILIES, "mistral with a window": windowed}


def passes(model: Any, prompt: int, count: int = 2) -> list[torch.Tensor]:
    """Logits [batch, tokens, vocabulary] after a prompt of IDS and each further token, of several passes."""
    model.reserve(IDS.shape[1], rewinds=True)
    found = []
    with torch.no_grad():
        model.prefill(IDS[:, :prompt])
        for _ in range(count):
            found.append(torch.cat([model.append(IDS[:, i : i + 1]) for i in range(prompt, IDS.shape[1])], dim=1))
            model.rewind()
    return found


def dynamic(model: Any, prompt: int) -> torch.Tensor:
    """The same logits with transformers' dynamic cache."""
    cache = transformers.DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=IDS[:, :prompt], past_key_values=cache)
        steps = [model(input_ids=IDS[:, i : i + 1], past_key_values=cache).logits for i in range(prompt, IDS.shape[1])]
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize("prompt", [SHORT, LONG])
@pytest.mark.parametrize("name", MODELS)
def test_every_token_has_the_logits_of_the_dynamic_cache_in_every_pass(name: str, prompt: int) -> None:
    model = MODELS[name]()
    expected = dynamic(model, prompt)
    for found in passes(with_static_cache(model, compiled=False), prompt):
        assert torch.allclose(found, expected, atol=1e-5)
        assert found.abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "mistral with a window", "gemma3", "gpt2", "qwen2", "opt"])
def test_a_compiled_token_has_them_too_and_later_passes_compile_nothing(name: str) -> None:
    model = MODELS[name]()
    made = with_static_cache(model, compiled=True, backend="eager")
    for prompt in (SHORT, LONG):
        (warm,) = passes(made, prompt, count=1)  # the cache is allocated, a token is compiled
        passes(made, prompt, count=1)  # the prompt is compiled
        before = compilations()
        assert before > 0
        for found in (warm, *passes(made, prompt)):
            assert torch.allclose(found, dynamic(model, prompt), atol=1e-5)
        assert compilations() == before


def test_a_token_is_one_graph_whose_shapes_are_numbers() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def noting(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    made = with_static_cache(made_models.llama(), compiled=True, backend=noting)
    for length in (SHORT, LONG):  # a second shape does not make the first one variable
        graphs.clear()
        decoding = Decoding(made, 4, IDS[:, :length])
        with torch.no_grad():
            for _ in range(9):
                decoding()
        (graph,) = graphs
        shapes = [node.meta["example_value"].shape for node in graph.graph.nodes
                  if isinstance(node.meta.get("example_value"), torch.Tensor)]  # fmt: skip
        assert shapes and all(type(size) is int for shape in shapes for size in shape)


def test_inductor_computes_the_tokens_of_the_dynamic_cache() -> None:
    model = made_models.llama(layers=1)
    made = runtimes.prepare(model, "compile", kv_cache="static")
    assert isinstance(made, StaticCacheModel)
    (found,) = passes(made, SHORT, count=1)
    assert torch.allclose(found, dynamic(model, SHORT), atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_on_a_gpu_tokens_are_replayed_as_cuda_graphs(name: str) -> None:
    model = MODELS[name]().to("cuda")
    made = runtimes.prepare(model, "compile", kv_cache="static")
    expected = Decoding(caching(model), 6, IDS[:, :LONG].to("cuda"))
    found = Decoding(made, 6, IDS[:, :LONG].to("cuda"))
    with torch.no_grad():
        for _ in range(18):
            assert torch.equal(found(), expected())


def test_memory_is_allocated_once_per_batch_size_and_length() -> None:
    model, caches = made_models.llama(), []
    model.register_forward_pre_hook(lambda _m, _a, given: caches.append(given["past_key_values"]), with_kwargs=True)
    made = with_static_cache(model, compiled=False)
    per_token = 2 * 2 * 4 * 4 * 4  # keys and values of 2 layers of 4 heads of width 4, in fp32

    def decoding(batch: int, length: int) -> tuple[Decoding, list[int]]:
        one = Decoding(made, 5, IDS[:batch, :length])
        with torch.no_grad():
            for _ in range(12):
                one()
        return one, places()

    def places() -> list[int]:
        return [t.data_ptr() for layer in caches[-1].layers for t in (layer.keys, layer.values)]

    one, first = decoding(2, 8)
    assert one.cache_bytes == 2 * (8 + 5) * per_token
    assert decoding(2, 8)[1] == first
    with torch.no_grad():
        assert Prefill(made)(IDS[:, :8]).shape == (2, 1)
    assert made.cache_bytes == 2 * 8 * per_token  # of the prompt alone
    assert decoding(2, 8)[1] == first  # kept beside that of the prompt
    assert decoding(1, 8)[0].cache_bytes == (8 + 5) * per_token


def test_requests_have_the_tokens_of_the_dynamic_cache() -> None:
    model = made_models.llama()
    with torch.no_grad():
        expected = Generation(caching(model), 6)(IDS)
        found = Generation(with_static_cache(model, compiled=False), 6)(IDS)
        assert torch.equal(found, expected)
        whole = with_static_cache(model, compiled=False)(input_ids=IDS).logits
        assert torch.equal(whole, model(input_ids=IDS).logits)


def test_a_full_cache_is_an_error_and_not_overwritten() -> None:
    made = with_static_cache(made_models.llama(), compiled=False)
    made.reserve(9)
    with torch.no_grad():
        first = made.prefill(IDS[:, :8])
        made.step(first)
        with pytest.raises(RuntimeError, match="the static cache holds 9 tokens and is full: reserve more"):
            made.step(first)


def mamba() -> Any:
    """Mamba: a state of fixed size, and no keys and values."""
    config = transformers.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)
    return transformers.MambaForCausalLM(config)


def refused_layers() -> Any:
    """A model of a class that transformers compiles, with a layer that is no attention."""
    kinds = ["conv", "full_attention"]
    fields = {key: value for key, value in families.GROUPED.items() if key != "head_dim"}
    return families.family("Lfm2", **fields, layer_types=kinds)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (mamba, "transformers does not compile MambaForCausalLM with a static cache; remove kv_cache"),
        (refused_layers, "Lfm2ForCausalLM keeps its cache in LinearAttentionLayer, which has no fixed size; remove"),
    ],
)
def test_an_architecture_without_it_is_refused_and_the_error_says_what_to_do(make: Any, message: str) -> None:
    model = make()
    assert str(refusal(model)).startswith(message)
    with pytest.raises(InputError, match=f"kv_cache static: {message}"):
        with_static_cache(model, compiled=True)


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"name": "mine", "kv_cache": "static", **fields})


def test_runtimes_and_devices_without_it_are_refused() -> None:
    machine = describe(CPU)
    assert supported_runtime(recipe(), machine, "causal-lm") == "auto"
    assert supported_runtime(recipe(runtime="compile"), machine, "causal-lm") == "compile"
    with pytest.raises(InputError, match="only language models keep a cache"):
        supported_runtime(recipe(), machine, "text-classification")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(InputError, match=f"{runtime} keeps a cache of its own or none; use runtime eager or comp"):
            supported_runtime(recipe(runtime=runtime), machine, "causal-lm")
    with pytest.raises(InputError, match="flash_attention_2 cannot be part of a compiled token"):
        supported_runtime(recipe(runtime="compile", attention="flash_attention_2"), machine, "causal-lm")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler and found none; install g\+\+"):
        runtimes.prepare(made_models.llama(), "compile", kv_cache="static")


def test_an_artifact_keeps_the_setting(tmp_path: Path) -> None:
    artifact.save(
        made_models.trainable(made_models.llama()), tmp_path / "a", {"runtime": "eager", "kv_cache": "static"}
    )
    model, _, manifest = artifact.load(tmp_path / "a")
    made = runtimes.runnable_artifact(model, "eager", manifest)
    assert isinstance(made, StaticCacheModel) and isinstance(made, Caching)
    assert made.config is model.config
    with torch.no_grad():
        found = made.generate(IDS[:1], max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert torch.equal(found[:, 24:], Generation(made, 4)(IDS[:1]))
