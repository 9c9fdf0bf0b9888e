"""Peak memory and time of GPTQ int4 made layer by layer, on a Llama of 1.1B parameters with random weights.

    python -m benchmarks.little_memory [--layers 22] [--width 2048] [--examples 32]

The checkpoint is written in fp16, one shard per layer, without ever holding the model. A process of its own makes the
artifact while a thread reads its anonymous memory. Bound: the peak above the process's baseline is at most 35 % of the
fp16 size. The time is compared with the arithmetic alone: two forward passes of the calibration examples a block, the
sums of x x^T, the factorizations and the rounding, timed on one block in memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MOST_OF_FP16 = 0.35
MOST_OF_ARITHMETIC = 1.5
VOCABULARY = 32_000
LENGTH = 128


@dataclass(frozen=True)
class Measured:
    """Figures of one run."""

    fp16_bytes: int
    peak_bytes: int
    """Largest anonymous memory above the baseline."""
    seconds: float
    arithmetic_s: float

    @property
    def of_fp16(self) -> float:
        """Peak as a fraction of the fp16 size."""
        return self.peak_bytes / self.fp16_bytes

    def __str__(self) -> str:
        """Format for readers."""
        return (
            f"fp16 {self.fp16_bytes / 1e9:.2f} GB, peak {self.peak_bytes / 1e9:.2f} GB ({self.of_fp16:.1%}; bound "
            f"{MOST_OF_FP16:.0%}), {self.seconds:.0f} s, {self.seconds / self.arithmetic_s:.2f} times the arithmetic "
            f"of {self.arithmetic_s:.0f} s (bound {MOST_OF_ARITHMETIC})"
        )


def config_of(layers: int, width: int) -> Any:
    """Return the configuration of a Llama: heads of 64, 8 query heads per key/value head, feed-forward 2.75 x width."""
    import transformers

    heads = width // 64
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=max(1, heads // 8), max_position_embeddings=2048,
        tie_word_embeddings=False, dtype="float16",
    )  # fmt: skip


def write_model(folder: Path, layers: int, width: int) -> int:
    """Write a checkpoint with random fp16 weights, one shard per layer, and return the bytes of its tensors."""
    import torch
    from safetensors.torch import save_file

    from compress.data.empty import empty_model

    config = config_of(layers, width)
    folder.mkdir(parents=True)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    draw = torch.Generator().manual_seed(0)
    shards: dict[str, list[str]] = {}
    shapes = {name: p.shape for name, p in empty_model(config, "causal-lm").named_parameters()}
    for name in shapes:
        shards.setdefault(".".join(name.split(".")[:3]) if ".layers." in name else "outside", []).append(name)
    places, total = {}, 0
    for number, names in enumerate(shards.values()):
        tensors = {}
        for name in names:
            values = torch.empty(shapes[name], dtype=torch.float16)
            tensors[name] = values.fill_(1) if values.dim() == 1 else values.normal_(0, 0.02, generator=draw)
            total += values.numel() * 2
        file = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_tokenizer(folder)
    return total


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer with one token per byte: the weights are random, so any text will do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=2048).save_pretrained(folder)


def write_data(folder: Path) -> None:
    """Write text: the standard library's own source."""
    folder.mkdir()
    text = "".join(sorted(Path(os.__file__).parent.glob("*.py"))[i].read_text(encoding="utf-8") for i in range(12))
    (folder / "train.txt").write_text(text, encoding="utf-8")
    (folder / "test.txt").write_text(text[:20_000], encoding="utf-8")


def recipe_of(examples: int) -> Any:
    """Return GPTQ int4 in groups of 128, made layer by layer."""
    from compress.spec.recipe import Recipe

    step = {"method": "quantize", "bits": 4, "group_size": 128, "rounding": "gptq", "calibration_examples": examples}
    return Recipe.model_validate({"name": "little", "steps": [step], "memory": "layers", "runtime": "eager"})


def source_of(folder: Path) -> Any:
    """Return the workload of the written model and text."""
    from compress.data import locate
    from compress.data.workload import Workload

    data = {"path": str(folder / "data"), "train": "train.txt", "test": "test.txt", "text": "text"}
    fields = {"name": "little", "task": "causal-lm", "model": str(folder / "model"), "dataset": data}
    return locate.resolve(Workload.model_validate({**fields, "max_length": LENGTH}))


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@contextmanager
def watching(period_s: float = 0.01) -> Iterator[list[int]]:
    """Sample the anonymous memory in a thread while the block runs; the list ends as [baseline, peak]."""
    seen = [anonymous_bytes()] * 2
    done = threading.Event()

    def look() -> None:
        while not done.wait(period_s):
            seen[1] = max(seen[1], anonymous_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def make(folder: Path, examples: int) -> tuple[int, float]:
    """Make the artifact in this process; return its peak above the baseline, and the seconds."""
    import torch

    from compress.energy.meters import Absent
    from compress.harness import transform

    def build(place: Path) -> None:
        transform.build(
            recipe_of(examples), source_of(place), torch.device("cpu"), place / "artifact", place / "work",
            Absent("not metered"), "benchmark",
        )  # fmt: skip

    build(folder / "tiny")  # libraries are imported, and belong to the baseline
    with watching() as seen:
        start = time.monotonic()
        build(folder)
        seconds = time.monotonic() - start
    return seen[1] - seen[0], seconds


def arithmetic_s(layers: int, width: int, examples: int) -> float:
    """Return the seconds of the arithmetic alone, timed on one block in memory, times the number of blocks."""
    import torch
    from torch import nn

    from compress.methods.capture import Inputs
    from compress.methods.quantize import rounding
    from compress.model.packing.grouped import Grid

    torch.manual_seed(0)
    inner = width * 11 // 4
    narrow = max(1, width // 64 // 8) * 64
    tokens = examples * LENGTH
    shapes = {"q": (width, width), "k": (width, narrow), "v": (width, narrow), "o": (width, width),
              "gate": (width, inner), "up": (width, inner), "down": (inner, width)}  # fmt: skip
    total = 0.0
    grams: dict[str, torch.Tensor] = {}
    for name, (into, out) in shapes.items():
        linear = nn.Linear(into, out, bias=False)
        rows = torch.randn(min(tokens, 2048), into)
        start = time.monotonic()
        with torch.no_grad():
            linear(rows)
        total += 2 * (time.monotonic() - start) * tokens / len(rows)
        if name in ("k", "v", "up"):  # they share the inputs of q and of gate
            gram = grams[{"k": "q", "v": "q", "up": "gate"}[name]]
        else:
            inputs = Inputs.none_yet(into)
            start = time.monotonic()
            inputs.add(rows)
            total += (time.monotonic() - start) * tokens / len(rows)
            gram = grams[name] = inputs.gram
        start = time.monotonic()
        rounding.gptq(linear.weight.detach(), gram, Grid(4, 128))
        total += time.monotonic() - start
    return layers * total


def measured(layers: int = 22, width: int = 2048, examples: int = 32) -> Measured:
    """Write the model, make the artifact in a child process, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="little-memory-") as place:
        folder = Path(place)
        size = write_model(folder / "model", layers, width)
        write_data(folder / "data")
        write_model(folder / "tiny" / "model", 1, 128)
        write_data(folder / "tiny" / "data")
        command = [
            sys.executable,
            "-m",
            "benchmarks.little_memory",
            "--child",
            str(folder),
            "--examples",
            str(examples),
        ]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peak, seconds = json.loads(out.splitlines()[-1])
    return Measured(size, peak, seconds, arithmetic_s(layers, width, examples))


def main() -> None:
    """Print the figures; exit with 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(make(given.child, given.examples)))
        return
    figures = measured(given.layers, given.width, given.examples)
    print(figures)
    print(json.dumps(asdict(figures)))
    if figures.of_fp16 > MOST_OF_FP16:
        sys.exit(f"the peak is {figures.of_fp16:.1%} of the fp16 size; the bound is {MOST_OF_FP16:.0%}")


if __name__ == "__main__":
    main()
