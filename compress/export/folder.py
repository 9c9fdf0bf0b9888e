"""Folders in the layout of transformers: weights in safetensors, configuration with its quantization, tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MOST_SHARD = "5GB"


def write(
    model: Any, processor: Any, tensors: dict[str, torch.Tensor], quantization: Mapping[str, Any], folder: Path
) -> None:
    """Write a folder that `from_pretrained` reads."""
    from huggingface_hub import save_torch_state_dict

    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_torch_state_dict(contiguous, folder, max_shard_size=MOST_SHARD)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["dtype"] = str(next(model.parameters()).dtype).removeprefix("torch.")
    config["quantization_config"] = dict(quantization)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_rest(model, processor, folder)


def write_rest(model: Any, processor: Any, folder: Path) -> None:
    """Write generation settings and tokenizer."""
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
