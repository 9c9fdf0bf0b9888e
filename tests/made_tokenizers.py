"""Small made tokenizers of every kind whose vocabulary can be cut, trained on a given text."""

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = (
    "the plot was lovely and the story of the story felt warm",
    "an actor was very very good in the bright scene",
    "it felt dull and awful, and the film was poor; quite cold the end",
    "a great film: the actors are the best of the lot",
)
UNSEEN = "Grüße,  你好 \t🤯\n\x07 zebra-ß Ωmega\r\n  "
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def byte_level(texts: Sequence[str] = TEXT, size: int = 400, begin: bool = True) -> Any:
    """Byte-level BPE like GPT-2's; with `begin` it puts <s> before a text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    return _fast(inner, begin)


def pieces(texts: Sequence[str] = TEXT, size: int = 360) -> Any:
    """BPE like SentencePiece's, as Llama 2 has it: letters, then bytes for unknown ones, no split into words."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    trainer = trainers.BpeTrainer(vocab_size=size - 259, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    ranked = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    vocab = {token: id for id, token in enumerate(("<unk>", "<s>", "</s>", *BYTES, *(token for token, _ in ranked)))}
    ways = [
        (token[:cut], token[cut:])
        for token, _ in ranked
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    inner = Tokenizer(models.BPE(vocab, ways, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    return _fast(inner, True)


def unigram(texts: Sequence[str] = TEXT, size: int = 90) -> Any:
    """Unigram like XGLM's: the most likely pieces, letters among them."""
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False)
    inner.train_from_iterator(texts, trainer)
    return _fast(inner, True)


def whole_words() -> Any:
    """Words of the vocabulary stay whole without merges, as in Llama 3 (ignore_merges)."""
    plain = byte_level()
    inner = plain.backend_tokenizer
    inner.model.ignore_merges = True
    return _fast(inner, True)


def _fast(inner: Any, begin: bool) -> Any:
    if begin:
        token = inner.token_to_id("<s>")
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", token)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=64,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


TOKENIZERS: dict[str, Callable[..., Any]] = {
    "byte_level": byte_level, "pieces": pieces, "unigram": unigram, "whole_words": whole_words,
}  # fmt: skip
