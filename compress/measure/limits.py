"""The physical limit of a runner at a point: the work of its batches against what the device does at most in a second.

    decode            bytes of weights and cache that a step reads, against the bandwidth of a working set of that size
    prefill, others   operations of a batch, against the peaks of the number formats that they are computed in
    generate          both: the prompt's operations, then the bytes of every further token

Work that cannot be counted is unknown, with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from compress.data.point import OperatingPoint
from compress.energy.peaks import Peaks
from compress.measure.decode import Decoding, Prefill, prompt_of
from compress.measure.genai_work import genai_work
from compress.measure.graph_work import gguf_read_bytes, gguf_work, onnx_work, openvino_work
from compress.measure.job import failure
from compress.measure.work import Work, work
from compress.model.caching import caching
from compress.model.runtimes.genai import GenaiModel
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.model.runtimes.llama_cpp import LlamaCppModel
from compress.model.runtimes.openvino import OpenVinoModel
from compress.model.runtimes.stateful import StatefulModel
from compress.records.limit import MEMORY, Limit

Batch = Mapping[str, torch.Tensor]


class Uncounted(Exception):
    """The work of a model cannot be counted; the message is the reason."""


def limit(
    model: Any, point: OperatingPoint, batch: Batch, peaks: Peaks, integer: bool, lengths: Sequence[int] = ()
) -> Limit | None:
    """Return the limit of a model's batches at a point; None at natural points, whose batches differ.

    `integer`: the model's kernels multiply low-bit weights as integers, as its profile showed. `lengths`: tokens that
    each text of a pass generates, of requests that stop by themselves; a request ends with its longest text.
    """
    if point.natural is not None:
        return None
    texts, most = point.batch_size, point.new_tokens or 1
    requests = [max(lengths[i : i + texts]) for i in range(0, len(lengths), texts)] or [most]
    try:
        return _limit(model, point, batch, peaks, integer, requests)
    except Uncounted as reason:
        return Limit(reason=str(reason))
    except Exception as error:  # noqa: BLE001  a model that cannot be counted is measured all the same
        return Limit(reason=f"its work could not be counted: {failure(error)}")


def _limit(
    model: Any, point: OperatingPoint, batch: Batch, peaks: Peaks, integer: bool, requests: Sequence[int]
) -> Limit:
    found = Limit(reason="nothing is computed")
    if point.phase != "decode":
        found = _arithmetic(_forward(model, point, batch, integer), peaks)
    if point.phase == "decode":
        passed = point.new_tokens or 1
        return _reading(_read_bytes(model, point, prompt_of(batch), integer, [passed]) / passed, 1.0, peaks)
    if point.phase == "generate" and (steps := sum(requests) / len(requests) - 1) > 0:
        after_first = [tokens - 1 for tokens in requests]
        read = _read_bytes(model, point, prompt_of(batch), integer, after_first)
        found = _both(found, _reading(read / steps, steps, peaks))
    return found


def _both(prompt: Limit, steps: Limit) -> Limit:
    work, per_second = {**prompt.work, **steps.work}, {**prompt.per_second, **steps.per_second}
    return replace(prompt, work=work, per_second=per_second, in_cache=steps.in_cache)


def _arithmetic(work: Work, peaks: Peaks) -> Limit:
    """Return the limit of operations. Raises Uncounted for an operator or number format without a figure."""
    if work.unknown:
        raise Uncounted(f"the operations of {', '.join(work.unknown)} are not counted")
    if missing := [name for name in work.operations if name not in peaks.products]:
        raise Uncounted(f"the device's peak in {', '.join(missing)} is not measured")
    if not work.operations:
        raise Uncounted("no product was found in it")
    return Limit(work.operations, {name: peaks.products[name] for name in work.operations}, disturbed=peaks.disturbed)


def _reading(step_bytes: float, steps: float, peaks: Peaks) -> Limit:
    rate, in_cache = peaks.bandwidth(step_bytes)
    return Limit({MEMORY: step_bytes * steps}, {MEMORY: rate}, in_cache, peaks.disturbed)


def _forward(model: Any, point: OperatingPoint, batch: Batch, integer: bool) -> Work:
    """Return the work of a whole batch, up to the first new token of a prompt."""
    if isinstance(model, StatefulModel):
        ids = prompt_of(batch)
        return openvino_work(model, model.prompt_feeds(ids), integer)
    if isinstance(model, OpenVinoModel):
        return openvino_work(model, model.feeds((), batch), integer)
    if isinstance(model, OnnxModel):
        return onnx_work(model, batch)
    if isinstance(model, LlamaCppModel):
        return gguf_work(model.path, model.config, *prompt_of(batch).shape)
    if isinstance(model, GenaiModel):
        return genai_work(model.path, model.heads[1], *prompt_of(batch).shape)
    torch_model = _torch_model(model)
    if point.phase is None:
        return work(torch_model, lambda: model(**batch))
    prefill = Prefill(caching(model))
    return work(torch_model, lambda: prefill(**batch))


def _read_bytes(
    model: Any, point: OperatingPoint, prompt: torch.Tensor, integer: bool, requests: Sequence[int]
) -> float:
    """Return the mean bytes that requests of so many steps after the prompt [batch, length] read.

    The i-th step reads all weights, and the cache of the prompt and i new tokens.
    """
    new, context = point.new_tokens or 1, prompt.shape[1]
    window = getattr(getattr(model, "config", None), "sliding_window", None)
    if isinstance(window, int) and window < context + new:
        raise Uncounted(f"its layers attend to {window} tokens of the cache at most, which is not counted")
    decoding = Decoding(caching(model), new, prompt)
    if isinstance(model, StatefulModel):
        decoding()
        weights = openvino_work(model, model.prompt_feeds(prompt[:, :1]), integer).read_bytes
    elif isinstance(model, LlamaCppModel):
        weights = gguf_read_bytes(model.path, prompt.shape[0])
    elif isinstance(model, GenaiModel):
        decoding()
        weights = genai_work(model.path, model.heads[1], prompt.shape[0], 1).read_bytes
    else:
        weights = work(_torch_model(model), decoding).read_bytes
    cached = list(accumulate((decoding.bytes_after(step) for step in range(1, max(requests) + 1)), initial=0))
    return sum(steps * weights + cached[steps] for steps in requests) / len(requests)


def _torch_model(model: Any) -> nn.Module:
    if isinstance(model, GraphModel) or not isinstance(model, nn.Module):
        raise Uncounted(f"the work of a {type(model).__name__} is not counted")
    return model
