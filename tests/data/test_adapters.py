"""A LoRA folder given as the model: merged if peft is there, and said so if it is not."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.data import adapters, loading, locate
from compress.data.workload import Workload
from tests.helpers import bert, sentences, tokenizer, write_workload

peft = pytest.importorskip("peft")


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workload whose model is an adapter beside its base model; the adapter's own weights are not zero."""
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    file = write_workload(tmp_path)
    base = tmp_path / "model"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=8, target_modules=["value", "dense"])
    adapted = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    adapted.save_pretrained(tmp_path / "adapter")
    _point(tmp_path / "adapter", str(base))
    file.write_text(file.read_text().replace("model: model", "model: adapter"))
    return file


def _point(adapter: Path, base: Any) -> None:
    place = adapter / "adapter_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "base_model_name_or_path": base}))


def test_a_merged_adapter_answers_like_base_and_adapter_together(workload: Path) -> None:
    found = locate.resolve(Workload.load(workload))
    model, processor = loading.load_model(found)
    batch = dict(processor(sentences(8, seed=3)["text"], padding=True, return_tensors="pt"))
    base = transformers.AutoModelForSequenceClassification.from_pretrained(workload.parent / "model").eval()
    # B A alpha / r, computed here and added by hand
    from safetensors.torch import load_file

    tensors = load_file(workload.parent / "adapter" / "adapter_model.safetensors")
    for name, parameter in base.named_parameters():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in tensors:
            parameter.data += 8 / 2 * tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
    with torch.no_grad():
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(workload.parent / "model").eval()
        expected, unadapted = base(**batch).logits, plain(**batch).logits
        torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-4, atol=1e-5)
    assert (expected - unadapted).abs().max() > 0.01


def test_an_adapter_is_merged_once_and_again_when_its_base_changes(workload: Path) -> None:
    first = locate.resolve(Workload.load(workload))
    assert locate.resolve(Workload.load(workload)).model == first.model
    model = transformers.AutoModelForSequenceClassification.from_pretrained(workload.parent / "model")
    model.classifier.bias.data += 1
    model.save_pretrained(workload.parent / "model")
    assert locate.resolve(Workload.load(workload)).model != first.model


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (None, "base_model_name_or_path is None"),
        ("/nowhere/at/all", "is neither a folder here nor a hub id"),
        ("adapter", "its base model"),
    ],
    ids=["no base", "a base that is not there", "a base that is no model"],
)
def test_an_adapter_without_its_base_is_refused(workload: Path, base: Any, told: str) -> None:
    folder = workload.parent / "adapter"
    _point(folder, str(folder) if base == "adapter" else base)
    with pytest.raises(InputError, match=told):
        locate.resolve(Workload.load(workload))


def test_an_adapter_of_another_shape_is_refused_in_one_sentence(workload: Path) -> None:
    config = json.loads((workload.parent / "adapter" / "adapter_config.json").read_text())
    other = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=len(tokenizer()),
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
        )
    )
    other.save_pretrained(workload.parent / "other")
    tokenizer().save_pretrained(workload.parent / "other")
    _point(workload.parent / "adapter", str(workload.parent / "other"))
    assert config["r"] == 2
    with pytest.raises(InputError, match="cannot be merged into its base model") as caught:
        locate.resolve(Workload.load(workload))
    assert len(caught.value.problems) == 1


def test_a_head_that_nobody_trained_is_refused(workload: Path) -> None:
    body = transformers.BertModel(bert().config)
    body.save_pretrained(workload.parent / "body")
    tokenizer().save_pretrained(workload.parent / "body")
    config = peft.LoraConfig(r=2, target_modules=["query"])
    adapted = peft.get_peft_model(
        transformers.AutoModelForSequenceClassification.from_pretrained(workload.parent / "body"), config
    )
    shutil.rmtree(workload.parent / "adapter")
    adapted.save_pretrained(workload.parent / "adapter")
    _point(workload.parent / "adapter", str(workload.parent / "body"))
    with pytest.raises(InputError, match=r"classifier\.bias, which would be random"):
        locate.resolve(Workload.load(workload))


def test_without_peft_the_error_says_what_to_install(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    with pytest.raises(InputError, match=r"is an adapter of .*pip install peft"):
        locate.resolve(Workload.load(workload))


def test_pickled_adapters_are_never_opened(workload: Path) -> None:
    weights = workload.parent / "adapter" / "adapter_model.safetensors"
    weights.rename(weights.with_name("adapter_model.bin"))
    with pytest.raises(InputError, match=r"holds adapter_model\.bin; expected adapter_model\.safetensors"):
        locate.resolve(Workload.load(workload))


@pytest.mark.parametrize("name", ["tokenizer.json", "adapter_model.safetensors"])
def test_a_fifo_beside_an_adapter_is_refused_and_never_opened(workload: Path, name: str) -> None:
    place = workload.parent / "adapter" / name
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    with pytest.raises(InputError, match=f"{name} is a fifo; expected a regular file"):
        locate.resolve(Workload.load(workload))
