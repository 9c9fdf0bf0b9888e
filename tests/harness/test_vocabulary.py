"""A trimmed vocabulary from a workload file to a result: a session of models with two tokenizers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from ruamel.yaml import YAML

from compress import Recipe, load, run
from compress.analysis.verify import verify
from compress.base.config import InputError
from compress.harness import engine
from compress.harness import run as harness
from compress.measure import session
from compress.report.describe import describe
from tests.forked import one_thread
from tests.helpers import SHORT, tokenizer
from tests.made_models import llama, random_model
from tests.made_tokenizers import TEXT, byte_level

OTHER = "zebras galore: the actor of naïve stories was very very good and the end of it felt warm. "
STEP = {"method": "prune", "structure": "vocabulary"}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are measured in this process, which spares them a start."""
    monkeypatch.setattr(engine, "run_child", lambda command, _device: session.main(command[3:]))
    monkeypatch.setattr(harness, "threads", one_thread)


def write_workload(folder: Path, test: str, **changes: Any) -> Path:
    dense = byte_level()
    config = transformers.LlamaConfig(
        vocab_size=len(dense), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    random_model(transformers.LlamaForCausalLM, config).save_pretrained(folder / "model")
    dense.save_pretrained(folder / "model")
    (folder / "train.txt").write_text("\n".join(TEXT[:2]))
    (folder / "test.txt").write_text(test)
    plain = {
        "task": "causal-lm",
        "model": "model",
        "dataset": {"path": ".", "train": "train.txt", "test": "test.txt", "text": "text"},
        "max_length": 32,
        "headline": {"phase": "decode", "batch_size": 1, "context": 16, "new_tokens": 4},
        **changes,
    }
    path = folder / "own.yaml"
    with path.open("w") as stream:
        YAML().dump(plain, stream)
    return path


def result(folder: Path, path: Path, *steps: dict[str, Any], **changes: Any) -> Any:
    recipe = Recipe(name="trimmed", steps=steps, runtime="eager", measure=SHORT, **changes)
    return run(recipe, workload=str(path), device="cpu", out=folder / "results", artifacts=folder / "artifacts")


def reference(found: Any) -> Any:
    return next(row for row in found.references if row.name == "fp32 eager")


def test_perplexity_compares_the_same_text_and_the_note_has_the_ratio_of_tokens(tmp_path: Path) -> None:
    points = [{"phase": "generate", "batch_size": 2, "context": 8, "new_tokens": 6, "stop": True}]
    found = result(tmp_path, write_workload(tmp_path, OTHER * 30, points=points), STEP)
    assert found.error is None and found.accuracy is not None and found.accuracy.delta is not None
    assert any("times the tokens of the dense model for the test split" in note for note in found.notes)
    assert any(f"prune: vocabulary {len(byte_level())} -> " in note for note in found.notes)
    other = reference(found).accuracy
    own_share = math.log(found.accuracy.estimate.value) / found.accuracy.bits_per_byte
    assert own_share == pytest.approx(math.log(other.estimate.value) / other.bits_per_byte, rel=1e-9)
    assert (found.accuracy.chance, other.chance) == (None, len(byte_level()))  # that of dense tokens counts
    assert found.generation is not None and found.generation.prompts == 16
    assert len(found.points) == len(reference(found).points)
    (file,) = (tmp_path / "results" / "own").glob("trimmed-*.json")
    assert verify(file).differences == ()
    assert "bits per byte" in "\n".join(describe(found))


def test_a_text_of_kept_tokens_keeps_its_tokens_and_loses_no_likelihood(tmp_path: Path) -> None:
    path = write_workload(tmp_path, f"{TEXT[0]} {TEXT[1]}. " * 30)
    (tmp_path / "train.txt").write_text((tmp_path / "test.txt").read_text() * 2)
    found = result(tmp_path, path, STEP)
    assert found.error is None and found.accuracy is not None
    assert any("takes as many tokens for the test split" in note for note in found.notes)
    assert found.accuracy.estimate.value < reference(found).accuracy.estimate.value  # nothing goes to removed tokens
    model, processor = load(found.artifact)
    assert model.config.vocab_size == len(processor) < len(byte_level())
    ids = processor(TEXT[0], return_tensors="pt")["input_ids"]
    dense = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    before = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    kept = before.convert_tokens_to_ids(processor.convert_ids_to_tokens(range(len(processor))))
    with torch.no_grad():
        expected = dense(before(TEXT[0], return_tensors="pt")["input_ids"]).logits[..., kept]
        assert torch.allclose(model(ids).logits, expected, atol=1e-5)


def test_it_is_refused_layer_by_layer_and_without_its_corpus(tmp_path: Path) -> None:
    path = write_workload(tmp_path, OTHER * 20)
    with pytest.raises(InputError, match=r"prune vocabulary cuts the embedding and the head, .*; use memory whole"):
        result(tmp_path, path, STEP, memory="layers")
    with pytest.raises(InputError, match=r"prune vocabulary corpus none\.txt: no such file; expected a text file"):
        result(tmp_path, path, {**STEP, "corpus": "none.txt"})
    assert not list(tmp_path.glob("artifacts/**/*.safetensors"))


def test_a_tokenizer_of_another_kind_is_refused_before_weights_are_loaded(tmp_path: Path) -> None:
    path = write_workload(tmp_path, "the film was very warm and " * 40)
    llama().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match=r"steps\.0: prune vocabulary: .* of type WordLevel; expected BPE or Unigram"):
        result(tmp_path, path, STEP)
    assert not list(tmp_path.glob("artifacts/**/*.safetensors"))
