"""GGUF, the file that llama.cpp and what is built on it serve: one file with weights, settings and tokenizer.

quantized layers    Q8_0 or Q4_0 blocks with the artifact's integers and scales
matrices            in their own type: F32, F16 or BF16; beside quantized layers, F32 that F16 holds exactly is F16
norms and biases    F32, which llama.cpp requires
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError
from compress.base.version import __version__
from compress.model.gguf.architectures import Architecture, architecture_of, heads_of, interleave, metadata
from compress.model.gguf.blocks import TYPES, blocks
from compress.model.gguf.tokenizer import Vocabulary, vocabulary
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import Integers, others
from compress.model.packing.tied import TiedHead

FILE = "model.gguf"


def check(model: Any, processor: Any) -> None:
    """Raise InputError for an architecture or a tokenizer that GGUF lacks, before anything is converted."""
    architecture_of(model.config)
    vocabulary(processor, model.config.vocab_size)


def write(model: Any, processor: Any, layers: Mapping[str, GroupedLinear], folder: Path) -> None:
    """Write the model as one GGUF file. Raises InputError for an architecture or a tokenizer that GGUF lacks."""
    from gguf import GGMLQuantizationType, GGUFWriter

    architecture = architecture_of(model.config)
    tokens = vocabulary(processor, model.config.vocab_size)
    writer = GGUFWriter(folder / FILE, architecture.name)
    writer.add_file_type(_file_type(layers, next(model.parameters()).dtype))
    _write_settings(writer, model.config, architecture)
    _write_tokenizer(writer, processor, tokens)
    for place, layer in layers.items():
        name = layer.embedding if isinstance(layer, TiedHead) else place  # llama.cpp takes an absent head from there
        integers = Integers.of(layer)
        stored = _placed(architecture, model.config, f"{name}.weight", blocks(integers))
        kind = GGMLQuantizationType[TYPES[integers.bits]]
        writer.add_tensor(architecture.tensor(f"{name}.weight"), stored.numpy(), raw_dtype=kind)
        if integers.bias is not None:
            _write_tensor(writer, architecture, model.config, f"{name}.bias", integers.bias)
    for name, tensor in others(model, layers):
        kept = _halved(tensor) if layers and tensor.dim() > 1 else tensor
        _write_tensor(writer, architecture, model.config, name, kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """Return a weight in fp16 if that changes no number, as for a checkpoint that was stored so; else the weight."""
    half = tensor.half()
    return half if tensor.dtype == torch.float32 and torch.equal(half.float(), tensor) else tensor


def _file_type(layers: Mapping[str, GroupedLinear], dtype: torch.dtype) -> int:
    """Return GGUF's number for the type of most weights."""
    from gguf import LlamaFileType

    if layers:
        bits = min(layer.bits for layer in layers.values())
        return int(LlamaFileType[f"MOSTLY_{TYPES[bits]}"])
    names = {torch.float16: "MOSTLY_F16", torch.bfloat16: "MOSTLY_BF16"}
    return int(LlamaFileType[names.get(dtype, "ALL_F32")])


def _placed(architecture: Architecture, config: Any, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor with its rows in llama.cpp's order, on the CPU."""
    heads = heads_of(config, name) if architecture.interleaved else None
    return (tensor if heads is None else interleave(tensor, heads)).cpu().contiguous()


def _write_tensor(writer: Any, architecture: Architecture, config: Any, name: str, tensor: torch.Tensor) -> None:
    """Write a tensor that is not quantized."""
    from gguf import GGMLQuantizationType

    placed = _placed(architecture, config, name, tensor)
    if name.endswith("norm.weight"):
        placed = placed.float() + architecture.norm_offset
    if placed.dim() < 2:
        placed = placed.float()
    if placed.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"gguf: {name} is stored as {placed.dtype}; expected float32, float16 or bfloat16")
    target = architecture.tensor(name)
    if placed.dtype == torch.bfloat16:
        raw = placed.view(torch.int16).numpy().view("uint8")
        writer.add_tensor(target, raw, raw_dtype=GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(target, placed.numpy())


def _write_settings(writer: Any, config: Any, architecture: Architecture) -> None:
    writer.add_string("general.quantized_by", f"compress {__version__}")
    writer.add_uint32("general.quantization_version", 2)
    for key, value in metadata(config, architecture).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{architecture.name}.{key}", value)


def _write_tokenizer(writer: Any, processor: Any, tokens: Vocabulary) -> None:
    writer.add_tokenizer_model(tokens.model)
    writer.add_tokenizer_pre(tokens.pre)
    writer.add_token_list(tokens.tokens)
    writer.add_token_types(tokens.types)
    if tokens.merges is not None:
        writer.add_token_merges(tokens.merges)
    if tokens.scores is not None:
        writer.add_token_scores(tokens.scores)
    for name in ("bos", "eos", "unk", "pad"):
        if (index := getattr(processor, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(tokens.adds_bos)
    writer.add_add_eos_token(tokens.adds_eos)
    if tokens.space_prefix is not None:
        writer.add_add_space_prefix(tokens.space_prefix)
    template = getattr(processor, "chat_template", None)
    if isinstance(template, str):
        writer.add_chat_template(template)
