"""Check of a GGUF file in llama.cpp itself, by the package xllamacpp: its tokenizer, and its predictions.

llama.cpp rounds activations to 8 bits before products with quantized weights, so its logits differ from those of the
same weights in floating point. The check bounds the divergence of its prediction from the artifact's:

    KL = sum over tokens of p * (log p - log q)        p: the artifact's probabilities, q: llama.cpp's

A wrong rotation, order of rows or setting gives a divergence of several nats. Without quantized layers the largest
difference of log-probabilities is bounded too.
"""

import json
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any
from urllib import request

import torch

from compress.base.errors import InputError
from compress.export.check import Checked, Expected
from compress.model.gguf import FILE
from compress.model.gguf.tokenizer import one_space_more
from compress.model.runtimes.check import MOST_NATS

TEXTS = (
    "The capital of France is Paris.",
    "I'll say it's 3 of 12,345  words:\n\n\tdon't",
    " a naïve café in 東京 🙂",
    "def f(x):\n    return x**2  # 1234567\n",
)
MOST_DENSE = 0.003
"""Largest difference of log-probabilities of a file in F32."""
CONTEXT = 512


def installed() -> bool:
    """Return whether llama.cpp can be asked."""
    return util.find_spec("xllamacpp") is not None


def checks(folder: Path, processor: Any, expected: Expected, dense: bool) -> Iterator[Checked]:
    """Yield the passed checks of the file in a folder. Raises InputError for tokens or predictions that differ."""
    server = _server(folder / FILE)
    reader = f"llama.cpp (xllamacpp {metadata.version('xllamacpp')})"
    texts = [text for text in TEXTS if not (text.startswith(" ") and one_space_more(processor))]
    for text in texts:
        ours, theirs = processor(text)["input_ids"], _tokens(server, text)
        if ours != theirs:
            raise InputError(
                f"{folder / FILE}: llama.cpp splits {text!r} into tokens {theirs}; expected {ours}: GGUF has no "
                "tokenizer like the model's; nothing was kept"
            )
    yield Checked(reader, f"tokens of {len(texts)} texts", 0.0, 0.0)
    divergence, difference = 0.0, 0.0
    letter = processor("a", add_special_tokens=False)["input_ids"][-1]
    for ids, logits in _rows(expected):
        ours_log = logits.log_softmax(-1)
        theirs_log = _log_probabilities(server, ids, len(ours_log), letter)
        divergence = max(divergence, float((ours_log.exp() * (ours_log - theirs_log)).sum()))
        difference = max(difference, float((ours_log - theirs_log).abs().max()))
    what, found, most = (
        ("log-probabilities", difference, MOST_DENSE) if dense else ("predictions (KL, nats)", divergence, MOST_NATS)
    )
    if not found <= most:
        raise InputError(
            f"{folder / FILE}: llama.cpp predicts otherwise than the artifact: {what} differ by {found:.3g}; expected "
            f"at most {most}; nothing was kept"
        )
    yield Checked(reader, what, found, most)


def _rows(expected: Expected) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield the tokens of every text of the batches, and the logits after its last token."""
    for batch, logits in zip(expected.batches, expected.logits, strict=True):
        for row, answers, mask in zip(batch["input_ids"], logits, batch["attention_mask"], strict=True):
            count = int(mask.sum())
            yield row[:count].tolist(), answers[count - 1]


def _server(file: Path) -> Any:
    """Return llama.cpp with the file open, with a key/value cache in fp32: its default, fp16, rounds."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel = CONTEXT, 1
    params.verbosity, params.warmup, params.fit_params = -1, False, False
    params.n_gpu_layers = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = torch.get_num_threads()
    return xllamacpp.Server(params)


def _tokens(server: Any, text: str) -> list[int]:
    """Return the tokens of a text with those around it; the server listens on this machine's own address only."""
    body = json.dumps({"content": text, "add_special": True}).encode()
    asked = request.Request(
        f"{server.listening_address}/tokenize", data=body, headers={"content-type": "application/json"}
    )
    opener = request.build_opener(request.ProxyHandler({}))
    with opener.open(asked, timeout=60) as answer:
        return list(json.load(answer)["tokens"])


def _log_probabilities(server: Any, ids: list[int], size: int, letter: int) -> torch.Tensor:
    """Return the log-probability [vocabulary] of every next token, before sampling.

    `letter` is the token to sample: llama.cpp answers nothing for an end, or for a part of a character.
    """
    settings = {"n_predict": 1, "logprobs": size, "temperature": 0, "logit_bias": [[letter, 1000.0]]}
    answer = server.handle_completions({"prompt": ids, **settings})
    found = torch.full((size,), float("-inf"))
    for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        found[token["id"]] = token["logprob"]
    return found
