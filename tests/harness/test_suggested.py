"""The recipes that `init` proposes run on this device, on this model, with the data that is there."""

from pathlib import Path

import pytest
import transformers

from compress.base import devices
from compress.data import locate
from compress.data.workload import Workload
from compress.harness import preflight
from compress.harness.suggested import suggested
from compress.spec.recipe import Recipe
from tests.helpers import bert
from tests.made_models import llama


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    bert().save_pretrained(folder)
    return str(folder)


def test_what_is_proposed_passes_the_checks_of_a_run(
    model: str, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda _: False)
    names = suggested(model, "text-classification", trains=True)
    assert names is not None and names[0] == "bert_int8"
    assert {"bert_prune", "bert_distill", "openvino_int8"} <= set(names)
    assert not {"graphs_bf16", "torchao_fp8", "bert_fp16", "llama_int8", "vit_int8"} & set(names)
    source = locate.resolve(Workload.load(workload))
    preflight.check([Recipe.load(name) for name in names], source)


def test_without_a_train_split_nothing_learns(model: str) -> None:
    names = suggested(model, "text-classification", trains=False)
    assert names is not None and "bert_int8" in names
    assert not [name for name in names if Recipe.load(name).learns]


def test_a_language_model_has_the_same_recipes_whatever_judges_it(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    by_text = suggested(str(tmp_path), "causal-lm", trains=True)
    assert by_text is not None and by_text[0] == "llama_int8"
    assert suggested(str(tmp_path), "cloze", trains=True) == by_text


def test_a_recipe_that_the_model_does_not_allow_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda _: False)
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    names = suggested(str(tmp_path), "text-classification", trains=True)
    assert names is not None and "bert_int8" in names
    assert "fewer_layers" not in names  # there is only one
    assert "bert_bf16" not in names


def test_of_a_model_that_is_no_folder_nothing_is_known(tmp_path: Path) -> None:
    assert suggested("owner/name", "text-classification", trains=True) is None
    (tmp_path / "config.json").write_text("{")
    assert suggested(str(tmp_path), "text-classification", trains=True) is None
