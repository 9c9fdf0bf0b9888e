"""Generation over a filled cache: the tokens that transformers generates, the same work on each call, its own point."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from compress.base.config import InputError
from compress.data.workload import Workload
from compress.measure.decode import Decoding
from compress.records import files as result_files
from tests.helpers import QUICK, compress, sentences, tokenizer
from tests.made_models import MODELS, llama

PROMPT = torch.randint(4, 28, (2, 8), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_it_makes_the_tokens_that_transformers_makes_greedily_and_the_same_on_every_call(name: str) -> None:
    model = MODELS[name]()
    whole = model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=6, min_new_tokens=6,
                           do_sample=False, pad_token_id=0, eos_token_id=None)  # fmt: skip
    decoding = Decoding(model, 6)
    with torch.no_grad():
        first, second = decoding(input_ids=PROMPT), decoding(input_ids=PROMPT)
    assert torch.equal(first, whole[:, 8:])
    assert torch.equal(first, second)


def test_a_sliding_window_that_the_prompt_has_filled_can_be_gone_back_in() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                           num_key_value_heads=2, intermediate_size=64, sliding_window=6)  # fmt: skip
    decoding = Decoding(MistralForCausalLM(config).eval(), 4)
    with torch.no_grad():
        first, second = decoding(input_ids=PROMPT), decoding(input_ids=PROMPT)
    assert torch.equal(first, second)


def test_only_the_first_call_computes_the_prompt() -> None:
    model, lengths = llama(), []
    model.register_forward_pre_hook(lambda _m, _a, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True)
    decoding = Decoding(model, 3)
    with torch.no_grad():
        for _ in range(2):
            decoding(input_ids=PROMPT)
    assert lengths == [8, *[1] * 6]


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
        "points": [{"batch_size": 1, "sequence_length": 8, "generate": 4}],
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
    _, decoding = found["llama_bf16"].points
    assert (decoding.phase, decoding.sequence_length, decoding.generated_tokens) == ("decode", 8, 4)
    assert decoding.energy_j is not None and decoding.energy_per_token_j is not None
    assert decoding.energy_per_token_j.value == pytest.approx(decoding.energy_j.value / 4)
    assert decoding.verdict is not None and decoding.ratio("fp32 eager") is not None
    assert "phase" in found["llama_bf16"].points[0].reasons
    if found["llama_int8"].runtime == "onnxruntime":
        assert len(found["llama_int8"].points) == 1
        assert any("keeps no cache" in note for note in found["llama_int8"].notes)
    for path in (tmp_path / "results" / "my").glob("*.json"):
        told = compress("verify", path, cwd=tmp_path)
        assert told.returncode == 0, told.stdout
    shown = compress("show", next((tmp_path / "results" / "my").glob("llama_bf16*.json")), cwd=tmp_path).stdout
    assert (
        "then 4 tokens generated" in shown and "generated tokens per second" in shown and "per generated token" in shown
    )


def test_a_point_beyond_the_models_positions_is_refused(tmp_path: Path) -> None:
    point = {"batch_size": 1, "sequence_length": 32, "generate": 5000}
    done = compress("run", "llama_dense", "--workload", write_language(tmp_path, points=[point]), cwd=tmp_path)
    assert done.returncode == 2
    assert "the point of length 32 needs 5032" in done.stderr


def test_only_language_models_generate_and_not_at_the_headline_point(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    refused = "only language models"
    for task, said in (
        ("text-classification", refused), ("image-classification", refused), ("causal-lm", "put it into points"),
    ):  # fmt: skip
        path.write_text(
            f"task: {task}\nmodel: m\ndataset: {{path: d}}\n"
            "headline: {batch_size: 1, sequence_length: 8, generate: 4}\n"
        )
        with pytest.raises(InputError, match=said):
            Workload.load(path)
