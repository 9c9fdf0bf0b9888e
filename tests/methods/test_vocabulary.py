"""A vocabulary cut to a corpus: what stays of the model, and that kept tokens keep their logits."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from compress import Prune, Recipe, apply
from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.prune.vocabulary import check
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.vocabulary import kept_ids
from compress.spec.order import order_problems
from compress.spec.steps import Distill
from tests import made_models
from tests.made_tokenizers import TEXT, TOKENIZERS, UNSEEN, byte_level, pieces

STEP = Prune(structure="vocabulary")


def examples(processor: Any, texts: tuple[str, ...] = TEXT[:2]) -> Any:
    return datasets.Dataset.from_list(
        [{"text": text, "input_ids": processor(text)["input_ids"], "context": 1} for text in texts]
    )


def bundle(processor: Any, tied: bool = True, rows: int | None = None, texts: tuple[str, ...] = TEXT[:2]) -> Bundle:
    """A Llama with this tokenizer, and the texts as training examples; re-encoded for another one."""
    rows = len(processor) if rows is None else rows
    config = transformers.LlamaConfig(
        vocab_size=rows, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, tie_word_embeddings=tied, bos_token_id=processor.bos_token_id,
        eos_token_id=processor.eos_token_id, pad_token_id=processor.pad_token_id,
    )  # fmt: skip
    model = made_models.random_model(transformers.LlamaForCausalLM, config)
    model.generation_config.eos_token_id = [processor.bos_token_id, processor.eos_token_id]

    def encoded(own: Any) -> dict[str, Any]:
        return {"train": lambda: examples(own, texts), "examples": None}

    made = Bundle(model, processor, "causal-lm", torch.device("cpu"), encoded=encoded, **encoded(processor))
    before = copy.deepcopy(config)
    return replace(made, teacher=lambda: made_models.random_model(transformers.LlamaForCausalLM, copy.deepcopy(before)))


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return found


def kept_of(dense: Any, own: Any) -> list[int]:
    """The dense id of every own token."""
    return [dense.convert_tokens_to_ids(token) for token in own.convert_ids_to_tokens(range(len(own)))]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(TOKENIZERS))
def test_kept_tokens_keep_their_logits_and_probabilities_grow_by_one_factor(kind: str, tied: bool) -> None:
    dense = TOKENIZERS[kind]()
    start = bundle(dense, tied)
    ids = dense(TEXT[0])["input_ids"]
    before = logits(start.model, ids)
    done = apply_step(start, STEP)
    own, model = done.processor, done.model
    kept = kept_of(dense, own)
    assert len(own) < len(dense)
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == len(own)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    after = logits(model, own(TEXT[0])["input_ids"])
    assert torch.allclose(after, before[:, kept], atol=1e-5)
    grown = after.log_softmax(-1) - before.log_softmax(-1)[:, kept]
    lost = before.log_softmax(-1)[:, kept].logsumexp(-1)
    assert torch.allclose(grown, -lost[:, None].expand_as(grown), atol=1e-5)
    assert "special tokens, bytes and parts of merges" in done.notes[-1]


def test_ids_of_special_tokens_follow_in_every_setting() -> None:
    dense = pieces()
    start = bundle(dense)
    kept = kept_ids(dense, {id for text in TEXT[:2] for id in dense(text)["input_ids"]})
    removed = next(id for id in range(len(dense)) if id not in kept)
    start.model.generation_config.suppress_tokens = [1, dense.convert_tokens_to_ids("c"), removed]
    start.model.generation_config.bad_words_ids = [[2], [removed, 1]]
    done = apply_step(start, STEP)
    own, settings = done.processor, done.model.generation_config
    assert (done.model.config.bos_token_id, done.model.config.eos_token_id) == (own.bos_token_id, own.eos_token_id)
    assert settings.eos_token_id == [own.bos_token_id, own.eos_token_id]
    assert settings.suppress_tokens == [own.bos_token_id, own.convert_tokens_to_ids("c")]
    assert settings.bad_words_ids == [[own.eos_token_id]]
    assert done.model.get_input_embeddings().padding_idx == own.pad_token_id


def test_rows_without_a_token_go_and_special_tokens_without_a_row_stay() -> None:
    dense = byte_level()
    done = apply_step(bundle(dense, rows=len(dense) + 30), STEP)
    assert done.model.config.vocab_size == len(done.processor)
    rows = len(dense)
    dense.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    done = apply_step(bundle(dense, rows=rows), STEP)
    assert done.processor.convert_tokens_to_ids("<tool>") == done.model.config.vocab_size == len(done.processor) - 1


def test_later_steps_train_on_the_new_tokens_with_a_trimmed_teacher() -> None:
    done = apply_step(bundle(byte_level()), STEP)
    trained = apply_step(done, Distill(max_steps=2, batch_size=2, precision="fp32"))
    assert trained.model.config.vocab_size == len(done.processor)
    assert max(max(ids) for ids in done.train_examples("test")["input_ids"]) < len(done.processor)
    assert done.teacher is not None
    assert logits(done.teacher(), [0, 1]).shape == (2, len(done.processor))


def test_a_corpus_and_a_least_count_choose_the_tokens(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("lovely lovely warm")
    sizes = {}
    for name, step in {
        "file": Prune(structure="vocabulary", corpus=str(file)),
        "often": Prune(structure="vocabulary", corpus=str(file), least_count=2),
        "train": STEP,
    }.items():
        done = apply_step(bundle(byte_level()), step)
        sizes[name] = len(done.processor)
        if name == "file":
            assert str(file) in done.notes[-1]
    assert sizes["often"] < sizes["file"] < sizes["train"]
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"corpus\.txt: not UTF-8 text .*; convert it"):
        apply_step(bundle(byte_level()), Prune(structure="vocabulary", corpus=str(file)))
    file.write_text("")
    with pytest.raises(InputError, match="has no text; expected"):
        apply_step(bundle(byte_level()), Prune(structure="vocabulary", corpus=str(file)))


@pytest.mark.parametrize("tied", [True, False])
def test_an_artifact_answers_alike_after_it_is_loaded_and_so_does_plain_transformers(
    tied: bool, tmp_path: Path
) -> None:
    done = apply_step(bundle(pieces(), tied), STEP)
    artifact.save(done, tmp_path / "artifact")
    model, processor, manifest = artifact.load(tmp_path / "artifact")
    assert manifest.plain
    ids = done.processor(UNSEEN)["input_ids"]
    assert processor(UNSEEN)["input_ids"] == ids
    assert torch.equal(logits(model, ids), logits(done.model, ids))
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "artifact")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "artifact")
    assert tokenizer(UNSEEN)["input_ids"] == ids
    assert torch.equal(logits(plain, ids), logits(done.model, ids))


def _two_tables(made: Bundle) -> None:
    made.model.second = torch.nn.Embedding(len(made.processor), 4)


def _sequence_bias(made: Bundle) -> None:
    made.model.generation_config.sequence_bias = {(5,): -1.0}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_two_tables, "second has one row a token too"), (_sequence_bias, "sets sequence_bias, whose tokens cannot")],
)
def test_what_else_names_tokens_is_refused(spoil: Callable[[Bundle], None], words: str) -> None:
    made = bundle(byte_level())
    spoil(made)
    with pytest.raises(InputError, match=f"prune vocabulary: .*{words}.*; or leave the step out"):
        check(made)


def test_other_tasks_and_tokenizers_are_refused_and_so_is_a_model_without_its_tokenizer() -> None:
    with pytest.raises(InputError, match="the task is text-classification; expected a language model"):
        apply_step(made_models.bundle(made_models.bert()), STEP)
    with pytest.raises(InputError, match="is of type WordLevel; expected BPE or Unigram; or leave the step out"):
        apply_step(replace(made_models.bundle(made_models.llama()), task="causal-lm"), STEP)
    with pytest.raises(InputError, match="it returns a model without its new tokenizer; use run, then load"):
        apply(Recipe(steps=(STEP,)), made_models.llama(), byte_level())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fraction": 0.5}, "fraction does not apply to structure vocabulary"),
        ({"importance": "taylor"}, "importance does not apply to structure vocabulary"),
        ({"exclude": ("*",)}, "exclude does not apply to structure vocabulary"),
    ],
)
def test_settings_of_other_structures_do_not_apply(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Prune(structure="vocabulary", **fields)
    with pytest.raises(ValueError, match="corpus needs structure vocabulary, but structure is heads"):
        Prune(structure="heads", corpus="x.txt")
    with pytest.raises(ValueError, match="least_count needs structure vocabulary"):
        Prune(least_count=2)


def test_steps_that_need_the_whole_vocabulary_come_before() -> None:
    macs = Prune(cost="macs")
    assert order_problems((macs, STEP, Distill())) == []
    assert (
        "prune cost macs, which is counted on the dense model's tokens, after prune vocabulary (steps.0)"
        in (order_problems((STEP, macs))[0])
    )
    assert "distill model" in order_problems((STEP, Distill(model="other")))[0]
    assert "another prune vocabulary" in order_problems((STEP, STEP))[0]


def test_a_seed_changes_nothing_and_a_corpus_needs_no_training_examples() -> None:
    assert Recipe(steps=(STEP,)).learns
    assert not Recipe(steps=(Prune(structure="vocabulary", corpus="x.txt"),)).learns
    with pytest.raises(ValueError, match="seeds"):
        Recipe(steps=(STEP,), seeds=(0, 1))
