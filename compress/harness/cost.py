"""What a model costs at a workload's headline point, for methods that prune until it costs so much less."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from compress.data import source
from compress.data.place import Source
from compress.data.tasks import task_of
from compress.measure.latency import run_for, synchronizer
from compress.model.runtimes.onnx import plain_attention

ROUNDS, SECONDS = 5, 0.2  # a fifth of a second at a time, so that both models of a ratio see the same machine


def cost_of(found: Source, device: torch.device, processor: Any, seed: int) -> Callable[[Any, str], float]:
    """cost(model, "macs"): multiply-adds of one batch; cost(model, "latency"): seconds, the least of five medians.

    The least, because whatever else runs on the machine only ever adds.
    """

    def batches(model: Any) -> list[dict[str, torch.Tensor]]:
        point = found.workload.headline_point
        examples = source.load_examples(found, "train", processor, model.config, limit=max(256, 4 * point.batch_size))
        made = task_of(found.workload.task).fixed(examples, processor, point, 4, seed)
        return [{name: tensor.to(device) for name, tensor in batch.items()} for batch in made]

    def cost(model: Any, what: str) -> float:
        model.eval()
        given = batches(model)
        if what == "macs":
            # written out, since the counter does not know every fused attention
            with torch.no_grad(), plain_attention(model), FlopCounterMode(display=False) as counter:
                model(**given[0])
            return counter.get_total_flops() / 2
        sync = synchronizer([str(device)])
        run_for(model, given, SECONDS, sync)
        return min(statistics.median(run_for(model, given, SECONDS, sync)) for _ in range(ROUNDS)) / 1e9

    return cost
