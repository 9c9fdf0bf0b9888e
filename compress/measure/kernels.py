"""The operators of one profiled batch, or token of a language model, and the kernel label that they justify.

real         low-bit products, products that skip zeros, or dense products of a dense model
dequantized  low-bit weights in storage, but products in floating point
masked       over 10 % of the weights are zeros, stored and multiplied like the rest
unknown      the profiler recorded nothing
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.sparse import SparseSemiStructuredTensor

from compress.base.quiet import silenced_stderr
from compress.data.point import OperatingPoint
from compress.measure.decode import called
from compress.model.layers import WeightLayer
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.stateful import StatefulModel
from compress.records.result import Kernel, Operator

LOW_BIT_PRODUCTS = re.compile(
    r"_int_mm|_scaled_mm|int8_scaled_matmul|int8_linear_matmul|int8_mixed_scaled_mm|qlinear|igemm|i8gemm|s8s8|imma|"
    r"MatMulInteger|DynamicQuantizeMatMul|QLinearMatMul|QGemm|int4pack_mm|tinygemm|marlin|int4mm|"
    r"i\d+gemm_s8|nvjet_(sm\d+_)?qq|float_e4m3_t|"
    r"^(FullyConnected|MatMul|Convolution)\w*:\w*_[iu]8$|"
    r"^MUL_MAT(_ID)?:q\d_\d$|^MatMulNBits:inputs_i8$",
    re.IGNORECASE,
)
"""Names of integer and fp8 products in the profiles of torch, onnxruntime, openvino, llama.cpp and
onnxruntime-genai. A CUDA graph shows only kernels: those of cuBLAS (q is e4m3) and CUTLASS."""
SPANS = ("## Call CompiledFxGraph", "Torch-Compiled Region")
"""Prefixes of spans that only enclose the operators of a compiled model."""
SPARSE_PRODUCTS = re.compile(r"cslt_sparse_mm|cusparselt|sparse_semi_structured|sparse_gemm|sparse_mma", re.IGNORECASE)
"""Operators that skip the zeros of 2:4 sparse weights."""
MASKED_ABOVE = 0.1  # share of exact zeros in the weight matrices; trained dense weights have almost none
SHOWN = 8
WARM = 2
"""Calls before the profiled one."""

PROFILED = 8
"""Tokens of a decode point that a graph's counters, whole microseconds, are read over."""

CAUSES = {
    "dequantized": "dequantizes weights to floating point for every product",
    "masked": "zeros are stored and multiplied",
    "real": "",
    "unknown": "the profiler recorded nothing: is another profiler at work, or CUPTI missing?",
}


def label(
    model: Any,
    batch: Mapping[str, torch.Tensor],
    device: torch.device,
    low_bit: bool,
    point: OperatingPoint | None = None,
) -> Kernel:
    """Return a model's kernel label and the operators that prove it.

    `low_bit`: the model's weights are stored in 8 bits or fewer. `point` is the headline, whose phase is profiled: a
    token after a filled cache, or a request. Without one, and without a cache, a forward pass over the batch is.
    """
    if isinstance(model, GraphModel) and device.type != "cuda":
        shares = _normalised(_graph_seconds(model, batch, point))
    else:  # on a GPU a graph's own profile has the time of kernel launches, not of kernels
        shares = _torch_shares(model if point is None else called(model, point, batch), batch, device)
    if not shares:
        return Kernel("unknown", (), CAUSES["unknown"])
    evidence = sorted(shares.items(), key=lambda item: -item[1])
    integer = [(name, share) for name, share in evidence if LOW_BIT_PRODUCTS.search(name)]
    shown = dict(evidence[:SHOWN]) | dict(integer[:2])
    if low_bit:
        word = "real" if integer else "dequantized"
    else:
        sparse = [(name, share) for name, share in evidence if SPARSE_PRODUCTS.search(name)]
        shown |= dict(sparse[:2])
        word = "masked" if zero_share(model) > MASKED_ABOVE and not sparse else "real"
    operators = tuple(Operator(name, share) for name, share in shown.items())
    remark = model.remark() if isinstance(model, GraphModel) else ""
    return Kernel(word, operators, "; ".join(filter(None, (CAUSES[word], remark))))  # type: ignore[arg-type]


def _graph_seconds(
    model: GraphModel, batch: Mapping[str, torch.Tensor], point: OperatingPoint | None
) -> Mapping[str, float]:
    """Return operator -> seconds of what the point measures: a token, a request, or a forward pass."""
    if point is None or not point.generates or not isinstance(model, StatefulModel):
        return model.operator_seconds(batch)
    is_request = point.phase == "generate"
    new = point.new_tokens or 1
    tokens = new - 1 if is_request else min(new, PROFILED)
    return model.token_seconds(batch["input_ids"], tokens, is_request)


def zero_share(model: Any) -> float:
    """Return the share of exact zeros in the weights of linear and convolution layers, or of a graph's products."""
    zeros = total = 0
    for weight in model.weights() if isinstance(model, GraphModel) else _weights(model):
        zeros += weight.size - int(np.count_nonzero(weight))
        total += weight.size
    return zeros / total if total else 0.0


def _weights(model: Any) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, WeightLayer | nn.Conv2d) and _dense(module.weight):
            yield module.weight.detach().float().cpu().numpy()


def _dense(weight: torch.Tensor) -> bool:
    """Return whether a weight stores every number, zeros included, in more than 8 bits."""
    return weight.is_floating_point() and not isinstance(weight, SparseSemiStructuredTensor)


def _torch_shares(model: Any, batch: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, float]:
    """Return operator name -> share of self time in one call, after warm-up calls.

    On a GPU the shares are of kernel time.
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.no_grad():
        for _ in range(WARM):
            model(**batch)
        with silenced_stderr(), profile(activities=activities) as recorded:
            model(**batch)
            if on_gpu:
                torch.cuda.synchronize(device)
    events = recorded.key_averages()
    return kernel_shares(events) if on_gpu else _normalised(_summed((e.key, e.self_cpu_time_total) for e in events))


def kernel_shares(events: Iterable[Any]) -> dict[str, float]:
    """Return name -> share of GPU time, of the kernels and of the operators that launched them.

    An operator's time is that of its kernels, so all shares together add up to at most 2. An operator with the name of
    a kernel (as in triton) counts once.
    """
    counted = [event for event in events if not event.is_user_annotation and not event.key.startswith(SPANS)]
    kernels = _summed((e.key, e.self_device_time_total) for e in counted if e.device_type.name != "CPU")
    operators = _summed((e.key, e.self_device_time_total) for e in counted if e.device_type.name == "CPU")
    total = sum(kernels.values())
    return {name: spent / total for name, spent in {**operators, **kernels}.items()} if total else {}


def _summed(events: Iterable[tuple[str, float]]) -> dict[str, float]:
    times: dict[str, float] = {}
    for name, spent in events:
        if spent > 0:
            times[name] = times.get(name, 0.0) + float(spent)
    return times


def _normalised(times: Mapping[str, float]) -> dict[str, float]:
    total = sum(times.values())
    return {name: spent / total for name, spent in times.items()} if total else {}
