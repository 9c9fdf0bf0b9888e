"""Small made models and data, and fakes: so that a checkout alone proves something."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import forked

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("COMPRESS_ASSETS", ROOT.parent / "shared"))

GOOD = ("good", "great", "lovely", "bright", "warm")
BAD = ("bad", "poor", "awful", "dull", "cold")
FILLER = ("the", "film", "plot", "actor", "scene", "was", "very", "and", "a", "quite", "it", "felt", "story", "end")


def assets(*parts: str) -> Path:
    """A path of the shared real models and data; skips the test where they are missing."""
    path = ASSETS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here; set COMPRESS_ASSETS to the folder that holds the real models and data")
    return path


def sentences(count: int, seed: int) -> dict[str, list[Any]]:
    """Made sentences whose label is which kind of word they hold."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        label = draw.randrange(2)
        words = draw.choices(FILLER, k=draw.randrange(4, 14))
        words.insert(draw.randrange(len(words)), draw.choice(GOOD if label else BAD))
        texts.append(" ".join(words))
        labels.append(label)
    return {"text": texts, "label": labels}


def tokenizer() -> Any:
    """A word-level tokenizer over the made sentences' words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *GOOD, *BAD]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64,
    )  # fmt: skip


def bert(seed: int = 0, layers: int = 2, width: int = 32) -> Any:
    """A small BERT classifier with random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=64, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def trained_bert(steps: int = 60) -> Any:
    """The same, trained until it answers nearly all made sentences."""
    import torch

    model, tokens = bert().train(), tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        data = sentences(32, seed=1000 + step)
        batch = tokens(data["text"], padding=True, return_tensors="pt")
        loss = model(**batch, labels=torch.tensor(data["label"])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_workload(folder: Path, model: Any = None, **changes: Any) -> Path:
    """A folder with a model, data and `my.yaml`; returns the path of the workload file."""
    import datasets
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    (model or trained_bert()).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir(exist_ok=True)
    for split, count, seed in (("train", 96, 1), ("test", 60, 2)):
        datasets.Dataset.from_dict(sentences(count, seed)).to_parquet(folder / "data" / f"{split}.parquet")
    plain: dict[str, Any] = {
        "task": "text-classification",
        "model": "model",
        "dataset": {"path": "data", "train": "train.parquet", "test": "test.parquet", "text": "text", "label": "label"},
        "max_length": 32,
        "headline": {"batch_size": 4, "sequence_length": 16},
        **changes,
    }
    path = folder / "my.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path


SHORT = {"window_s": 0.05, "preroll_s": 0, "rounds": 3, "warmup_s": 0.2}
QUICK = tuple(word for field, value in SHORT.items() for word in ("--set", f"measure.{field}={value}"))


def compress(*arguments: object, cwd: Path, started: bool = False) -> subprocess.CompletedProcess[str]:
    """`python -m compress ...` as a process of its own: forked from one that waits, or `started` afresh."""
    if not started:
        return forked.compress([*map(str, arguments)], cwd, environment())
    command = [sys.executable, "-m", "compress", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment())


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of this size at a new folder `place`; skips the test where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs privileges")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def environment() -> dict[str, str]:
    """The environment of such a process: the package from the checkout, no network."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def read_result(folder: Path, name: str, limit: int | None = None) -> Any:
    """The result that a run in `folder` left of a recipe on the made workload."""
    from compress.records import files as result_files

    found = map(result_files.read, (folder / "results" / "my").glob(f"{name}-*.json"))
    (result,) = (r for r in found if (r.name, r.limit) == (name, limit))
    return result
