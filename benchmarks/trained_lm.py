"""A language model of about 100 million parameters, trained locally: real perplexity without a download.

    python -m benchmarks.trained_lm FOLDER cuda [SECONDS]  ->  FOLDER/{model/, data/}

It trains for SECONDS on the Python source of the standard library and site-packages. Files are ordered by the hash of
their content, and every twentieth is held out.
"""

import hashlib
import math
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compress.data.offline import llama as offline_llama
from compress.data.offline import parts as offline_parts

HELD_OUT = 20
SECONDS = 150.0
LONGEST = 200_000  # characters of a file; longer files are mostly data


@dataclass(frozen=True, kw_only=True)
class Sizes(offline_llama.Settings):
    """Sizes of the model, larger than the offline workload's, and of its text. Time, not steps, limits training."""

    vocabulary: int = 16384
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    key_value_heads: int = 4
    intermediate: int = 2048
    length: int = 2048
    train_length: int = 512
    batch: int = 32
    learning_rate: float = 6e-4
    most_characters: int = 60_000_000  # about 20 million tokens, each seen two or three times
    tokenizer_characters: int = 20_000_000
    test_characters: int = 300_000


def files() -> Iterator[str]:
    """Yield the text of every Python file of this interpreter once, ordered by the hash of its content."""
    texts: dict[str, str] = {}
    for key in ("stdlib", "purelib"):
        for path in Path(sysconfig.get_paths()[key]).rglob("*.py"):
            text = path.read_text(encoding="utf-8", errors="ignore") if path.is_file() else ""
            if 200 <= len(text) <= LONGEST:
                texts[hashlib.sha256(text.encode()).hexdigest()] = text
    yield from (texts[digest] for digest in sorted(texts))


def split(sizes: Sizes) -> tuple[list[str], list[str]]:
    """Return the (training, held-out) texts, up to the characters in `sizes`."""
    train: list[str] = []
    test: list[str] = []
    read = held = 0
    for number, text in enumerate(files()):
        if number % HELD_OUT == 0:
            if held < sizes.test_characters:
                test.append(text)
                held += len(text)
        elif read < sizes.most_characters:
            train.append(text)
            read += len(text)
    return train, test


def tokens_of(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Return the [tokens] of all texts, concatenated; each text opens with <s>."""
    stream: list[int] = []
    for start in range(0, len(texts), 1000):
        for row in tokenizer(texts[start : start + 1000], verbose=False)["input_ids"]:
            stream.extend(row)
    return torch.tensor(stream)


def train(model: Any, tokens: torch.Tensor, sizes: Sizes, seconds: float) -> float:
    """Train the model in place for `seconds` and return the last loss.

    The learning rate decays linearly to 0 at the end of that time, after a warm-up over its first 3 %.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    start, loss = time.monotonic(), torch.tensor(math.nan)
    model.train()
    while (passed := (time.monotonic() - start) / seconds) < 1:
        rate = sizes.learning_rate * min(1.0, passed / 0.03 + 0.01) * (1 - passed)
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(tokens) - sizes.train_length, (sizes.batch, 1), generator=generator)
        ids = tokens[starts + torch.arange(sizes.train_length)].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    return float(loss.detach())


def make(folder: Path, device: torch.device, seconds: float = SECONDS, sizes: Sizes | None = None) -> float:
    """Write the trained model and its text; return the last loss."""
    sizes = sizes or Sizes()
    train_texts, test_texts = split(sizes)
    tokenizer = offline_llama.make_tokenizer(list(_until(train_texts, sizes.tokenizer_characters)), sizes)
    model = offline_llama.make_model(tokenizer, sizes).to(device)
    loss = train(model, tokens_of(tokenizer, train_texts), sizes, seconds)
    (folder / "data").mkdir()
    tables = dict(zip(("train", "test"), map(offline_llama.table, (train_texts[:2000], test_texts)), strict=True))
    offline_parts.write(folder, model, tokenizer, **tables)
    return loss


def _until(texts: list[str], characters: int) -> Iterator[str]:
    read = 0
    for text in texts:
        if read >= characters:
            return
        read += len(text)
        yield text


if __name__ == "__main__":
    last = make(Path(sys.argv[1]), torch.device(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else SECONDS)
    print(f"trained: last loss {last:.3f}, perplexity {math.exp(last):.1f}")
