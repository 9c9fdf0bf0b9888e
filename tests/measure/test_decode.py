"""Generation over a filled cache: the tokens that transformers generates, the same work on each call, its own point."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from compress.base.config import InputError
from compress.data.workload import Workload
from compress.measure.decode import Decoding, Generation, Prefill
from compress.model.caching import caching
from compress.records import files as result_files
from tests.helpers import QUICK, compress, sentences, tokenizer
from tests.made_models import MODELS, llama

CACHE_BYTES = 2 * 2 * 2 * 4 * 4 * 4
"""Of a token in both of 2 texts: keys and values of 2 layers of 4 heads of width 4, in fp32."""
PROMPT = torch.randint(4, 28, (2, 8), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_it_makes_the_tokens_that_transformers_makes_greedily_and_the_same_on_every_call(name: str) -> None:
    model = MODELS[name]()
    whole = model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=6, min_new_tokens=6,
                           do_sample=False, pad_token_id=0, eos_token_id=None)  # fmt: skip
    decoding = Decoding(caching(model), 5, PROMPT)
    with torch.no_grad():
        first, second = (torch.cat([decoding() for _ in range(5)], dim=1) for _ in range(2))
        request = Generation(caching(model), 6)(PROMPT)
        begun = Prefill(caching(model))(PROMPT)
    assert torch.equal(first, whole[:, 9:])
    assert torch.equal(first, second)
    assert torch.equal(request, whole[:, 8:])
    assert torch.equal(begun, whole[:, 8:9])


def test_a_sliding_window_that_the_prompt_has_filled_can_be_gone_back_in() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, intermediate_size=64, sliding_window=6)  # fmt: skip
    decoding = Decoding(caching(MistralForCausalLM(config).eval()), 4, PROMPT)
    with torch.no_grad():
        first, second = (torch.cat([decoding() for _ in range(4)], dim=1) for _ in range(2))
        assert torch.equal(first, second)
        for _ in range(6):  # in mid-pass and after it alike: 5 tokens before the last one, of 2 texts, layers and heads
            decoding()
            assert decoding.cache_bytes == 2 * 2 * 2 * 2 * 8 * 4 * 5


def test_the_prompt_is_computed_before_the_first_call_and_every_call_is_one_token() -> None:
    model, lengths = llama(), []
    model.register_forward_pre_hook(lambda _m, _a, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True)
    decoding = Decoding(caching(model), 3, PROMPT)
    assert lengths == [8]
    for calls in range(1, 8):
        decoding()
        assert lengths == [8, *[1] * calls]
    per_token = 2 * 2 * model.config.num_hidden_layers * model.config.num_key_value_heads * model.config.head_dim * 4
    assert decoding.cache_bytes == (8 + 3) * per_token  # keys and values of 2 texts in fp32, after a whole pass


def write_language(folder: Path, **changes: Any) -> Path:
    """A workload of a made Llama and made sentences, with a point that generates."""
    llama().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for split, seed in (("train", 1), ("test", 2)):
        text = "\n".join(sentences(60, seed)["text"])
        (folder / "data" / f"{split}.txt").write_text(text)
    plain: dict[str, Any] = {
        "task": "causal-lm",
        "model": "model",
        "dataset": {"path": "data", "train": "train", "test": "test"},
        "max_length": 32,
        "headline": {"batch_size": 2, "sequence_length": 16},
        "points": [
            {"batch_size": 1, "sequence_length": 8, "generate": 4},
            {"phase": "generate", "batch_size": 1, "context": 8, "new_tokens": 4},
        ],
        **changes,
    }
    path = folder / "my.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


def test_a_point_that_generates_is_measured_and_a_graph_says_why_it_is_not(tmp_path: Path) -> None:
    workload = write_language(tmp_path)
    more = ("--set", "measure.points=all")
    done = compress("run", "llama_bf16", "llama_int8", "--workload", workload, *QUICK, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {r.name: r for r in result_files.read_all(tmp_path / "results")[0]}
    decoding, prefill, shorter, request = found["llama_bf16"].points
    shapes = [(p.phase, p.batch_size, p.sequence_length, p.generated_tokens, p.new_tokens) for p in (decoding, prefill)]
    assert shapes == [("decode", 2, 16, 1, 16), ("prefill", 2, 16, None, None)]
    assert (shorter.phase, shorter.sequence_length, shorter.new_tokens) == ("decode", 8, 4)
    assert (request.phase, request.generated_tokens, request.new_tokens) == ("generate", 4, 4)
    assert decoding.headline and decoding.energy_j is not None and decoding.energy_per_token_j is not None
    assert decoding.energy_per_token_j.value == decoding.energy_j.value
    assert all(r.batches % 4 == 0 for r in shorter.rounds)
    assert request.energy_j is not None and request.energy_per_token_j is not None
    assert request.energy_per_token_j.value == pytest.approx(request.energy_j.value / 4)
    assert decoding.verdict is not None and decoding.ratio("fp32 eager") is not None
    assert decoding.cache_bytes == (16 + 16) * CACHE_BYTES // 2  # in bf16
    assert prefill.cache_bytes is None
    if found["llama_int8"].runtime == "onnxruntime":
        assert not found["llama_int8"].points
        assert any("keeps no cache" in note for note in found["llama_int8"].notes)
    for path in (tmp_path / "results" / "my").glob("*.json"):
        told = compress("verify", path, cwd=tmp_path)
        assert told.returncode == 0, told.stdout
    shown = compress("show", next((tmp_path / "results" / "my").glob("llama_bf16*.json")), cwd=tmp_path).stdout
    assert "decode, batch 2, context 16 (headline):" in shown and "prefill, batch 2 x length 16:" in shown
    assert "generate 4, batch 1 x length 8:" in shown
    assert "generated tokens per second" in shown
    headline = shown.partition("prefill, batch 2 x length 16:")[0]
    assert headline.count("mJ per generated token") == 1  # a batch is one token: the figure stands once


def test_a_point_beyond_the_models_positions_is_refused(tmp_path: Path) -> None:
    point = {"batch_size": 1, "sequence_length": 32, "generate": 5000}
    done = compress("run", "llama_dense", "--workload", write_language(tmp_path, points=[point]), cwd=tmp_path)
    assert done.returncode == 2
    assert "the point of length 32 needs 5032" in done.stderr


@pytest.mark.parametrize(
    ("task", "headline", "said"),
    [
        ("text-classification", "batch_size: 1, sequence_length: 8, generate: 4", "only language models"),
        ("image-classification", "batch_size: 1, context: 8, phase: prefill", "only language models"),
        ("causal-lm", "batch_size: 1, context: 8, phase: prefill", "put it into points"),
        ("causal-lm", "batch_size: 1, phase: decode", "the context is missing"),
        ("causal-lm", "batch_size: 1, context: 8, new_tokens: 4, phase: prefill", "expected phase decode or generate"),
        ("causal-lm", "batch_size: 1, context: 8, sequence_length: 8", "are the same"),
        ("causal-lm", "batch_size: 1, context: 8, phase: decoding", "decoding"),
    ],
)
def test_a_point_that_cannot_be_is_refused(tmp_path: Path, task: str, headline: str, said: str) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(f"task: {task}\nmodel: m\ndataset: {{path: d}}\nheadline: {{{headline}}}\n")
    with pytest.raises(InputError, match=said):
        Workload.load(path)


def test_a_language_models_points_are_decode_and_prefill_unless_they_state_a_phase(tmp_path: Path) -> None:
    def points(lines: str) -> list[tuple[Any, ...]]:
        path = tmp_path / "w.yaml"
        path.write_text(f"task: causal-lm\nmodel: m\ndataset: {{path: d}}\n{lines}")
        found = Workload.load(path).measured_points("all")
        return [(p.phase, p.batch_size, p.sequence_length, p.new_tokens) for p in found]

    assert points("") == [("decode", 1, 64, 16), ("prefill", 1, 64, None)]
    assert points("max_length: 32\n") == [("decode", 1, 16, 16), ("prefill", 1, 16, None)]
    written = "headline: {batch_size: 2, context: 32}\npoints: [{batch_size: 8, sequence_length: 64}]\n"
    assert points(written) == [("decode", 2, 32, 16), ("prefill", 8, 64, None)]
    older = "points: [{batch_size: 1, sequence_length: 8, generate: 4}]\n"
    assert points(older) == [("decode", 1, 64, 16), ("prefill", 1, 64, None), ("decode", 1, 8, 4)]
