"""Greedy continuations of fixed prompts, by which a session compares the text that its language models write."""

from typing import TYPE_CHECKING, Any

from compress.data import positions
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


def continuations(job: Job, runner: LoadedModel) -> Texts:
    """Return the greedy continuations of 16 prompts of 16 tokens of the test split, 32 tokens each.

    They are empty for tasks that do not generate. Models of few positions write fewer tokens, at least 4.
    """
    if not task_of(job.workload.task).generates:
        return ()
    limit = positions.stated(runner.model.config.to_dict()) or PROMPT_TOKENS + NEW_TOKENS
    tokens = min(NEW_TOKENS, limit - PROMPT_TOKENS)
    if tokens < 4:
        return ()
    point = OperatingPoint(batch_size=PROMPTS, sequence_length=PROMPT_TOKENS)
    prompts = timing_batches(job, runner, point, 1)[0]["input_ids"]
    # a compiled model with a dynamic cache would be compiled again for its steps
    steps = runner.spec.runtime != "compile" or isinstance(runner.model, Caching)
    cached = steps and keeps_cache(runner.model)
    return continued(runner.model, prompts, tokens, cached)


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
