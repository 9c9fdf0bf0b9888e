"""Reference results of a GPU, one small session at a time: `make gpu-results` measures the next one that is missing.

python -m benchmarks.gpu_results            the next missing session
python -m benchmarks.gpu_results NAME ...   these sessions, missing or not
python -m benchmarks.gpu_results --list     all sessions, and which are there
python -m benchmarks.gpu_results --again    spread of the repeated sessions; exits with 1 if a bound is missed

A session is either complete or missing. It measures its references and one to five recipes, mostly with `standard`
windows, in less than ten minutes. The most valuable sessions come first in the list. Boards are compared only by ratios
to their own references.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import shapes
from compress.base.device import Device
from compress.energy import nvml
from compress.energy.find import find_meter
from compress.energy.meters import gpus_of
from compress.records import files as result_files
from compress.records import machine
from tests.helpers import ROOT, assets

OUT = ROOT / "results" / "reference" / "gpu"
REAL, TRAINED = "minilm", "python-lm"
AGAIN = "-again"
"""Part of the names of repeated sessions, which measure one model both as recipe and as reference."""
SPREAD, DIFFERENT = 0.01, 0.2
"""Bounds of repeated sessions: spread of joules on one board, and share of sessions that report a difference."""
RANDOM_LIMIT = 64  # test examples for random weights: enough to detect infinite outputs


@dataclass(frozen=True)
class Session:
    """One model at one operating point, and the recipes that are measured with its references."""

    model: str
    batch_size: int
    length: int
    recipes: tuple[str, ...]
    generate: int | None = None
    points: tuple[tuple[int, int], ...] = ()
    """Further (batch size, length) points; the headline has the longest texts."""
    changes: tuple[str, ...] = ()
    """Assignments for `--set`."""
    part: str = ""

    @property
    def name(self) -> str:
        """Name of the folder of its results; it states if weights are random."""
        weights = {REAL: "sst2", TRAINED: "trained"}.get(self.model, "random-weights")
        tokens = f"-generate{self.generate}" if self.generate else ""
        return f"{self.model}-{weights}-b{self.batch_size}-l{self.length}{tokens}{self.part}"


BEST = ("bert_fp16", "graphs_student", "torchao_int8", "torchao_fp8")
UNTRAINED = ("bert_fp16", "graphs_bf16", "torchao_int8", "torchao_fp8")
LOW = ("bert_bf16", "bitsandbytes_int8", "bitsandbytes_nf4", "lowrank_bf16", "prune_bf16")
GRAPHS = ("torchao_int8", "torchao_fp8", "lowrank_bf16", "prune_bf16")
LANGUAGE = ("torchao_int8", "torchao_int4", "torchao_fp8", "bitsandbytes_nf4")
SPARSER = ("sparse_2to4", "prune_bf16", "lowrank_bf16", "bitsandbytes_int8")
GRID = ((1, 32), (8, 32), (32, 32), (128, 32), (1, 128), (8, 128), (32, 128))
MAP = ("measure.profile=quick", "measure.points=all")
"""Short windows, grade C at best: they map where savings turn into losses over batch and length
(`plot --kind points`)."""

SESSIONS: tuple[Session, ...] = (
    Session(REAL, 32, 64, BEST),  # the session that the bounds apply to
    Session(REAL, 1, 64, BEST),
    Session("llama-1b", 1, 128, LANGUAGE),
    Session("llama-1b", 32, 128, LANGUAGE),
    Session(REAL, 32, 64, LOW, part="-low-bit"),
    Session(REAL, 1, 64, LOW, part="-low-bit"),
    Session("llama-1b", 1, 128, LANGUAGE, generate=32),
    Session(TRAINED, 8, 256, ("torchao_int8", "torchao_int4", "sparse_2to4", "prune_bf16", "lowrank_bf16")),
    Session("llama-8b", 1, 128, LANGUAGE),
    Session("llama-8b", 32, 128, LANGUAGE),
    Session(REAL, 32, 64, GRAPHS, changes=("padding=fixed", "runtime=compile"), part="-graphs"),
    *(Session(REAL, 256, 128, ("bert_bf16",), changes=("measure.window_s=2",), part=f"{AGAIN}{n}") for n in range(10)),
    Session(REAL, 128, 128, BEST),
    Session(REAL, 8, 64, BEST),
    Session(REAL, 32, 32, BEST),
    *(Session(f"bert-{size}", batch, 128, UNTRAINED) for size in ("base", "large") for batch in (1, 32, 128)),
    *(Session("bert-large", 128, 128, (f"torchao_{form}",), points=GRID, changes=MAP, part=f"-map-{form}") for form in
      ("int8", "fp8")),
    Session("llama-1b", 128, 128, ("torchao_int4",), points=GRID, changes=MAP, part="-map-int4"),
    Session("llama-1b", 32, 128, SPARSER, part="-sparser"),
    Session("llama-8b", 32, 128, SPARSER[:2], part="-sparser"),  # split: artifacts of all four take 50 GB
    Session("llama-8b", 32, 128, SPARSER[2:], part="-low-rank"),
    Session("llama-8b", 1, 128, LANGUAGE, generate=32),
    Session("llama-1b", 128, 128, LANGUAGE),
)  # fmt: skip


def there(session: Session, out: Path) -> bool:
    """Return whether the session has been measured and no recipe failed."""
    rows = [result_files.read(path) for path in (out / session.name).glob("*.json")]
    return bool(rows) and all(row.error is None for row in rows)


def missing(out: Path) -> list[Session]:
    """Return the sessions to measure, in order. Those in which a recipe failed come after those never tried."""
    absent = [session for session in SESSIONS if not there(session, out)]
    return sorted(absent, key=lambda session: any((out / session.name).glob("*.json")))


def repeated(out: Path) -> tuple[list[str], bool]:
    """Return lines about the repeated sessions, and whether these exist and keep the bounds.

    The lines report the spread of joules per board, and how often the model was called different from itself.
    """
    joules: dict[str, list[float]] = {}
    different: list[bool] = []
    for session in SESSIONS:
        for path in (out / session.name).glob("*.json") if AGAIN in session.name else ():
            row = result_files.read(path)
            ratio = row.headline and row.verdict_reference and row.headline.ratio(row.verdict_reference.name)
            if row.headline is None or row.headline.energy_j is None or not ratio or ratio.energy is None:
                continue
            joules.setdefault(str(row.machine.uuid), []).append(row.headline.energy_j.value)
            different.append(not ratio.energy.low <= 1 <= ratio.energy.high)
    spread = {uuid: statistics.stdev(runs) / statistics.mean(runs) for uuid, runs in joules.items() if len(runs) > 1}
    lines = [f"board {uuid}: cv {100 * cv:.2f} % over {len(joules[uuid])} sessions" for uuid, cv in spread.items()]
    lines += [f"board {uuid}: one session" for uuid in joules if uuid not in spread]
    lines.append(f"{sum(different)} of {len(different)} sessions call the model different from itself")
    kept = bool(spread) and max(spread.values()) <= SPREAD and sum(different) <= DIFFERENT * len(different)
    return lines, kept


def workload(session: Session, folder: Path, device: Device) -> Path:
    """Write the workload's file into `folder` and return its path. Also makes the model unless it is MiniLM."""
    point = {"batch_size": session.batch_size, "sequence_length": session.length}
    if session.model == REAL:
        data = {"path": str(assets("data", "sst2")), "train": "train", "test": "validation", "text": "sentence"}
        fields = {"task": "text-classification", "model": str(assets("models", "minilm-l6-sst2")), "dataset": data}
    else:
        maker = ["benchmarks.trained_lm"] if session.model == TRAINED else ["benchmarks.shapes", session.model]
        subprocess.run([sys.executable, "-m", *maker, str(folder), str(device)], cwd=ROOT, check=True)
        task = "causal-lm" if session.model == TRAINED else shapes.task_of(session.model)
        data = {"path": str(folder / "data"), "train": "train", "test": "test", "text": "text"}
        fields = {"task": task, "model": str(folder / "model"), "dataset": data}
    points = [{"batch_size": batch, "sequence_length": length} for batch, length in session.points]
    points += [{**point, "generate": session.generate}] if session.generate else []
    further = {"points": points} if points else {}
    file = folder / f"{session.name}.yaml"
    file.write_text(json.dumps({**fields, "max_length": session.length, "headline": point, **further}))
    return file


def measure(session: Session, out: Path, device: Device, more: list[str]) -> int:
    """Run the session; return its exit code."""
    print(f"{session.name}: {', '.join(session.recipes)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        file = workload(session, Path(scratch), device)
        command = [sys.executable, "-m", "compress", "run", *session.recipes, "--workload", str(file)]
        command += ["--device", str(device), "--out", str(out), "--no-keep"]
        command += ["--artifacts", str(Path(scratch) / "artifacts")]
        command += [word for change in (*session.changes, *more) for word in ("--set", change)]
        command += ["--limit", str(RANDOM_LIMIT)] * (session.model in shapes.SHAPES)
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def known(device: Device) -> bool:
    """Return whether `doctor` has examined this board or another one of its name.

    The board stays open until this process ends.
    """
    meter = find_meter(device.kind, gpus_of(machine.describe(device).details))
    return not isinstance(meter, nvml.NvmlCounter) or meter.examined is not None or meter.like_another


def examine(device: Device) -> None:
    """Run `doctor` on a board that it has not examined: without it, window edges are imprecise and grades are C."""
    if subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_results", "--known", "--device", str(device)], cwd=ROOT, check=False
    ).returncode:
        subprocess.run(
            [sys.executable, "-m", "compress", "doctor", "--device", str(device), "--quick"], cwd=ROOT, check=True
        )


def main() -> int:
    """Run the command line; return 1 if a session failed or a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="sessions to measure; none: the next one that is missing")
    parser.add_argument("--list", action="store_true", help="show all sessions, and which are there")
    parser.add_argument("--again", action="store_true", help="say how well the repeated sessions repeat")
    parser.add_argument("--known", action="store_true", help="1 when `doctor` has yet to examine the board")
    parser.add_argument("--device", type=Device.parse, default=Device("cuda"))
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    parser.add_argument("--set", action="append", default=[], help="passed on to every run, as measure.rounds=2")
    options = parser.parse_args()
    if options.list:
        for session in SESSIONS:
            state = "there  " if there(session, options.out) else "missing"
            print(f"{state}  {session.name}: {', '.join(session.recipes)}")
        return 0
    if options.again:
        lines, kept = repeated(options.out)
        print(*lines, f"bounds (cv 1 %, 2 of 10): {'kept' if kept else 'not kept, or too few sessions'}", sep="\n")
        return int(not kept)
    if options.known:
        return int(not known(options.device))
    named = {session.name: session for session in SESSIONS}
    unknown = sorted(set(options.names) - set(named))
    if unknown:
        parser.error(f"unknown session {', '.join(unknown)}; there are {', '.join(named)}")
    chosen = [named[name] for name in options.names] or missing(options.out)[:1]
    if chosen:
        examine(options.device)
    return max((measure(session, options.out, options.device, options.set) for session in chosen), default=0)


if __name__ == "__main__":
    sys.exit(main())
