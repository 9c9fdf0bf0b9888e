"""Continuations of a context, scored by their log-likelihood: rows of a language model for choices and for clozes.

    context "The sky is"   continuation " blue"   ->   <s> The sky is | blue        only what follows | is scored

Both are tokenized together, and spaces at the end of the context count to the continuation, as in lm-evaluation-harness
(Gao et al. 2021, doi:10.5281/zenodo.5371628, `TemplateLM._encode_pair`). Contexts over max_length lose their beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.tasks.blocks import frame
from compress.data.tasks.causal_lm import losses
from compress.data.tasks.task import IGNORED, Batch
from compress.data.tasks.texts import token_remark

if TYPE_CHECKING:
    import datasets
    import torch


UNOPENED = "the context is empty, and the tokenizer has neither a first token (BOS) nor an end token (EOS)"


@dataclass(frozen=True)
class Encoded:
    """The tokens of one context and continuation."""

    ids: list[int]
    context: int
    """Number of tokens that are not scored."""
    cut: bool
    """Whether the context lost its beginning."""

    @property
    def scored(self) -> int:
        """Number of tokens of the continuation."""
        return len(self.ids) - self.context


def encode(pairs: Sequence[tuple[str, str]], processor: Any, max_length: int) -> list[Encoded | str]:
    """Return the tokens of (context, continuation) pairs, or for a pair without a score the reason."""
    if not pairs:
        return []
    prefix, _ = frame(processor)
    moved = [_with_spaces(*pair) for pair in pairs]
    contexts = _ids(processor, [context for context, _ in moved])
    wholes = _ids(processor, [context + continuation for context, continuation in moved])
    return [_encoded(*both, prefix, processor, max_length) for both in zip(contexts, wholes, strict=True)]


def _with_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Return the pair with the spaces at the end of the context at the beginning of the continuation."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _ids(processor: Any, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = processor(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _encoded(
    context: list[int], whole: list[int], prefix: Sequence[int], processor: Any, max_length: int
) -> Encoded | str:
    """Return the tokens with a first one, cut on the left to `max_length`; or the reason why nothing can be scored."""
    scored = whole[len(context) :]
    if not scored:
        return "a continuation has no token of its own"
    first = list(prefix) or ([] if context else opening(processor))
    if not first and not context:
        return UNOPENED
    try:
        return fitted([*first, *whole[: len(context)]], scored, len(first), max_length)
    except InputError as error:
        return str(error)


def fitted(context: Sequence[int], scored: Sequence[int], first: int, max_length: int) -> Encoded:
    """Return the tokens of a row, at most `max_length`: the context keeps its `first` tokens and its end.

    Raises InputError if the continuation leaves no place for one token of context.
    """
    room = max_length - len(scored)
    if room < max(1, first):
        raise InputError(f"a continuation is longer than max_length {max_length} tokens, so its context has no place")
    kept = list(context) if len(context) <= room else [*context[:first], *context[len(context) - room + first :]]
    return Encoded([*kept, *scored], len(kept), len(kept) < len(context))


def opening(processor: Any) -> list[int]:
    """Return the token that stands for an empty context: BOS, else EOS, as a list; empty if there is neither."""
    token = processor.bos_token_id if processor.bos_token_id is not None else processor.eos_token_id
    return [] if token is None else [token]


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return summed nll (nats) and number of tokens of each continuation, and greedy: 1 if each has the top logit.

    greedy is -1 where a logit is not finite.
    """
    import torch

    nll, tokens = losses(logits, batch["labels"])
    top, labels = logits[:, :-1].argmax(dim=-1), batch["labels"][:, 1:]
    greedy = ((top == labels) | (labels == IGNORED)).all(dim=1).double()
    return {
        "nll": nll.tolist(),
        "tokens": tokens.tolist(),
        "greedy": torch.where(torch.isfinite(nll), greedy, -1.0).tolist(),
    }


def counted(own: "datasets.Dataset", dense: "datasets.Dataset", lacking: str) -> "datasets.Dataset":
    """Return examples with the number of tokens that the dense model's tokenizer scores in each, in a column tokens.

    `lacking` is that of `texts.removed`, for the note.
    """
    theirs, ours = (
        [len(ids) - context for ids, context in zip(each["input_ids"], each["context"], strict=True)]
        for each in (dense, own)
    )
    with_tokens = own.add_column("tokens", theirs)
    note = token_remark(sum(ours), sum(theirs), lacking, "likelihoods are of whole texts")
    with_tokens.info.description = "; ".join(filter(None, (own.info.description, note)))
    return with_tokens


def remark(encoded: Sequence[Encoded], max_length: int, counted: str = "") -> str:
    """Return a note on contexts that lost their beginning; empty without any.

    `counted`: what the contexts are, if they are not one for each example.
    """
    cut = sum(one.cut for one in encoded)
    if not cut:
        return ""
    of = f"{len(encoded)} contexts{counted and f' ({counted})'}"
    return f"{cut} of {of} were longer than max_length {max_length}: only their ends are read"
