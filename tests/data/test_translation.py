"""Sources and targets: their tokens, losses, generated texts, cuts, and which rows and settings are refused."""

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF

from compress.analysis import metrics
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.base.config import InputError
from compress.data import live
from compress.data.dataset import Dataset
from compress.data.point import OperatingPoint
from compress.data.tasks import decoding, overlap, task_of, task_of_class
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from tests.translated import FAMILIES, encoder_decoder, pairs, tokenizer

TASK = task_of("translation")
CPU = torch.device("cpu")


def own(**changes: Any) -> Workload:
    spec = Dataset(path="d", text="en", target="de")
    fields = {"max_length": 32, "generation": {"max_new_tokens": 24}, **changes}
    return Workload(task="translation", model="m", dataset=spec, **fields)


def configured(model: Any, folder: Path | None = None, **changes: Any) -> Any:
    decoding.configure(model.config, folder, own(**changes))
    return model


def prepared(rows: list[dict[str, Any]], model: Any, family: str = "t5", **how: Any) -> datasets.Dataset:
    words = tokenizer(begins=family == "bart")
    return TASK.prepare(datasets.Dataset.from_list(rows), words, own(**how), model.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_transformers_with_padding_left_out(family: str) -> None:
    model, rows = configured(encoder_decoder(family)), pairs(6, 1)
    words = tokenizer(begins=family == "bart")
    batch = TASK.collate(list(prepared(rows, model, family)), words)
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    sums, counts = TASK.losses(logits, batch["labels"])
    for row, pair in enumerate(rows):
        source, target = (torch.tensor([words(pair[name])["input_ids"]]) for name in ("en", "de"))
        with torch.no_grad():
            alone = model(input_ids=source, labels=target).loss  # transformers shifts the labels itself
        assert int(counts[row]) == target.shape[1]
        assert float(sums[row] / counts[row]) == pytest.approx(float(alone), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beams", [1, 3])
def test_evaluation_generates_as_transformers_does_text_by_text(family: str, beams: int) -> None:
    generation = {"num_beams": beams, "max_new_tokens": 8, "no_repeat_ngram_size": 2}
    model, rows = configured(encoder_decoder(family), generation=generation), pairs(10, 2)
    words = tokenizer(begins=family == "bart")
    examples = prepared(rows, model, family, generation=generation)
    found = evaluate(model, TASK, examples, words, CPU, 4)
    plain = encoder_decoder(family)
    written = []
    for pair in rows:
        ids = torch.tensor([words(pair["en"])["input_ids"]])
        given = plain.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=beams, max_new_tokens=8,
            no_repeat_ngram_size=2,
        )  # fmt: skip
        written.append(words.decode(given[0], skip_special_tokens=True).strip())
    references = [pair["de"] for pair in rows]
    assert metrics.compute("bleu", found.outcomes) == pytest.approx(BLEU().corpus_score(written, [references]).score)
    assert metrics.compute("chrf", found.outcomes) == pytest.approx(CHRF().corpus_score(written, [references]).score)
    assert found.outcomes["answer"] == [overlap.number(text) for text in written]


def test_beams_and_greedy_search_differ() -> None:
    rows, found = pairs(20, 2), []
    for beams in (1, 4):
        generation = {"num_beams": beams, "max_new_tokens": 8}
        model = configured(encoder_decoder("bart"), generation=generation)
        examples = prepared(rows, model, "bart", generation=generation)
        found.append(evaluate(model, TASK, examples, tokenizer(begins=True), CPU, 4).outcomes["answer"])
    assert found[0] != found[1]


def test_settings_are_the_models_own_unless_the_workload_states_them(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    stated = GenerationConfig(
        num_beams=4, length_penalty=2.0, max_length=40, no_repeat_ngram_size=3, decoder_start_token_id=1,
        forced_bos_token_id=3, eos_token_id=1, pad_token_id=0, do_sample=True, temperature=0.5,
    )  # fmt: skip
    stated.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = configured(encoder_decoder("bart"), tmp_path, generation={})
    found = decoding.settings_of(model.config)
    assert found["num_beams"] == 4 and found["max_new_tokens"] == 39 and found["forced_bos_token_id"] == 3
    assert "do_sample" not in found and "temperature" not in found
    assert found["left_out"] == ["do_sample", "temperature"]
    assert decoding.in_words(found).endswith("(the model's own do_sample, temperature left out)")
    note = "4 beams, at most 39 new tokens, length_penalty 2.0, no_repeat_ngram_size 3, forced_bos_token_id 3"
    assert decoding.in_words(found).startswith(note)
    model = configured(encoder_decoder("bart"), tmp_path, generation={"num_beams": 1, "forced_bos_token": "▁das"})
    found = decoding.settings_of(model.config)
    assert found["num_beams"] == 1 and found["forced_bos_token_id"] == tokenizer().get_vocab()["▁das"]
    ids = decoding.generated(model, tokenizer()(["a house."], return_tensors="pt"))
    assert ids[0, 0] == found["forced_bos_token_id"] and ids.shape[1] <= 39
    with pytest.raises(InputError, match=r"generation.forced_bos_token 'de_DE': the model's tokenizer has no such"):
        configured(encoder_decoder("bart"), tmp_path, generation={"forced_bos_token": "de_DE"})


def test_texts_shorter_than_the_models_shortest_are_refused(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    GenerationConfig(min_length=20, max_length=60, decoder_start_token_id=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="max_new_tokens 8: the model's own shortest text has 20 tokens"):
        configured(encoder_decoder("bart"), tmp_path, generation={"max_new_tokens": 8})
    configured(encoder_decoder("bart"), tmp_path, generation={"max_new_tokens": 20})


def test_settings_in_an_older_config_json_are_read(tmp_path: Path) -> None:
    import json

    from transformers import AutoConfig

    encoder_decoder("bart").config.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, "num_beams": 5, "max_length": 21}))
    config = AutoConfig.from_pretrained(tmp_path)
    decoding.configure(config, tmp_path, own(generation={}))
    found = decoding.settings_of(config)
    assert found["num_beams"] == 5 and found["max_new_tokens"] == 20


def test_a_prompt_precedes_every_source_and_cuts_are_counted() -> None:
    model = configured(encoder_decoder())
    examples = prepared(pairs(4, 1), model, prompt="translate: ", max_length=8)
    assert all(tokenizer().decode(ids[:2]) == "translate:" for ids in examples["input_ids"])
    assert max(map(len, examples["input_ids"])) == 8 and examples["input_ids"][0][-1] == 1
    assert "'translate: ' precedes every source" in examples.info.description
    whole = [len(tokenizer()(f"translate: {pair['en']}")["input_ids"]) > 8 for pair in pairs(4, 1)]
    assert f"{sum(whole)} of 4 sources were cut at max_length 8" in examples.info.description
    for ids, pair in zip(examples["input_ids"], pairs(4, 1), strict=True):
        every = tokenizer()(f"translate: {pair['en']}")["input_ids"]
        assert ids == (every if len(every) <= 8 else [*every[:7], 1]), "a cut source keeps its end token"
    assert "greedy search, at most 24 new tokens" in examples.info.description
    assert "BLEU nrefs:1|case:mixed|eff:no|tok:13a" in examples.info.description


def test_prompts_that_the_model_names_are_noted_unless_the_workload_sets_one() -> None:
    model = configured(encoder_decoder())
    model.config.known_prompts = ["translate English to German: "]  # as a saved model holds them
    note = prepared(pairs(2, 1), model).info.description
    assert note.endswith("names prompts, such as 'translate English to German: ', and the workload sets no prompt")
    for prompt in ("translate: ", ""):
        assert "names prompts" not in prepared(pairs(2, 1), model, prompt=prompt).info.description


def test_examples_of_training_state_no_signature_of_a_metric() -> None:
    model = configured(encoder_decoder())
    rows = datasets.Dataset.from_list(pairs(4, 1))
    note = TASK.prepare(rows, tokenizer(), own().of_training, model.config).info.description
    assert note.startswith("texts are generated by greedy search") and "sacrebleu" not in note


def test_references_are_whole_texts_and_may_be_several() -> None:
    model = configured(encoder_decoder(), generation={"max_new_tokens": 2})
    rows = [{"en": pair["en"], "de": [pair["de"], "das Haus."]} for pair in pairs(3, 1)]
    examples = prepared(rows, model, generation={"max_new_tokens": 2})
    assert [len(ids) for ids in examples["labels"]] == [2, 2, 2], "training stops at the longest text"
    assert examples["references"] == [row["de"] for row in rows]
    assert "nrefs:2" in examples.info.description


def test_copying_the_source_is_no_translation() -> None:
    rows = [{"en": pair["en"], "de": pair["de"]} for pair in pairs(40, 3)]
    model = configured(encoder_decoder())
    examples = prepared(rows, model)
    written = {
        "written": [row["en"] for row in rows], "ended": [True] * 40, "nll": [1.0] * 40, "tokens": [5.0] * 40,
    }  # fmt: skip
    outcomes = TASK.answers(written, examples)
    for metric in ("bleu", "chrf", "rouge_l"):
        accuracy = summarise(Evaluation(outcomes, True, 8), metric, None, None, 0)
        assert accuracy.chance == pytest.approx(accuracy.estimate.value)
        assert "where copying the source gives" in str(unsound_reference(accuracy, "fp32 eager"))
    right = TASK.answers({**written, "written": [row["de"] for row in rows]}, examples)
    accuracy = summarise(Evaluation(right, True, 8), "bleu", None, None, 0)
    assert accuracy.estimate.value == pytest.approx(100) and unsound_reference(accuracy, "fp32 eager") is None


def test_timing_batches_are_sources_of_the_points_length() -> None:
    examples = prepared(pairs(8, 3), configured(encoder_decoder("bart")), "bart")
    (batch,) = TASK.fixed(examples, tokenizer(begins=True), OperatingPoint(batch_size=3, sequence_length=20), 1, 0)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "input_ids": (3, 20), "attention_mask": (3, 20), "decoder_input_ids": (3, 1),
    }  # fmt: skip
    assert batch["decoder_input_ids"].tolist() == [[1]] * 3
    assert batch["input_ids"][:, 0].tolist() == [3] * 3 and batch["input_ids"][:, -1].tolist() == [1] * 3


REFUSED: dict[str, tuple[list[str], list[Any], str]] = {
    "no source": (["a house.", "  "], ["ein Haus.", "das Haus."], "row 1: the source is empty; expected text"),
    "no target": (["a house."] * 2, ["ein Haus.", ""], "row 1: the target is empty; expected a text, or a list"),
    "null target": (["a house."] * 2, ["ein Haus.", None], "row 1: the target is null; expected a text"),
    "no references": (["a house."] * 2, [["ein Haus."], []], "row 1: the target is empty"),
    "an empty one": (["a house."] * 2, [["ein Haus."], ["das", " "]], "row 1: the target is empty"),
    "numbers": (["a house."] * 2, [7, 3], "row 0: the target is 7; expected a text, or a list of texts"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_rows_that_are_no_pairs_are_refused(kind: str) -> None:
    sources, targets, expected = REFUSED[kind]
    table = datasets.Dataset.from_dict({"en": sources, "de": targets})
    with pytest.raises(InputError, match=expected):
        TASK.prepare(table, tokenizer(), own(), configured(encoder_decoder()).config)


def test_rouge_refuses_references_of_other_letters() -> None:
    rows = [{"en": "a house.", "de": "ein Haus."}, {"en": "a house.", "de": "房子。"}]
    model = configured(encoder_decoder())
    with pytest.raises(InputError, match="row 1: the target '房子。' has no letter from a to z and no digit"):
        prepared(rows, model, metric="rouge_l")
    assert len(prepared(rows, model, metric="chrf")) == 2


def test_lengths_beyond_the_positions_are_refused() -> None:
    model = configured(encoder_decoder("bart"))
    examples = prepared(pairs(4, 1), model, "bart")
    words = tokenizer(begins=True)
    assert TASK.check(model, words, examples, own(headline={"batch_size": 1, "context": 32, "generate": 8})) == []
    found = TASK.check(model, words, examples, own(max_length=128, generation={"max_new_tokens": 100}))
    assert "reads at most 64 tokens, but max_length is 128; set max_length to 64" in found
    assert "writes at most 64 tokens; generation.max_new_tokens is 100" in found
    point = own(max_length=64, headline={"batch_size": 1, "context": 64, "new_tokens": 100, "phase": "decode"})
    assert any("the point of new_tokens 100 has more" in each for each in TASK.check(model, words, examples, point))
    t5 = configured(encoder_decoder())
    assert TASK.check(t5, tokenizer(), prepared(pairs(4, 1), t5), own(max_length=1024)) == [], "distances have no limit"


def test_a_model_without_an_encoder_is_refused() -> None:
    from transformers import GPT2Config

    with pytest.raises(InputError, match="gpt2 is no encoder-decoder; expected a model such as T5"):
        decoding.configure(GPT2Config(), None, own())


def test_marian_reads_targets_with_pieces_of_their_own(tmp_path: Path) -> None:
    import json

    from transformers import MarianTokenizer

    pieces = pytest.importorskip("sentencepiece")
    rows = pairs(200, 1)
    for name, language in (("source", "en"), ("target", "de")):
        (tmp_path / f"{name}.txt").write_text("\n".join(row[language] for row in rows))
        pieces.SentencePieceTrainer.train(
            input=str(tmp_path / f"{name}.txt"), model_prefix=str(tmp_path / name), vocab_size=40,
            minloglevel=2, hard_vocab_limit=False, num_threads=1,
        )  # fmt: skip
        (tmp_path / f"{name}.model").rename(tmp_path / f"{name}.spm")
    spms = [pieces.SentencePieceProcessor(model_file=str(tmp_path / f"{name}.spm")) for name in ("source", "target")]
    listed = dict.fromkeys(spm.id_to_piece(i) for spm in spms for i in range(spm.get_piece_size()))
    vocab = list(dict.fromkeys(["</s>", "<unk>", *listed, "<pad>"]))
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
    MarianTokenizer(
        str(tmp_path / "source.spm"), str(tmp_path / "target.spm"), str(tmp_path / "vocab.json")
    ).save_pretrained(tmp_path / "saved")
    words = TASK.load_processor(str(tmp_path / "saved"))
    whole: dict[str, Any] = {"max_length": 60, "generation": {"max_new_tokens": 60}}
    model = configured(encoder_decoder("marian"), **whole)
    examples = TASK.prepare(datasets.Dataset.from_list(rows[:4]), words, own(**whole), model.config)
    for ids, row in zip(examples["labels"], rows, strict=False):
        assert words.convert_ids_to_tokens(ids) == [*spms[1].encode(row["de"], out_type=str), "</s>"]
    for ids, row in zip(examples["input_ids"], rows, strict=False):
        assert words.convert_ids_to_tokens(ids) == [*spms[0].encode(row["en"], out_type=str), "</s>"]
    assert [words.decode(ids, skip_special_tokens=True) for ids in examples["labels"]] == [r["de"] for r in rows[:4]]
    assert words.pad_token_id == len(vocab) - 1


def test_classes_belong_to_their_tasks() -> None:
    assert task_of_class("T5ForConditionalGeneration", {"model_type": "t5"}) == "translation"
    assert task_of_class("MarianMTModel", {"model_type": "marian", "is_encoder_decoder": True}) == "translation"
    assert task_of_class("BartForConditionalGeneration", {"model_type": "bart"}) == "summarization"
    assert task_of_class("PegasusForConditionalGeneration", {"model_type": "pegasus"}) == "summarization"
    assert task_of_class("WhisperForConditionalGeneration", {"model_type": "whisper"}) == "automatic-speech-recognition"
    assert task_of_class("LlavaForConditionalGeneration", {"model_type": "llava"}) is None


def test_a_live_model_has_the_settings_of_its_configuration() -> None:
    model = encoder_decoder()
    made = pairs(3, 1)
    rows = datasets.Dataset.from_dict({"text": [pair["en"] for pair in made], "target": [pair["de"] for pair in made]})
    examples = live.prepare(rows, "translation", tokenizer(), model)
    assert "greedy search, at most 128 new tokens, decoder_start_token_id 0" in examples.info.description
