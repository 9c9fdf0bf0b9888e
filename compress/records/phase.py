"""Phases of a language model's inference, and their names in tables and sentences.

prefill    the prompt is read: cache and first new token         its latency is the time to the first token
decode     one token after the other, with the filled cache       its latency is that between two tokens
generate   a request: prefill, then decode                        its latency is that of the request
"""

from collections.abc import Mapping
from typing import Literal

Phase = Literal["prefill", "decode", "generate"]
INFERENCE = "inference"
EXAMPLES: Mapping[Phase, str] = {"prefill": "prompt", "decode": "generated token", "generate": "request"}
"""Phase -> what an example of a batch is: costs per example, and break-even, count these; others count inferences."""


def in_words(
    phase: str,
    batch_size: int,
    context: int | None,
    new_tokens: int | None,
    stop: bool = False,
    audio_s: int | None = None,
) -> str:
    """Return the name of a point: `decode, batch 1, context 128`, or of sound `decode, batch 1, 10 s of sound`."""
    length = f"length {context}" if audio_s is None else seconds(audio_s)
    if phase == "decode":
        return f"decode, batch {batch_size}, {f'context {context}' if audio_s is None else length}"
    if phase == "generate":
        return f"generate {'up to ' if stop else ''}{new_tokens}, batch {batch_size} x {length}"
    return f"prefill, batch {batch_size} x {length}"


def seconds(audio_s: int) -> str:
    """Return the length of sound as text."""
    return f"{audio_s} s of sound"
