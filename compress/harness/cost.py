"""Cost of a model at a workload's headline point, for methods that prune to a target cost."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from compress.data import loading
from compress.data.source import Source
from compress.data.tasks import task_of
from compress.measure.latency import run_for, synchronizer
from compress.model.runtimes.onnx import plain_attention

ROUNDS, SECONDS = 5, 0.2  # short rounds, so that both models of a ratio see the same machine state


def cost_of(source: Source, device: torch.device, processor: Any, seed: int) -> Callable[[Any, str], float]:
    """Return a function that computes a model's cost.

    cost(model, "macs") is the multiply-adds of one batch. cost(model, "latency") is seconds: the least of five medians,
    since other load on the machine can only add time.
    """

    def batches(model: Any) -> list[dict[str, torch.Tensor]]:
        point = source.workload.headline_point
        examples = loading.load_examples(source, "train", processor, model.config, limit=max(256, 4 * point.batch_size))
        fixed_batches = task_of(source.workload.task).fixed(examples, processor, point, 4, seed)
        return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in fixed_batches]

    def cost(model: Any, what: str) -> float:
        model.eval()
        model_batches = batches(model)
        if what == "macs":
            # attention in plain operators, since the counter does not know every fused one
            with torch.no_grad(), plain_attention(model), FlopCounterMode(display=False) as counter:
                model(**model_batches[0])
            return counter.get_total_flops() / 2
        sync = synchronizer([device])
        run_for(model, model_batches, SECONDS, sync)
        return min(statistics.median(run_for(model, model_batches, SECONDS, sync)) for _ in range(ROUNDS)) / 1e9

    return cost
