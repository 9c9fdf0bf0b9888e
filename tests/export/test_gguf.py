"""GGUF: architectures, tokenizers and refusals; read by transformers and, where it is installed, by llama.cpp."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import normalizers, pre_tokenizers

from compress.base.errors import InputError
from compress.export import export, llama_cpp
from compress.model.gguf.architectures import architecture_of, interleave
from compress.model.gguf.tokenizer import BYTE, CONTROL, NORMAL, UNUSED, vocabulary
from tests.export import made
from tests.helpers import assets

MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "llama": (made.llama, "llama-bpe"),
    "untied": (lambda: made.llama(tie_word_embeddings=False), "smollm"),
    "fp16": (made.llama, "gpt-2"),
    "bf16": (made.llama, "gpt-2"),
    "mistral": (made.mistral, "gpt-2"),
    "qwen2": (made.qwen2, "qwen2"),
    "qwen3": (made.qwen3, "qwen2"),
    "gemma3": (made.gemma3, "gpt-2"),
}


@pytest.mark.parametrize("name", MODELS)
def test_readers_of_gguf_answer_like_the_artifact(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    make, words = MODELS[name]
    dtype = name if name in ("fp16", "bf16") else None
    source = made.save(tmp_path / "a", make(), made.tokenizer(words), dtype=dtype, **made.SYMMETRIC)
    checks = export(source, "gguf", tmp_path / "b").checks
    assert (checks[0].difference, checks[0].bound) == (0, 0)
    assert len(checks) == (3 if llama_cpp.installed() else 1)


@pytest.mark.parametrize("bits", [4, 8])
def test_stories_leave_as_gguf_with_their_tokenizer(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    place = assets("models", "stories260K")
    model = transformers.AutoModelForCausalLM.from_pretrained(place).eval()
    words = transformers.AutoTokenizer.from_pretrained(place)
    source = made.save(tmp_path / "a", model, words, bits=bits, symmetric=True, group_size=32)
    made_export = export(source, "gguf", tmp_path / "b")
    assert made_export.checks[0].bound == 0
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "b", gguf_file="model.gguf")
    text = "Once upon a time, there was a little girl named Lily."
    assert read(text)["input_ids"] == words(text)["input_ids"]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_tied_head_in_few_bits_is_the_files_embedding(bits: int, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    fields: dict[str, Any] = {"bits": bits, "symmetric": True, "group_size": 32, "exclude": ("*embed*",)}
    source = made.save(tmp_path / "a", made.llama(tie_word_embeddings=True), made.tokenizer("smollm"), **fields)
    checks = export(source, "gguf", tmp_path / "b").checks
    assert (checks[0].difference, checks[0].bound) == (0, 0)
    from gguf import GGUFReader

    kinds = {t.name: t.tensor_type.name for t in GGUFReader(tmp_path / "b" / "model.gguf").tensors}
    assert kinds["token_embd.weight"] == {4: "Q4_0", 8: "Q8_0"}[bits] and "output.weight" not in kinds


def test_a_file_in_floating_point_is_equal_in_transformers_and_close_in_llama_cpp(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer())
    checks = export(source, "gguf", tmp_path / "b").checks
    assert checks[0].bound == 0
    if llama_cpp.installed():
        assert checks[-1].what == "log-probabilities"
        assert checks[-1].difference < 1e-4 < checks[-1].bound


def test_heads_are_interleaved() -> None:
    rows = torch.arange(16).view(16, 1)
    assert interleave(rows, 2).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


def test_llama_cpp_notices_rows_in_the_wrong_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr("compress.model.gguf.interleave", lambda tensor, heads: tensor)
    monkeypatch.setattr("compress.export.check.equal", lambda *_: None)
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), **made.SYMMETRIC)
    with pytest.raises(InputError, match=r"llama\.cpp predicts otherwise than the artifact"):
        export(source, "gguf", tmp_path / "b")


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_ways_to_split_text_have_llama_cpps_name(kind: str) -> None:
    found = vocabulary(made.tokenizer(kind), 320)
    assert (found.model, found.pre) == ("gpt2", kind)
    assert len(found.tokens) == 320
    assert [found.types[0], found.types[50], found.types[319]] == [CONTROL, NORMAL, UNUSED]
    assert not found.adds_bos and not found.adds_eos


def test_scores_of_pieces_are_the_ranks_of_their_merges() -> None:
    words = transformers.AutoTokenizer.from_pretrained(assets("models", "stories260K"))
    found = vocabulary(words, 512)
    assert (found.model, found.space_prefix, found.adds_bos, found.adds_eos) == ("llama", True, True, False)
    assert found.scores is not None
    score = dict(zip(found.tokens, found.scores, strict=True))
    assert [score[piece] for piece in ("▁t", "he", "▁a", "e")] == [0, -1, -2, -165]  # of 165 merges, in their order
    assert found.types.count(BYTE) == 256


PIECES = {
    "metaspace": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), True),
    "bare": (None, pre_tokenizers.Metaspace(prepend_scheme="never", split=False), False),
    "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), False),
}


@pytest.mark.parametrize("kind", PIECES)
def test_sentencepiece_leaves_with_or_without_a_space_before_the_text(kind: str, tmp_path: Path) -> None:
    before, steps, prefix = PIECES[kind]
    words = made.pieces(assets("models", "stories260K"), before, steps)
    assert vocabulary(words, 512).space_prefix is prefix
    pytest.importorskip("gguf")
    source = made.save(tmp_path / "a", made.llama(vocab_size=512), words, **made.SYMMETRIC)
    found = export(source, "gguf", tmp_path / "b")  # llama.cpp compares tokens where it is installed
    assert found.checks[0].bound == 0
    assert any("begin with a space" in remark for remark in found.remarks) is (kind == "metaspace")


def test_pieces_that_are_split_otherwise_are_refused() -> None:
    words = made.pieces(assets("models", "stories260K"), normalizers.Lowercase(), None)
    with pytest.raises(InputError, match="its pieces are not split like SentencePiece's"):
        vocabulary(words, 512)


def test_a_tokenizer_that_gguf_lacks_is_refused_before_a_layer_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    babyllama = transformers.AutoTokenizer.from_pretrained(assets("models", "babyllama"))
    reason = (
        "gguf: GGUF has no tokenizer like the model's: it merges tokens across words, without splitting text first, "
        "and changes text before (Replace, Replace, Prepend, Replace). GGUF knows byte-level BPE"
    )
    with pytest.raises(InputError) as refused:
        vocabulary(babyllama, 105)
    assert reason in str(refused.value)
    assert "compressed-tensors, gptq, onnx and openvino keep the tokenizer as it is" in str(refused.value)
    source = made.save(tmp_path / "a", made.llama(vocab_size=105), babyllama, **made.SYMMETRIC)
    monkeypatch.setattr("compress.export.refuse", lambda *_: pytest.fail("layers are looked at first"))
    with pytest.raises(InputError, match=re.escape(reason)):
        export(source, "gguf", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_tokenizers_that_split_otherwise_or_have_too_many_tokens_are_refused() -> None:
    from tests.helpers import tokenizer

    with pytest.raises(InputError, match="it is of type WordLevel; expected BPE"):
        vocabulary(tokenizer(), 64)
    with pytest.raises(InputError, match="it splits text by Whitespace, bytes"):
        vocabulary(made.tokenizer("other"), 320)
    with pytest.raises(InputError, match="it has 300 tokens, and the model 256 embeddings"):
        vocabulary(made.tokenizer(), 256)
    stripping = made.tokenizer()
    stripping.add_tokens([transformers.AddedToken("<mask>", lstrip=True)])
    with pytest.raises(InputError, match="its token <mask> takes the spaces around it"):
        vocabulary(stripping, 320)


CONFIGS: list[tuple[Any, str]] = [
    (transformers.GPT2Config(), "gguf: architecture gpt2; expected one of llama, mistral, qwen2, qwen3, gemma3_text"),
    (transformers.LlamaConfig(attention_bias=True), "llama with attention_bias True; expected False"),
    (transformers.MistralConfig(sliding_window=4096), "mistral with sliding_window 4096; expected None"),
    (transformers.Qwen3Config(head_dim=64), "qwen3 with heads of 64; transformers reads such files with heads of 128"),
    (transformers.LlamaConfig(hidden_act="gelu"), "llama with activation gelu; expected silu"),
    (transformers.Gemma3TextConfig(query_pre_attn_scalar=168), "gemma3_text with query_pre_attn_scalar 168"),
    (
        transformers.LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
        "llama with rope_type linear; expected default",
    ),
]


@pytest.mark.parametrize(("config", "reason"), CONFIGS)
def test_settings_without_a_place_in_gguf_are_refused(config: Any, reason: str) -> None:
    with pytest.raises(InputError) as refused:
        architecture_of(config)
    assert reason in str(refused.value)
