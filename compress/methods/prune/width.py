"""Width: neurons of the feed-forward parts, or channels of the residual stream, cut along torch-pruning's graph.

feed_forward   parameters are linear in the width, so the fraction gives the width directly
hidden         every matrix on the residual stream shrinks along one dimension (or two); the width whose counted
               parameters are closest to the fraction is used
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.methods.capture import Inputs
from compress.methods.layerwise import change_layers
from compress.methods.prune import gate
from compress.methods.prune.graph import outputs_group, parts_of, trace
from compress.methods.prune.importance import Part, Structures, allocated, most_important
from compress.methods.prune.scoring import scores
from compress.methods.prune.shapes import parameter_shapes, shape_changes
from compress.methods.prune.targets import in_parameters
from compress.model.architectures import Layer, architecture_of, separate_layers, stream_of
from compress.model.bundle import Bundle, matches
from compress.model.layers import matrix
from compress.spec.steps import Prune

STEP = 8  # widths that are a multiple of 8 keep vector kernels full


def feed_forward(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the feed-forward neurons of every chosen layer removed.

    All layers are narrowed alike, unless allocation is global.
    """
    model = bundle.model
    all_layers = separate_layers(model, "prune feed_forward")
    chosen = _chosen(all_layers, config)
    widths = [_width(layer) for layer in chosen]
    config = in_parameters(bundle, config, feed_forward)
    targets = [round_width(width * (1 - config.fraction), width) for width in widths]
    is_gated = chosen[0].architecture.gated
    graph = None if is_gated else trace(model) if bundle.stream is None else bundle.stream.traced(model, trace)
    sets = [
        gate.structures(layer, width) if is_gated else _structures(graph, layer, width)
        for layer, width in zip(chosen, widths, strict=True)
    ]
    outputs = [layer.child(layer.architecture.ffn_out) for layer in chosen]
    scored = scores(bundle, config, sets, outputs)
    if config.allocation == "global":
        targets = allocated(scored, sum(targets), _step(min(widths)), _step(min(widths)))
    before = parameter_shapes(model)
    cuts = {n: cut for n, cut in zip(outputs, zip(chosen, widths, targets, scored, strict=True), strict=True)}

    def change(name: str, _inputs: Inputs | None) -> None:
        layer, width, target, score = cuts[name]
        if target == width:
            return
        kept = most_important(score, target)
        if is_gated:
            gate.keep(layer, width, kept)
        else:
            _remove(graph, layer.get(layer.architecture.ffn_in[0]), width, kept.tolist())

    change_layers(bundle, "prune feed_forward", None, outputs, change, "prune")
    after = {_width(layer) for layer in all_layers}
    if len(after) == 1:
        width = after.pop()
        for name in {layer.architecture.ffn_width for layer in all_layers}:
            if name is not None:
                setattr(model.config, name, width)
    note = (
        f"prune: feed-forward width {span(widths)} -> {span(targets)} in {len(chosen)} of {len(all_layers)} layers "
        f"({1 - sum(targets) / sum(widths):.1%} of their parameters)"
    )
    return bundle.changed(model, shape_changes(before, model), note)


def _structures(graph: Any, layer: Layer, width: int) -> Structures:
    """Return the parts of each of `width` neurons, by the dependency graph."""
    root = layer.get(layer.architecture.ffn_in[0])
    return Structures(parts_of(graph, outputs_group(graph, root, range(width)), width), width)


def check_fraction(bundle: Bundle, config: Prune) -> None:
    """Raise InputError for a fraction that leaves no feed-forward neuron in a chosen layer."""
    for layer in _chosen(separate_layers(bundle.model, "prune feed_forward"), config):
        width = _width(layer)
        step = _step(width)
        if width * (1 - config.fraction) < step / 2:
            raise InputError(
                f"prune feed_forward: fraction {config.fraction} of width {width} in {layer.name} leaves none; the "
                f"narrowest is {step}: use at most {1 - step / width:.3f}"
            )


def _chosen(all_layers: Sequence[Layer], config: Prune) -> list[Layer]:
    """Return the layers whose feed-forward part the step changes. Raises InputError if there are none."""
    chosen = [layer for layer in all_layers if matches(layer.child(layer.architecture.ffn_in[0]), config)]
    if not chosen:
        first = all_layers[0].child(all_layers[0].architecture.ffn_in[0])
        raise InputError(f"prune feed_forward: no layer matches include and exclude; the first is {first}")
    return chosen


def hidden(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with the residual stream narrowed until `fraction` of the whole model's parameters is removed.

    Heads and feed-forward width stay. `include` cannot apply: the residual stream runs through every layer.
    """
    if config.include != ("*",):
        raise InputError(
            f"prune hidden: include {list(config.include)}: all layers share the hidden width; remove include"
        )
    model = bundle.model
    names = architecture_of(model, "prune hidden")
    layers = separate_layers(model, "prune hidden")
    graph = trace(model)
    root = stream_of(model, names)
    width = graph.get_out_channels(root)
    parts = parts_of(graph, outputs_group(graph, root, range(width)), width)
    # transformers requires that heads divide a config's hidden size, even if head_dim is set
    step = math.lcm(_step(width), model.config.num_attention_heads if names.hidden else 1)
    reached = fractions_gone(model, parts, width, step)
    config = in_parameters(bundle, config, hidden, list(reversed(reached.values())))
    target = nearest_width(reached, config.fraction)
    (score,) = scores(bundle, config, [Structures(parts, width)])
    before, total = parameter_shapes(model), _count(model)
    _remove(graph, root, width, most_important(score, target).tolist())
    model.tie_weights()  # the cut made the two sides of a tied embedding separate
    if names.hidden:
        model.config.head_dim = layers[0].get(names.attention).head_dim
        setattr(model.config, names.hidden, target)
    note = f"prune: hidden width {width} -> {target} ({1 - _count(model) / total:.1%} of all parameters)"
    return bundle.changed(model, shape_changes(before, model), note)


def round_width(wanted: float, width: int) -> int:
    """Return the width nearest to `wanted`, at least 1 and below the present one; a multiple of 8 from width 64 up."""
    step = _step(width)
    return max(step, min(round(wanted / step) * step, width - 1))


def _step(width: int) -> int:
    return STEP if width >= 8 * STEP else 1


def fractions_gone(model: Any, parts: tuple[Part, ...], width: int, step: int = 1) -> dict[int, float]:
    """Return, for every narrower multiple of `step`, the fraction of the model's parameters removed at that width."""
    times: dict[int, int] = {}
    for part in parts:
        times[id(part.parameter)] = times.get(id(part.parameter), 0) + 1
    # a tied weight is one parameter, cut along one dimension under whichever name the graph found it
    sizes = [(p.numel(), min(times.get(id(p), 0), p.dim())) for p in model.parameters()]
    total = sum(size for size, _ in sizes)

    def removed_at(candidate: int) -> float:
        return 1 - sum(size * (candidate / width) ** power for size, power in sizes) / total

    reached = {candidate: removed_at(candidate) for candidate in range(step, width, step)}
    if not reached:
        raise InputError(f"prune hidden: a hidden width of {width} cannot be narrowed in steps of {step}")
    return reached


def nearest_width(reached: Mapping[int, float], fraction: float) -> int:
    """Return the width whose removed fraction is closest to `fraction`. Raises InputError if none is close."""
    best = min(reached, key=lambda width: abs(reached[width] - fraction))
    if abs(reached[best] - fraction) > max(0.05, 1.5 / len(reached)):
        raise InputError(
            f"prune hidden: fraction {fraction} of all parameters cannot be reached by the hidden width alone; "
            f"the nearest is {reached[best]:.2f} at width {best}"
        )
    return best


def span(values: Sequence[int]) -> str:
    """Return the common value, or the range of values."""
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _remove(graph: Any, root: nn.Module, width: int, kept: list[int]) -> None:
    """Cut all channels but the kept ones out of everything that depends on `root`."""
    removed = sorted(set(range(width)) - set(kept))
    outputs_group(graph, root, removed).prune()


def _width(layer: Layer) -> int:
    """Return a layer's feed-forward width. Raises InputError if its matrices are no longer plain."""
    for path in (*layer.architecture.ffn_in, layer.architecture.ffn_out):
        module = layer.get(path)
        if not isinstance(module, nn.Linear | Conv1D):
            raise InputError(
                f"{layer.child(path)}: a {type(module).__name__}; expected a plain linear layer: prune width first"
            )
    return int(matrix(layer.get(layer.architecture.ffn_out)).shape[1])


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
