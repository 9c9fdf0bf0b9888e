"""Greedy continuations of fixed prompts, by which a session compares the text that its language models write.

A model with a vocabulary of its own is given the same text, and what it writes is recorded in the dense model's tokens:

    reference     the cat | sat on | the | mat        dense tokens
    model         the cat | s a t on | the | mat      its own tokens
    recorded      the cat | sat on | the | mat        equal texts are equal
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.data import loading, positions
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.measure.decode import Generation
from compress.measure.job import Job
from compress.measure.models import LoadedModel, timing_batches
from compress.model.caching import Caching, caching, keeps_cache

if TYPE_CHECKING:
    import torch

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 16, 16, 32
Texts = tuple[tuple[int, ...], ...]


def continuations(job: Job, runner: LoadedModel, references: Sequence[Texts] = ()) -> Texts:
    """Return the greedy continuations of 16 prompts of 16 tokens of the test split, 32 tokens each.

    They are empty for tasks that do not generate. Models of few positions write fewer tokens, at least 4. All are in
    the dense model's tokens; `references` are the texts that a model with a vocabulary of its own is compared with.
    """
    if not task_of(job.workload.task).generates:
        return ()
    limit = positions.stated(runner.model.config.to_dict()) or 8 * (PROMPT_TOKENS + NEW_TOKENS)
    tokens = min(NEW_TOKENS, limit - PROMPT_TOKENS)
    if tokens < 4:
        return ()
    point = OperatingPoint(batch_size=PROMPTS, sequence_length=PROMPT_TOKENS)
    # a compiled model with a dynamic cache would be compiled again for its steps
    steps = runner.spec.runtime != "compile" or isinstance(runner.model, Caching)
    cached = steps and keeps_cache(runner.model)
    if not runner.spec.own_vocabulary:
        prompts = timing_batches(job, runner, point, 1)[0]["input_ids"]
        return continued(runner.model, prompts, tokens, cached)
    dense = loading.load_processor(job.source)
    prompts = timing_batches(job, replace(runner, processor=dense), point, 1)[0]["input_ids"]
    found = []
    for number, prompt in enumerate(prompts):
        others = [texts[number] for texts in references if texts]
        ids = _in_dense_tokens(runner, dense, prompt, others, tokens, limit, cached)
        if len(ids) < tokens:
            return ()
        found.append(ids[:tokens])
    return tuple(found)


def _in_dense_tokens(
    runner: LoadedModel,
    dense: Any,
    prompt: "torch.Tensor",
    references: Sequence[Sequence[int]],
    tokens: int,
    limit: int,
    cached: bool,
) -> tuple[int, ...]:
    """Return over `tokens` dense tokens that a model with its own vocabulary writes, or fewer at its last position."""
    import torch

    own = translated(prompt.tolist(), dense, runner.processor)
    start = torch.tensor([own], device=prompt.device)
    most = min(8 * tokens, limit - len(own))
    ids: tuple[int, ...] = ()
    count = 0
    while len(ids) <= tokens and count < most:  # one more, since the last one may not be complete
        count = min(max(tokens, 2 * count), most)
        (new,) = continued(runner.model, start, count, cached)
        ids = in_dense_tokens(decoded(runner.processor, [*own, *new]), dense, prompt.tolist(), references)
    return ids


def translated(ids: Sequence[int], dense: Any, own: Any) -> list[int]:
    """Return tokens in a smaller vocabulary: removed ones are cut into the parts that are left."""
    numbers, split = own.get_vocab(), own.backend_tokenizer.model.tokenize
    tokens = dense.convert_ids_to_tokens(list(ids))
    return [id for token in tokens for id in ([numbers[token]] if token in numbers else [t.id for t in split(token)])]


def in_dense_tokens(
    text: str, dense: Any, prompt: Sequence[int], references: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """Return the dense tokens of a text after its prompt: a reference's own as long as its text is the same."""
    agreed: Sequence[int] = ()
    for reference in references:
        same = (n for n in range(len(reference), 0, -1) if text.startswith(decoded(dense, [*prompt, *reference[:n]])))
        agreed = max(agreed, reference[: next(same, 0)], key=len)
    length = len(decoded(dense, [*prompt, *agreed]))
    rest = [id for id, end in zip(*_ends(dense, text), strict=True) if end > length]
    followers = {reference[len(agreed)] for reference in references if len(reference) > len(agreed)}
    while rest and rest[0] in followers:  # its text is another one, which decoding both showed
        rest = rest[1:]
    return (*agreed, *rest)


def decoded(processor: Any, ids: Sequence[int]) -> str:
    """Return the text of tokens, special tokens included."""
    text: str = processor.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _ends(processor: Any, text: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a text, and the character at which each ends."""
    encoded = processor(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]


def continued(model: Any, prompts: "torch.Tensor", tokens: int, cached: bool) -> Texts:
    """Return the `tokens` ids that greedy decoding appends to each prompt [batch, length], all of one length.

    Without a cache, every step computes the whole text.
    """
    import torch

    ids = prompts
    with torch.no_grad():
        if cached:
            return tuple(map(tuple, Generation(caching(model), tokens)(ids).tolist()))
        for _ in range(tokens):
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            ids = torch.cat([ids, output.logits[:, -1].argmax(dim=-1, keepdim=True).to(ids.device)], dim=1)
    return tuple(map(tuple, ids[:, prompts.shape[1] :].tolist()))
