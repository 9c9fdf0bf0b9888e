"""Models of common shapes with random weights, for energy and latency only: their answers are meaningless.

    python -m benchmarks.shapes llama-1b FOLDER cuda  ->  FOLDER/{model/, data/}

Run it in its own process: one that keeps the GPU open would count as a foreign process during the measurement.
"""

import argparse
import inspect
import statistics
import sys
import tarfile
from pathlib import Path
from typing import Any

import torch

from tests.helpers import assets

BERT = {"vocab_size": 30522, "max_position_embeddings": 512, "num_labels": 2}
LLAMA = {"vocab_size": 128256, "max_position_embeddings": 4096, "rope_theta": 500000.0, "bos_token_id": 101}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base": ("Bert", BERT),  # the defaults of BertConfig
    "bert-large": ("Bert", {**BERT, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                            "intermediate_size": 4096}),
    "llama-1b": ("Llama", {**LLAMA, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
                           "num_key_value_heads": 8, "intermediate_size": 8192, "tie_word_embeddings": True}),
    "llama-8b": ("Llama", {**LLAMA, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
                           "num_key_value_heads": 8, "intermediate_size": 14336}),
    "llama-tiny": ("Llama", {**LLAMA, "vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 2,
                             "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}),
}  # fmt: skip
"""Name -> architecture and configuration. The Llamas are Llama 3.2 1B, Llama 3.1 8B, and a tiny one for trials."""
TASKS = {"Bert": "text-classification", "Llama": "causal-lm"}


def task_of(name: str) -> str:
    """Return the task of a model of this shape."""
    return TASKS[SHAPES[name][0]]


def make(name: str, folder: Path, device: torch.device) -> None:
    """Write the model in bf16, MiniLM's tokenizer (any would do), and text."""
    import transformers

    architecture, settings = SHAPES[name]
    config = getattr(transformers, f"{architecture}Config")(**settings)
    kind = {"Bert": "BertForSequenceClassification", "Llama": "LlamaForCausalLM"}[architecture]
    torch.manual_seed(0)
    with device:
        model = getattr(transformers, kind)(config).to(torch.bfloat16)
    model.save_pretrained(folder / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(assets("models", "minilm-l6-sst2"))
    tokenizer.save_pretrained(folder / "model")
    _text(folder, architecture)


def _text(folder: Path, architecture: str) -> None:
    """Write source code of the standard library as texts that each fill a block; labels are arbitrary."""
    from datasets import Dataset

    source = "\n".join(inspect.getsource(module) for module in (argparse, inspect, statistics, tarfile))
    pieces = [source[start : start + 4000] for start in range(0, len(source), 4000)]
    (folder / "data").mkdir()
    for split, texts in (("train", pieces[1::2]), ("test", pieces[::2])):
        columns: dict[str, Any] = {"text": texts}
        if architecture == "Bert":
            columns["label"] = [index % 2 for index in range(len(texts))]
        Dataset.from_dict(columns).to_parquet(str(folder / "data" / f"{split}.parquet"))


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), torch.device(sys.argv[3]))
