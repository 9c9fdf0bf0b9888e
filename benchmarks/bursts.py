"""Three recipes measured beside a load that takes one core in bursts, with the default settings of a run.

python -m benchmarks.bursts           one run on the quiet machine, ten beside the load: about 45 minutes
python -m benchmarks.bursts load      the load alone, until interrupted

The load computes on one core for 0.1 to 5 s, then sleeps as long on average: half of the time. The bound concerns the
latency ratio of a model with half the layers to fp32 eager: its half-width, and whether its interval contains the
ratio of the quiet machine. The load does not know the windows, and the measurement does not know the load.
"""

import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.analysis.precision import half_width
from compress.records import files as result_files
from compress.records.stats import Estimate
from tests.helpers import ASSETS, ROOT

SHORTEST_S, LONGEST_S = 0.1, 5.0
RUNS = 10
WIDEST = 0.08
LEAST_CONTAINED = 9
HALF = "half_the_layers"
RECIPES = {
    HALF: "steps: [{method: prune, structure: layers, importance: influence, fraction: 0.5}]\n",
    "narrower": "steps: [{method: prune, structure: feed_forward, fraction: 0.25}]\n",
    "int8": "steps: [{method: quantize, bits: 8}]\n",
}
WORKLOAD = f"""task: text-classification
model: {ASSETS / "models/minilm-l6-sst2"}
dataset: {{path: {ASSETS / "data/sst2"}, train: train, test: validation, text: sentence, label: label}}
headline: {{batch_size: 8, sequence_length: 64}}
"""
EXAMPLES = "100"  # accuracy is not the subject
REFERENCE = "fp32 eager"


def duration_s(draw: random.Random) -> float:
    """Return the length of a burst or of a pause; its logarithm is uniform."""
    return math.exp(draw.uniform(math.log(SHORTEST_S), math.log(LONGEST_S)))


def load(
    draw: random.Random,
    running: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Compute in bursts while `running`."""
    while running():
        end = clock() + duration_s(draw)
        while clock() < end:
            pass
        sleep(duration_s(draw))


@contextmanager
def beside() -> Iterator[None]:
    """Run the load in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bursts", "load"], cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def measured(folder: Path, number: int) -> Estimate:
    """Run the recipes; return the latency ratio of the half-size model."""
    out = folder / f"results-{number}"
    command = [sys.executable, "-m", "compress", "run", *(f"{name}.yaml" for name in RECIPES)]
    command += ["--workload", "sst2.yaml", "--limit", EXAMPLES, "--out", str(out), "--artifacts", "artifacts"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--device", "cpu"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    (result,) = (result for result in result_files.read_all(out)[0] if result.name == HALF)
    ratio = result.headline.ratio(REFERENCE) if result.headline else None
    if ratio is None:
        raise SystemExit(f"{HALF} has no latency ratio to {REFERENCE}: {result.reason}")
    print(
        f"    run {number}: {ratio.latency.value:.3f} ({ratio.latency.low:.3f} to {ratio.latency.high:.3f})", flush=True
    )
    return ratio.latency


def bursts(runs: int = RUNS) -> list[tuple[str, float, float, str, bool]]:
    """Return rows of the speed table: (property, measured, bound, unit, at least)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "sst2.yaml").write_text(WORKLOAD, encoding="utf-8")
        for name, text in RECIPES.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        quiet = measured(folder, 0)
        with beside():
            disturbed = [measured(folder, number) for number in range(1, runs + 1)]
    widest = max(half_width(ratio) for ratio in disturbed)
    contained = sum(ratio.low <= quiet.value <= ratio.high for ratio in disturbed)
    return [
        ("beside bursts of load: largest half-width of a half-size model's latency ratio", 100 * widest, 100 * WIDEST,
         "%", False),
        (f"the same: intervals of {runs} runs that contain the quiet machine's ratio", contained,
         LEAST_CONTAINED * runs / RUNS, "", True),
    ]  # fmt: skip


if __name__ == "__main__":
    if "load" in sys.argv:
        load(random.Random(), lambda: True)
    for what, value, bound, unit, at_least in bursts(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS):
        kept = value >= bound if at_least else value <= bound
        print(f"{'ok    ' if kept else 'MISSED'}  {what}: {value:.3g} {unit} (bound {bound:g})")
