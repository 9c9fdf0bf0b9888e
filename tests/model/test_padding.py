"""Padding changes no answer: a text in a batch of longer ones gets the logits that it gets alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.harness import preflight
from compress.harness.transform import open_bundle
from compress.spec.recipe import Recipe
from tests.helpers import bert, tokenizer, write_workload

SIZES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "Llama": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "T5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0},
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
}  # fmt: skip


def model(kind: str) -> Any:
    """A tiny classifier with random weights that differ enough for its answers to differ."""
    if kind == "Bert":
        made = bert()
    else:
        tokens = tokenizer()
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=len(tokens), pad_token_id=tokens.pad_token_id, eos_token_id=tokens.sep_token_id,
            bos_token_id=tokens.cls_token_id, id2label={0: "negative", 1: "positive"},
            label2id={"negative": 0, "positive": 1}, **SIZES[kind],
        )  # fmt: skip
        torch.manual_seed(0)
        made = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3) if parameter.dim() > 1 else None
    return made


def workload(folder: Path, kind: str, side: str = "left") -> Workload:
    """A workload whose tokenizer was saved with padding on this side."""
    file = write_workload(folder, model=model(kind))
    settings = folder / "model" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "padding_side": side}))
    return Workload.load(file)


def opened(folder: Path, kind: str, side: str = "left") -> Any:
    return open_bundle(Recipe(), locate.resolve(workload(folder, kind, side)), torch.device("cpu"), None)


@pytest.mark.parametrize("kind", ["Bert", "GPT2", "Llama", "T5"])
def test_a_tokenizer_that_pads_on_the_left_for_generation_changes_no_answer(kind: str, tmp_path: Path) -> None:
    bundle = opened(tmp_path, kind)
    task, examples = task_of("text-classification"), bundle.examples(12)
    assert len({len(ids) for ids in examples["input_ids"]}) > 3
    inputs = dict(task.collate([*examples], bundle.processor))
    inputs.pop("labels")
    with torch.no_grad():
        together = bundle.model(**inputs).logits
        alone = [bundle.model(torch.tensor([ids])).logits for ids in examples["input_ids"]]  # no padding at all
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4 * float(together.std()))
    assert "padded on the right" in examples.info.description


def test_a_tokenizer_that_pads_on_the_right_gets_no_note(tmp_path: Path) -> None:
    assert "padded" not in opened(tmp_path, "Bert", "right").examples(4).info.description


def test_a_model_whose_answers_depend_on_padding_is_refused(tmp_path: Path) -> None:
    """XLNet is trained with padding on the left, and this tokenizer's class does not show that it is XLNet's."""
    with pytest.raises(InputError, match="padding changes its answers: logits of a text padded on the right differ"):
        opened(tmp_path, "XLNet")


def test_an_encoder_decoder_without_end_tokens_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    source = locate.resolve(workload(tmp_path, "T5"))
    preflight.check([Recipe()], source)
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": 7}))
    with pytest.raises(InputError, match=r"classifies at the last token 7 .* expected 1 in every row"):
        preflight.check([Recipe()], source)
    assert loading.load_processor(source).padding_side == "right"


def test_a_model_whose_answers_are_not_finite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finite weights can overflow: all of them pass the check of weights."""
    source = locate.resolve(workload(tmp_path, "Bert", "right"))
    load = loading.load_model

    def overflowing(*arguments: Any, **options: Any) -> Any:
        found, processor = load(*arguments, **options)
        with torch.no_grad():
            found.classifier.weight.fill_(3e38)
            found.bert.pooler.dense.bias.fill_(50)  # tanh gives ones, whose sum overflows
        return found, processor

    monkeypatch.setattr(loading, "load_model", overflowing)
    with pytest.raises(InputError, match="its logits are not finite"):
        open_bundle(Recipe(), source, torch.device("cpu"), None)
