"""Graphs for onnxruntime-genai, with our integers, each compared with its model before further use.

    model --in fp32--> its builder --> graph --> logits equal the model's within 1e-3 of their spread
                                         |
                                         +-- MatMul of a quantized layer --> MatMulNBits --> the same comparison
                                                                                  |
                                                                                  +-- inputs in 8 bits --> predictions

The builder finds the output layer by its shape: where the feed-forward is as wide as the vocabulary, it takes a wrong
layer without a message. The first comparison refuses that graph.
"""

import contextlib
import copy
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError, innermost
from compress.base.files import passing, scratch
from compress.base.quiet import silenced_stderr
from compress.data.tasks import task_of
from compress.model.bundle import Bundle
from compress.model.packing.expanding import expand
from compress.model.packing.integers import Integers
from compress.model.packing.integers import refuse as layers_of
from compress.model.packing.products import drop_unused, product_with, put
from compress.model.runtimes.check import agreement_with_cache, compare_predictions, origin, refuse
from compress.model.runtimes.genai import FILE, GenaiModel
from compress.model.skeleton import unlike_plain

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""`model_type` of the architectures whose graphs were tried."""
HEADS = 16
"""Its attention needs heads whose width is a multiple of this."""
ROUNDED, EXACT = 4, 1
"""Accuracy levels of MatMulNBits: inputs rounded to 8 bits, and in fp32."""
JOINED = ("q_proj", "k_proj", "v_proj")
"""Layers whose products the builder joins to one."""


def problems(config: Any) -> list[str]:
    """Return why onnxruntime-genai cannot run a model with this configuration."""
    kind = getattr(config, "model_type", "")
    if kind not in ARCHITECTURES:
        return [f"onnxruntime-genai: architecture {kind or '(unnamed)'}; expected one of {', '.join(ARCHITECTURES)}"]
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    if width % HEADS:
        return [
            f"onnxruntime-genai: attention heads of width {width}; its attention needs a multiple of {HEADS}; use "
            "runtime openvino"
        ]
    return []


def checked_in_genai(bundle: Bundle) -> GenaiModel:
    """Return a language model under onnxruntime-genai, verified to match the model.

    Raises InputError for a task without generation, layers and architectures that its graphs lack, and graphs that
    answer otherwise than the model.
    """
    model, place = bundle.model, f"onnxruntime-genai: {type(bundle.model).__name__}{origin(bundle)}"
    if not task_of(bundle.task).continues:
        raise InputError(
            f"onnxruntime-genai: runs causal language models; got a model of {bundle.task}; use runtime eager"
        )
    if found := problems(model.config):
        raise InputError(found)
    layers = layers_of(model, bundle.layers, "onnx")
    dense = copy.deepcopy(model)
    expand(dense, layers)
    if (name := unlike_plain(dense, bundle.task)) is not None:
        raise InputError(f"{place}: {name} is not what its builder expects; use runtime openvino")
    work = scratch("genai")
    _build(dense, bundle.processor, work, place)
    same = replace(bundle, model=dense)
    refuse(agreement_with_cache(same, GenaiModel(work / FILE, model.config), place), torch.float32, place)
    if layers:
        integers = {name: Integers.of(layer) for name, layer in layers.items()}
        with passing("genai") as original:
            _move(work, original)
            for level in (EXACT, ROUNDED):
                _insert(original / FILE, integers, work / FILE, level)
                if level == EXACT:
                    exact = GenaiModel(work / FILE, model.config)
                    refuse(agreement_with_cache(same, exact, place), torch.float32, place)
                    del exact
        made = GenaiModel(work / FILE, model.config, temporary=True)
        compare_predictions(bundle, made, place, len(layers))
        return made
    return GenaiModel(work / FILE, model.config, temporary=True)


def _move(work: Path, original: Path) -> None:
    """Move the graph and its weights, and copy nothing else."""
    for file in work.glob(f"{FILE}*"):
        file.rename(original / file.name)


def _build(model: Any, processor: Any, out: Path, place: str) -> None:
    """Write the graph of a model in fp32, by onnxruntime-genai's builder."""
    from onnxruntime_genai.models import builder

    with passing("genai") as folder, contextlib.redirect_stdout(io.StringIO()), silenced_stderr():
        source = folder / "model"
        model.save_pretrained(source)
        processor.save_pretrained(source)
        arguments = ("", str(source), str(out), "fp32", "cpu", str(folder / "cache"))
        try:
            options = builder.parse_extra_options(*arguments, [])
            builder.create_model(*arguments, **options)
        except Exception as error:  # the builder raises anything
            raise InputError(f"{place}: its builder fails ({innermost(error)}); use runtime openvino") from error


def _insert(source: Path, layers: Mapping[str, Integers], target: Path, level: int) -> None:
    """Write the graph with the products of these layers on their integers.

    Raises InputError for a layer without a product of its own.
    """
    import onnx

    graph_model = onnx.load(str(source))
    graph, missing = graph_model.graph, set(layers)
    for index, node in enumerate(list(graph.node)):
        names = [name for name in _layers_of(node.name) if name in layers] if node.op_type == "MatMul" else []
        if not names:
            continue
        if len(names) != len(_layers_of(node.name)) or len({layers[name].bits for name in names}) > 1:
            raise InputError(
                f"onnxruntime-genai: {names[0]} shares its product with its neighbours of query, key and value; "
                "quantize all three alike, or none"
            )
        missing -= set(names)
        made, tensors = product_with(node, _joined([layers[name] for name in names]), accuracy_level=level)
        put(graph, index, node, made, tensors)
    if missing:
        raise InputError(f"onnxruntime-genai: its graph has no product of {min(missing)}; use runtime openvino")
    drop_unused(graph)
    for file in target.parent.glob(f"{FILE}*"):
        file.unlink()
    onnx.save(graph_model, str(target), save_as_external_data=True, location=f"{FILE}.data")


def _layers_of(node: str) -> list[str]:
    """Return the layers of a product by its name, `/model/layers.0/attn/qkv_proj/MatMul`; empty for another name."""
    parts = node.strip("/").split("/")
    if parts[-1] != "MatMul":
        return []
    path = ".".join(parts[:-1]).replace(".attn.", ".self_attn.")
    if path.endswith(".qkv_proj"):
        return [path.removesuffix("qkv_proj") + name for name in JOINED]
    return [path]


def _joined(parts: list[Integers]) -> Integers:
    """Return layers with the same inputs as one, their outputs one after the other. A bias stays in its own node."""
    ints, scale, zero = (torch.cat([getattr(part, name) for part in parts]) for name in ("ints", "scale", "zero"))
    return replace(parts[0], ints=ints, scale=scale, zero=zero, bias=None)
