"""Effect of formats and structures on the time of a batch, and cost of calibrated methods; a part of `make bench`.

python -m benchmarks.bench_kernels            every kernel at every point, then every method
python -m benchmarks.bench_kernels kernels    or one of the two

The model is the fine-tuned MiniLM of the shared folder. Times are medians of interleaved rounds; only their ratios are
meaningful.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from compress.data import loading, locate
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.harness.transform import open_bundle
from compress.measure.latency import run_for, synchronizer
from compress.methods import apply_step
from compress.model import runtimes
from compress.model.bundle import Bundle
from compress.spec.recipe import Recipe
from compress.spec.steps import Cast, LowRank, Prune, Quantize
from tests.helpers import ASSETS, ROOT

WORKLOAD = ROOT / "results" / "reference" / "minilm-sst2.yaml"
POINTS = [(size, length) for length in (32, 128) for size in (1, 8, 32)]
ROUNDS, SECONDS = 5, 0.3
MOST_S = 120.0

KERNELS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "dense eager": ("eager", ()),
    "dense onnxruntime": ("onnxruntime", ()),
    "dense openvino": ("openvino", ()),
    "bf16 eager": ("eager", (Cast(),)),
    "int8 onnxruntime": ("onnxruntime", (Quantize(bits=8),)),
    "int8 torchao eager": ("eager", (Quantize(bits=8, format="int8", backend="torchao"),)),
    "llm_int8 bitsandbytes": ("eager", (Quantize(bits=8, format="llm_int8"),)),
    "nf4 bitsandbytes": ("eager", (Quantize(bits=4, format="nf4"),)),
    "bf16 nf4 bitsandbytes": ("eager", (Cast(), Quantize(bits=4, format="nf4"))),
    "int4 quanto": ("eager", (Quantize(bits=4, format="int4", backend="quanto"),)),
    "int4 torch": ("eager", (Quantize(bits=4, format="int4", backend="torch"),)),
    "int8_static openvino": ("openvino", (Quantize(bits=8, format="int8_static", calibration_examples=64),)),
    "int8_weight openvino": ("openvino", (Quantize(bits=8, format="int8_weight", backend="openvino"),)),
    "int4 openvino": ("openvino", (Quantize(bits=4, format="int4", backend="openvino"),)),
    "half feed-forward eager": ("eager", (Prune(fraction=0.5),)),
    "half feed-forward onnxruntime": ("onnxruntime", (Prune(fraction=0.5),)),
    "half feed-forward openvino": ("openvino", (Prune(fraction=0.5),)),
    "low rank 60 % eager": ("eager", (LowRank(parameters=0.6),)),
    "low rank 60 % openvino": ("openvino", (LowRank(parameters=0.6),)),
}
METHODS: dict[str, Any] = {
    "nothing (loading)": None,
    "taylor": Prune(importance="taylor"),
    "obd": Prune(importance="obd"),
    "wanda": Prune(structure="unstructured", importance="wanda", fraction=0.5),
    "sparsegpt": Prune(structure="unstructured", importance="sparsegpt", fraction=0.5),
    "whitened svd": LowRank(parameters=0.6, weighting="whitened"),
    "shared ranks": LowRank(parameters=0.6, weighting="whitened", allocation="shared"),
    "gptq": Quantize(bits=4, rounding="gptq"),
    "awq": Quantize(bits=4, scaling="awq"),
    "int8_static": Quantize(bits=8, format="int8_static"),
}


def opened(runtime: str) -> Bundle:
    """Return the dense model with its data."""
    source = locate.resolve(Workload.load(str(WORKLOAD)))
    return open_bundle(Recipe(runtime=runtime), source, torch.device("cpu"), work=None)  # type: ignore[arg-type]


def kernels() -> None:
    """Print the time of a batch relative to dense under eager and under the same runtime, at every point."""
    models: dict[str, Any] = {}
    for name, (runtime, steps) in KERNELS.items():
        bundle = opened(runtime)
        for step in steps:
            bundle = apply_step(bundle, step)
        finished = runtimes.finish(bundle, runtime)
        models[name] = runtimes.prepare(finished.model, finished.runtime)
        print(f"made {name}", file=sys.stderr, flush=True)
    source = locate.resolve(Workload.load(str(WORKLOAD)))
    processor = loading.load_processor(source)
    examples = loading.load_examples(source, "train", processor, models["dense eager"].config, limit=256)
    sync = synchronizer([torch.device("cpu")])
    print("batch x length: time / dense under eager (time / dense under the same runtime)")
    for size, length in POINTS:
        point = OperatingPoint(batch_size=size, sequence_length=length)
        model_batches = task_of("text-classification").fixed(examples, processor, point, 2, 0)
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, model in models.items():
                run_for(model, model_batches, SECONDS / 5, sync)
                times[name].append(statistics.median(run_for(model, model_batches, SECONDS, sync)))
        medians = {name: statistics.median(model_times) for name, model_times in times.items()}
        for name, (runtime, _) in KERNELS.items():
            eager = medians[name] / medians["dense eager"]
            same = medians[name] / medians[f"dense {runtime}"]
            print(f"{size:3d} x {length:3d}  {name:30s} {eager:6.2f} ({same:.2f})", flush=True)


def method(name: str) -> None:
    """Print the seconds of one method and the peak memory of this process beyond the loaded model, as JSON."""
    bundle, step = opened("auto"), METHODS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    if step is not None:
        apply_step(bundle, step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": time.monotonic() - start, "megabytes": (peak - before) / 1024}))


def methods() -> bool:
    """Print the cost of every calibrated method; return whether each takes at most two minutes."""
    kept = True
    for name in METHODS:
        command = [sys.executable, "-m", "benchmarks.bench_kernels", "method", name]
        completed = subprocess.run(command, capture_output=True, text=True, check=True)
        cost = json.loads(completed.stdout.splitlines()[-1])
        fits = cost["seconds"] <= MOST_S
        kept &= fits
        figures = f"{cost['seconds']:.1f} s (bound <= {MOST_S:g} s), {cost['megabytes']:.0f} MB beside the model"
        print(f"{'ok    ' if fits else 'MISSED'}  {name}: {figures}", flush=True)
    return kept


def main() -> None:
    """Run the parts named on the command line, or all."""
    torch.manual_seed(0)
    parts = sys.argv[1:]
    if not ASSETS.exists():
        print(f"{ASSETS} is not here; set COMPRESS_ASSETS to the folder that holds the real models and data")
        return
    if parts[:1] == ["method"]:
        method(parts[1])
        return
    if not parts or "kernels" in parts:
        kernels()
    if (not parts or "methods" in parts) and not methods():
        sys.exit(1)


if __name__ == "__main__":
    main()
