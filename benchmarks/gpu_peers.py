"""Comparison of our recipes with peers, called as their documentation shows: same model, board and windows.

    python -m benchmarks.gpu_peers [--device cuda:0] [--rounds 6] [--window 5]

The model is MiniLM on SST-2 at batch 32 x length 64. Each pair is a peer and our recipe of the same format. Joules are
counted between movements of the board's counter; zeus, if installed, measures the same loops. Without a meter only
latency is compared. Exits with 1 if zeus and we differ by over 2 %, or a recipe costs more than its peer beyond noise.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from compress import Recipe, apply
from compress.analysis.joules import window_energy
from compress.base.device import Device
from compress.base.devices import torch_device
from compress.energy.find import find_meter
from compress.energy.meters import Absent, gpus_of
from compress.energy.sampler import Sampler
from compress.measure import latency, warmup
from compress.records import machine
from compress.records.stats import Estimate, holm, paired_ratio, ratio_p
from tests.helpers import ASSETS

BATCH, LENGTH, AGREE = 32, 64, 0.02
MODEL = ASSETS / "models" / "minilm-l6-sst2"


def dense(dtype: torch.dtype, device: torch.device, **options: Any) -> Any:
    """Return the model as transformers loads it."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype=dtype, **options)
    return (model if options else model.to(device)).eval()


def by_torchao(config: Callable[[], Any]) -> Callable[[torch.device], Any]:
    """Return a maker of the bf16 model quantized by torchao, then compiled as torchao recommends.

    `quantize_` is applied to the linear layers that its kernels support.
    """

    def make(device: torch.device) -> Any:
        import torch._inductor.config as inductor
        from torchao.quantization import quantize_

        model = dense(torch.bfloat16, device)
        with inductor.patch(inductor.shallow_copy_dict()):  # torchao changes inductor's settings for the whole process
            quantize_(model, config(), filter_fn=lambda m, _: isinstance(m, nn.Linear) and m.out_features % 16 == 0)
            compiled = torch.compile(model, dynamic=True)
            with torch.no_grad():
                compiled(**batch(device))
        return compiled

    return make


def by_bitsandbytes(dtype: torch.dtype, **options: Any) -> Callable[[torch.device], Any]:
    """Return a maker of the model quantized by transformers' integration; the head stays dense, as in our recipes."""

    def make(device: torch.device) -> Any:
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(llm_int8_skip_modules=["classifier"], **options)
        return dense(dtype, device, quantization_config=config, device_map=device)

    return make


def int8() -> Any:
    """Return torchao's configuration of int8 weights and activations."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return Int8DynamicActivationInt8WeightConfig()


def fp8() -> Any:
    """Return torchao's configuration of fp8 weights and activations, with one scale per row."""
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow

    return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())


PEERS: dict[str, Callable[[torch.device], Any]] = {
    "torchao_int8": by_torchao(int8),
    "torchao_fp8": by_torchao(fp8),
    "bitsandbytes_int8": by_bitsandbytes(torch.float16, load_in_8bit=True),
    "bitsandbytes_nf4": by_bitsandbytes(
        torch.bfloat16, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    ),
}
"""Our recipe -> maker of the same format by its own library."""


def batch(device: torch.device) -> dict[str, torch.Tensor]:
    """Return random tokens that fill every text; the cost does not depend on their values."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), generator=generator)
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}


def zeus_monitor(device: torch.device) -> Any:
    """Return zeus's monitor of the first GPU, or None if zeus is not installed or the device is a CPU."""
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return None
    return ZeusMonitor(gpu_indices=[0]) if device.type == "cuda" else None


def window(model: Any, batches: Any, seconds: float, sync: Any, meter: Any, sampler: Sampler, zeus: Any) -> Any:
    """Return our joules (None without a meter), zeus's joules (None without zeus) and the seconds of one batch."""
    latency.run_for(model, batches, 0.5, sync)
    sampler.near_edge()
    latency.run_for(model, batches, sampler.edge_s, sync)
    if zeus is not None:
        zeus.begin_window("loop")
    start = time.monotonic_ns()
    count = len(latency.run_for(model, batches, seconds, sync))
    end = time.monotonic_ns()
    zeus_joules = None if zeus is None else zeus.end_window("loop").total_energy
    sampler.near_edge()
    latency.run_for(model, batches, sampler.edge_s, sync)
    ours = None if isinstance(meter, Absent) else window_energy(sampler.samples, start, end, meter.step_s or 0.0).joules
    return ours and ours / count, zeus_joules and zeus_joules / count, (end - start) / 1e9 / count


def costlier(ratios: Mapping[str, Estimate]) -> list[str]:
    """Return the comparisons in which our recipe costs more.

    Holm's levels correct for the number of comparisons, one in twenty of which would differ by chance.
    """
    levels = holm([ratio_p(ratio) for ratio in ratios.values()])
    judged = zip(ratios.items(), levels, strict=True)
    return [name for (name, ratio), level in judged if ratio.value > 1 and ratio_p(ratio) <= level]


def main() -> int:
    """Measure all pairs and print them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=Device.parse, default=Device("cuda", (0,)))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--window", type=float, default=5.0, help="seconds")
    parser.add_argument("--pairs", nargs="*", default=list(PEERS), choices=list(PEERS))
    options = parser.parse_args()
    from transformers import AutoTokenizer

    device, gpus = torch_device(options.device), gpus_of(machine.describe(options.device).details)
    meter = find_meter("cuda", gpus) if options.device.on_gpu else Absent("a CPU")
    tokens = AutoTokenizer.from_pretrained(MODEL)
    models: dict[str, Any] = {}
    for name in options.pairs:
        models[f"{name} (peer)"] = PEERS[name](device)
        models[name] = apply(Recipe.load(name), dense(torch.float32, device), tokens)
    batches, sync, zeus = [batch(device)], latency.synchronizer([device]), zeus_monitor(device)
    warming = warmup.WarmUp(list(models), batches, sync, 5 * len(models))
    while not warming.over:
        for name, model in models.items():
            warming.block(name, model)
    warmup.settle(list(models.values()), batches, sync, meter, 120)
    costs: dict[str, list[Any]] = {name: [] for name in models}
    with Sampler(meter) as sampler:
        for _ in range(options.rounds):
            for name in random.sample(list(models), len(models)):
                costs[name].append(window(models[name], batches, options.window, sync, meter, sampler, zeus))
    failed = False
    ratios: dict[str, Estimate] = {}
    for name in options.pairs:
        for place, what in ((0, "energy"), (2, "latency")):
            own, peer = ([cost[place] for cost in costs[key]] for key in (name, f"{name} (peer)"))
            if None in own or None in peer:
                print(f"{name}: no {what}: {meter.reason if isinstance(meter, Absent) else 'windows without joules'}")
                failed |= not isinstance(meter, Absent)
                continue
            ratio = ratios[f"{name}: {what}"] = paired_ratio(own, peer)
            print(f"{name}: {what} of ours / peer {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")
    worse = costlier(ratios)
    failed |= bool(worse)
    print("beyond noise, all comparisons taken together, ours costs more in", ", ".join(worse) or "none")
    both = [(ours, zeus_j) for cost in costs.values() for ours, zeus_j, _ in cost if ours and zeus_j]
    if both:
        mean = statistics.mean(zeus_j / ours - 1 for ours, zeus_j in both)
        worst = max(abs(zeus_j / ours - 1) for ours, zeus_j in both)
        print(f"zeus / ours: {100 * mean:+.2f} % on average over {len(both)} windows, {100 * worst:.2f} % at worst")
        failed |= abs(mean) > AGREE
    else:
        print("zeus was not compared: " + ("it is not installed" if zeus is None else "windows without joules"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
