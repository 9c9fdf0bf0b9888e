"""Language models as OpenVINO graphs that keep their keys and values as states.

    input_ids, attention_mask, position_ids, beam_idx --> model + states --> logits

Inputs and states have the names and meanings that OpenVINO GenAI expects. A graph without earlier tokens starts from
empty states. `beam_idx` reorders the texts of the states; OpenVINO fuses attention with its cache only beside it.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.console import bar
from compress.base.errors import innermost
from compress.base.quiet import silenced_stderr
from compress.model.packing.expanding import expand, grouped_layers
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.integers import insert
from compress.model.runtimes.nncf_graphs import NO_PRODUCT

INPUTS = ("input_ids", "attention_mask", "position_ids", "beam_idx")
ROOT = "__module.model."
"""Prefix of the names of operators that were traced inside the model."""
TRACED, PAST, TEXTS = 3, 5, 2  # new tokens, earlier tokens and texts of the traced example


class _WithCache(nn.Module):
    """The model with its cache as positional inputs and outputs, for the exporter to trace."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        beam_idx: torch.Tensor,
        *past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return the logits [batch, new, vocabulary], and keys and values of every layer with the new tokens."""
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=_cache([tensor[beam_idx] for tensor in past]),
            use_cache=True,
        )
        present = (t for layer in output.past_key_values.layers for t in (layer.keys, layer.values))
        return output.logits, *present


def _cache(past: list[torch.Tensor]) -> Any:
    """Return a transformers cache that holds these keys and values, in turn."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for keys, values in zip(past[::2], past[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values  # a layer that starts empty would be traced with an empty tensor
        cache.layers.append(layer)
    return cache


def exported(model: Any) -> Any:
    """Return a model in fp32 as an OpenVINO graph with states; grouped layers keep their integers.

    Raises InputError for a model that cannot be traced.
    """
    if not (layers := grouped_layers(model)):
        return _traced(model)
    dense = copy.deepcopy(model)
    expand(dense, layers)
    graph = _traced(dense)
    products: dict[str, list[Any]] = {}
    for kind in ("MatMul", "Gather"):
        for name, node in traced(graph, kind):
            products.setdefault(name, []).append(node)
    insert(products, layers)
    graph.validate_nodes_and_infer_types()
    return graph


def _traced(model: Any) -> Any:
    """Return a model without quantized layers as a graph with states."""
    import openvino

    try:
        with bar("exporting", None), torch.no_grad(), silenced_stderr():
            shapes = _cache_shapes(model)
            graph = openvino.convert_model(_WithCache(model).eval(), example_input=_example(shapes))
        names = [name for index in range(len(shapes) // 2) for name in (f"{index}.key", f"{index}.value")]
        past, present = ([f"{kind}.{name}" for name in names] for kind in ("past_key_values", "present"))
        _name(graph.inputs, (*INPUTS, *past))
        _name(graph.outputs, ("logits", *present))
        _free_shapes(graph, dict(zip(past, shapes, strict=True)))
        _make_stateful(graph, dict(zip(past, present, strict=True)))
        _begin_empty(graph, dict(zip(past, shapes, strict=True)))
    except InputError:
        raise
    except Exception as error:  # tracing raises whatever the model's code does
        reason = innermost(error)
        raise InputError(
            f"openvino: {type(model).__name__} cannot be exported with a cache ({reason}); use runtime eager"
        ) from error
    return graph


def _cache_shapes(model: Any) -> list[tuple[int, int]]:
    """Return heads and width of the keys and of the values of every layer, in turn."""
    output = model(input_ids=torch.zeros(1, TRACED, dtype=torch.long), use_cache=True)
    layers = getattr(output.past_key_values, "layers", [])
    found = [t for layer in layers for t in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    tensors = [t for t in found if isinstance(t, torch.Tensor) and t.dim() == 4]
    if not tensors or len(tensors) != len(found):
        raise InputError(
            f"openvino: {type(model).__name__} keeps something else than keys and values of every layer; use runtime "
            "eager"
        )
    return [(t.shape[1], t.shape[3]) for t in tensors]


def _example(shapes: list[tuple[int, int]]) -> tuple[torch.Tensor, ...]:
    """Return inputs of several texts with earlier tokens, so that no size is traced as 0 or 1."""
    positions = torch.arange(PAST, PAST + TRACED)[None].repeat(TEXTS, 1)
    past = [torch.zeros(TEXTS, heads, PAST, width) for heads, width in shapes]
    mask = torch.ones(TEXTS, PAST + TRACED, dtype=torch.long)
    return torch.ones(TEXTS, TRACED, dtype=torch.long), mask, positions, torch.arange(TEXTS), *past


def _name(ports: Any, names: tuple[str, ...]) -> None:
    if len(ports) != len(names):
        raise InputError(f"openvino: the exporter found {len(ports)} inputs or outputs; expected {len(names)}")
    for port, name in zip(ports, names, strict=True):
        port.get_tensor().set_names({name})


def _free_shapes(graph: Any, heads: Mapping[str, tuple[int, int]]) -> None:
    """Let all inputs have any number of texts and tokens."""
    import openvino

    for port in graph.inputs:
        name, node = port.get_any_name(), port.get_node()
        free: list[int] = [-1] if name == "beam_idx" else [-1, -1]
        if name in heads:
            free = [-1, heads[name][0], -1, heads[name][1]]
        if name == "beam_idx":
            node.set_element_type(openvino.Type.i32)
        node.set_partial_shape(openvino.PartialShape(free))
    graph.validate_nodes_and_infer_types()


def _make_stateful(graph: Any, states: Mapping[str, str]) -> None:
    """Replace these inputs and the outputs that become them by states."""
    from openvino._offline_transformations import apply_make_stateful_transformation

    apply_make_stateful_transformation(graph, dict(states))


def _begin_empty(graph: Any, heads: Mapping[str, tuple[int, int]]) -> None:
    """Let every state start with no tokens, for as many texts as the input has."""
    import numpy as np
    import openvino.opset13 as ops

    ids = next(port for port in graph.inputs if port.get_any_name() == "input_ids")
    texts = ops.gather(ops.shape_of(ids, output_type="i64"), ops.constant([0]), ops.constant(0))
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            name = next(name for name in heads if node.get_variable_id().startswith(name))
            count, width = (ops.constant([size], dtype=np.int64) for size in heads[name])
            shape = ops.concat([texts, count, ops.constant([0], dtype=np.int64), width], axis=0)
            node.set_arguments([ops.broadcast(ops.constant(0.0, dtype=np.float32), shape)])
    graph.validate_nodes_and_infer_types()


def names_of(model: GraphModel, layers: Collection[str], others: Collection[str]) -> list[str]:
    """Return products of the `others`. Raises InputError if the graph has none of the `layers`."""
    import openvino

    graph = openvino.Core().read_model(str(model.path))
    found = [(layer, node.get_friendly_name()) for layer, node in traced(graph, "MatMul")]
    if not any(layer in layers for layer, _ in found):
        raise InputError(NO_PRODUCT)
    return [name for layer, name in found if layer in others]


def traced(graph: Any, kind: str) -> Iterator[tuple[str, Any]]:
    """Yield every operator of a kind (MatMul: a product, Gather: a lookup) with the module that it was traced in."""
    for node in graph.get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == kind and name.startswith(ROOT):
            yield name.removeprefix(ROOT).split("/")[0], node
