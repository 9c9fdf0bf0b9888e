"""Language models with gaps: they run where that is possible, and end before anything is compressed where it is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data import loading
from compress.data.tasks import texts
from compress.data.tasks.causal_lm import collate
from compress.export import export
from compress.harness import preflight
from compress.measure.evaluate import evaluate
from compress.methods import apply_step
from compress.model import artifact
from compress.model.runtimes import finish
from compress.spec.recipe import Recipe
from compress.spec.steps import Prune, Quantize
from tests import made_models, streams
from tests.helpers import tokenizer
from tests.made_models import llama

DENSE = Recipe(name="dense", steps=())


def refused(source: Any) -> str:
    """The problems of a model or its data, as one text."""
    with pytest.raises(InputError) as caught:
        preflight.check([DENSE], source)
    return str(caught.value)


def without_special_tokens() -> Any:
    """The made tokenizer without a first, a last and a padding token."""
    plain = tokenizer()
    plain.backend_tokenizer.post_processor = None
    plain.pad_token = plain.cls_token = plain.sep_token = None
    return plain


def saved(folder: Path, change: Callable[[Path], object]) -> Any:
    """A tiny Llama and its text, after a change of the model's folder."""
    streams.source(folder, llama())
    change(folder / "model")
    return streams.located(folder / "again", str(folder / "model"), {"test": "it is good . " * 21}, 16)


def test_no_padding_and_no_first_token_give_the_same_losses_one_by_one_and_in_a_batch(tmp_path: Path) -> None:
    source = saved(tmp_path, lambda folder: without_special_tokens().save_pretrained(folder))
    preflight.check([DENSE], source)
    model, processor = loading.load_model(source, torch.device("cpu"), torch.float32)
    assert processor.pad_token_id is None and processor.bos_token_id is None
    examples = loading.load_examples(source, "test", processor, model.config)
    lengths = {len(ids) for ids in examples["input_ids"]}
    assert len(lengths) > 1  # so that a batch is padded
    batch = collate([examples[i] for i in range(len(examples))], processor)
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(ids) for ids in examples["input_ids"]]
    assert set(batch["labels"][batch["attention_mask"] == 0].tolist()) == {-100}
    cpu, task = torch.device("cpu"), loading.task_of("causal-lm")
    together, alone = (evaluate(model, task, examples, processor, cpu, size).outcomes for size in (4, 1))
    assert together["tokens"] == alone["tokens"] == [len(ids) - 1 for ids in examples["input_ids"]]
    assert together["nll"] == pytest.approx(alone["nll"], rel=1e-5)


def test_more_tokens_than_the_model_has_positions_are_refused(tmp_path: Path) -> None:
    source = streams.source(tmp_path, llama(), length=128)
    assert "reads at most 66 tokens, but max_length is 128; set max_length to 66" in refused(source)


def test_a_tokenizer_whose_ordinary_tokens_have_no_embedding_is_refused_even_if_the_text_has_none(
    tmp_path: Path,
) -> None:
    def narrow(folder: Path) -> None:
        small = llama()
        small.resize_token_embeddings(24)
        small.save_pretrained(folder)

    message = refused(saved(tmp_path, narrow))
    assert "has 24 token embeddings, but its tokenizer has 4 tokens beyond them" in message
    assert "use the model's own tokenizer" in message


def test_added_tokens_without_an_embedding_and_a_far_smaller_tokenizer_are_noted() -> None:
    model, processor = llama(), tokenizer()
    assert len(processor) == 28
    assert texts.vocabulary_notes(model, processor) == [
        "its tokenizer has 28 tokens for 64 embeddings: check that it is the model's"
    ]
    model.resize_token_embeddings(28)
    assert texts.vocabulary_notes(model, processor) == []
    processor.add_tokens(["[NEW]"])
    (note,) = texts.vocabulary_notes(model, processor)
    assert note.startswith("1 added tokens of its tokenizer have no embedding, first '[NEW]' (28)")
    assert texts.vocabulary_problems(model, processor) == []


def test_a_checkpoint_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    def quantized(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
        (folder / "config.json").write_text(json.dumps(config))

    assert "already stored in gptq int4" in refused(saved(tmp_path, quantized))


def test_zeros_in_a_tied_head_are_also_the_embeddings_and_the_layer_map_has_both() -> None:
    bundle = made_models.bundle(llama(), task="causal-lm")
    done = apply_step(bundle, Prune(structure="unstructured", fraction=0.5, exclude=()))
    assert done.model.lm_head.weight is done.model.model.embed_tokens.weight
    assert done.layers["lm_head"]["sparsity"] == done.layers["model.embed_tokens"]["sparsity"] == 0.5
    assert "prune: lm_head and model.embed_tokens are tied and stay so: both have these zeros" in done.notes


def test_a_tied_head_in_few_bits_stays_tied_and_a_format_without_it_is_refused(tmp_path: Path) -> None:
    bundle = made_models.trainable(llama())
    done = apply_step(bundle, Quantize(bits=8, symmetric=True, group_size=32, exclude=()))
    assert done.layers["lm_head"]["format"] == "int8_weight"
    assert "quantize: lm_head and model.embed_tokens are tied and stay so: both have these integers, stored once" in (
        done.notes
    )
    artifact.save(finish(done, done.runtime), tmp_path / "made")
    with pytest.raises(InputError, match=r"lm_head is the input embedding too, which the format keeps in floating"):
        export(tmp_path / "made", "gptq", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kv_cache", "length", "fits"), [("int8", 64, False), ("int4", 65, True), ("static", 32, True)]
)
def test_a_rounded_cache_that_no_text_would_fill_is_refused(
    kv_cache: str, length: int, fits: bool, tmp_path: Path
) -> None:
    source = streams.source(tmp_path, llama(), length)
    recipe = Recipe.model_validate({"name": "rounded", "kv_cache": kv_cache, "runtime": "eager"})
    if fits:
        preflight.check([recipe], source)
    else:
        with pytest.raises(
            InputError, match="tokens are rounded once 64 have been read, and texts have at most max_len"
        ):
            preflight.check([recipe], source)
