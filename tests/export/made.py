"""Artifacts of small language models with tokenizers that GGUF has, to export."""

from pathlib import Path
from typing import Any

import torch
import transformers

from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.spec.steps import Cast, Quantize
from tests import made_models

SYMMETRIC = {"bits": 4, "symmetric": "full", "group_size": 32}
TEXT = ["the capital of France is Paris", "once upon a time there was a little girl", "def f(x): return x + 12345"] * 4
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SIZES: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1,
}  # fmt: skip


def tokenizer(kind: str = "gpt-2") -> Any:
    """A byte-level BPE tokenizer that splits text in one of llama.cpp's ways."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    steps = {
        "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "qwen2": [pre_tokenizers.Split(Regex(WORDS % ""), "isolated"), _bytes_alone()],
        "llama-bpe": [pre_tokenizers.Split(Regex(WORDS % "{1,3}"), "isolated"), _bytes_alone()],
        "other": [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    }[kind]
    inner = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    inner.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXT, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>", model_max_length=256
    )


def _bytes_alone() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def pieces(source: Path, before: Any, steps: Any) -> Any:
    """A SentencePiece tokenizer with another normalizer and another way to split text."""
    words = transformers.AutoTokenizer.from_pretrained(source)
    words.backend_tokenizer.normalizer, words.backend_tokenizer.pre_tokenizer = before, steps
    return words


def mistral() -> Any:
    """A Mistral without sliding window."""
    config = transformers.MistralConfig(**SIZES, sliding_window=None)
    return made_models.random_model(transformers.MistralForCausalLM, config)


def llama(**changes: Any) -> Any:
    """A Llama of two layers, grouped-query attention, tied embeddings unless changed."""
    settings = {**SIZES, "tie_word_embeddings": True, **changes}
    return made_models.random_model(transformers.LlamaForCausalLM, transformers.LlamaConfig(**settings))


def qwen2() -> Any:
    """A Qwen2: biases of query, key and value."""
    return made_models.random_model(transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**SIZES))


def qwen3() -> Any:
    """A Qwen3: norms of query and key, heads of 128."""
    config = transformers.Qwen3Config(**SIZES, head_dim=128)
    return made_models.random_model(transformers.Qwen3ForCausalLM, config)


def gemma3() -> Any:
    """A Gemma 3 of text: seven layers, so that one has full attention."""
    settings = {**SIZES, "num_hidden_layers": 7, "head_dim": 256, "sliding_window": 16, "num_key_value_heads": 1}
    config = transformers.Gemma3TextConfig(**settings, query_pre_attn_scalar=256, tie_word_embeddings=True)
    return made_models.random_model(transformers.Gemma3ForCausalLM, config)


def of_genai(model: Any) -> Bundle:
    """A bundle for onnxruntime-genai."""
    return Bundle(model, tokenizer(), "causal-lm", torch.device("cpu"), runtime="onnxruntime-genai")


def save(
    folder: Path, model: Any, words: Any, task: str = "causal-lm", dtype: str | None = None, **quantize: Any
) -> Path:
    """Cast and quantize a model unless nothing is set, and save it as an artifact."""
    bundle = Bundle(model, words, task, torch.device("cpu"))
    if dtype is not None:
        bundle = apply_step(bundle, Cast(dtype=dtype))
    if quantize:
        bundle = apply_step(bundle, Quantize(**quantize))
    artifact.save(bundle, folder)
    return folder
