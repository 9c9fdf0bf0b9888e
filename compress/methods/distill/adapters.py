"""Weights trained in another form than they are stored: torch's parametrizations, removed at the end.

lora        W + 2 B A, with W frozen; merged afterwards          Hu et al. 2021, arXiv:2106.09685
quantized   the values that the coming quantize step makes of W, and of inputs if it quantizes them too;
            gradients pass straight through the rounding         Bengio et al. 2013, arXiv:1308.3432
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.methods.quantize import row_of
from compress.model.bundle import Bundle
from compress.model.layers import matrix, weight_layers
from compress.model.packing.grouped import Grid
from compress.spec.formats import Row
from compress.spec.steps import Layers, Quantize

SCALE = 2.0  # alpha / rank; fixed, because the learning rate scales updates too
Fake = Callable[[torch.Tensor], torch.Tensor]
"""A tensor -> the same tensor quantized and dequantized."""


class Update(nn.Module):
    """A weight plus a trained product of two thin matrices, zero at first and wherever the weight is pruned."""

    kept: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        rows, columns = weight.shape
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.register_buffer("kept", weight != 0 if bool((weight == 0).any()) else None, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight plus its update, as it will be merged."""
        update = SCALE * (self.up @ self.down)
        return weight + (update if self.kept is None else update * self.kept)


class Rounded(nn.Module):
    """Rounds a weight on its way into the layer; its gradient passes unchanged."""

    def __init__(self, fake: Fake, transposed: bool):
        super().__init__()
        self._fake, self._transposed = fake, transposed

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the values that the format can represent."""
        return straight_through(weight.T, self._fake).T if self._transposed else straight_through(weight, self._fake)


def straight_through(values: torch.Tensor, fake: Fake) -> torch.Tensor:
    """Return fake(values), with the gradient of values."""
    with torch.no_grad():
        rounded = fake(values.float()).to(values.dtype)
    return values + (rounded - values).detach()


@contextlib.contextmanager
def lora(model: nn.Module, rank: int, seed: int) -> Iterator[None]:
    """Add an update to each of the model's linear layers, and merge it at the end."""
    generator = torch.Generator().manual_seed(seed)
    names = [name for name, _ in weight_layers(model, Layers())]
    for name in names:
        module: Any = model.get_submodule(name)
        parametrize.register_parametrization(module, "weight", Update(module.weight.detach(), rank, generator))
    try:
        yield
    finally:
        for name in names:
            parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=True)


def only_updates(model: nn.Module) -> None:
    """Freeze all parameters except the updates."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".parametrizations." in name and not name.endswith(".original"))


def stored_weight(module: Any) -> torch.Tensor:
    """Return the parameter behind a layer's weight, in whatever form it is trained."""
    weight = module.parametrizations.weight.original if parametrize.is_parametrized(module, "weight") else module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


@contextlib.contextmanager
def quantized(model: nn.Module, bundle: Bundle) -> Iterator[str]:
    """Round as the coming quantize step will, yield a note about it, and restore the model at the end.

    Raises InputError if no such step follows, or training for its format is not supported.
    """
    chosen, form = trained_for(model, bundle)
    hooks = []
    for name, layer_fakes in chosen.items():
        module: Any = model.get_submodule(name)
        parametrize.register_parametrization(module, "weight", Rounded(layer_fakes.weight, isinstance(module, Conv1D)))
        if layer_fakes.inputs is not None:
            hooks.append(module.register_forward_pre_hook(_rounding(layer_fakes.inputs)))
    try:
        yield f"trained as {len(chosen)} layers in {form}"
    finally:
        for hook in hooks:
            hook.remove()
        for name in chosen:
            parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=False)


def trained_for(model: nn.Module, bundle: Bundle) -> "tuple[dict[str, Fakes], str]":
    """Return the coming quantize step's functions by layer, and its format's name.

    Raises InputError if no such step follows, or training for its format is not supported.
    """
    step = next((later for later in bundle.coming if isinstance(later, Quantize)), None)
    if step is None:
        raise InputError(
            "distill quantization_aware: no quantize step comes after it; add one, or remove quantization_aware"
        )
    chosen: dict[str, Fakes] = {}
    forms: list[str] = []
    runtime = bundle.runtime
    for part in step.parts:
        row = row_of(model, part, bundle.device, runtime, bundle.task)
        runtime = row.runtime  # the quantize step gives it to the parts that follow
        part_fakes, form = fakes(part, row)
        chosen |= {name: part_fakes for name, _ in weight_layers(model, part)}
        forms.append(form)
    return chosen, forms[0]


def check_rank(model: nn.Module, rank: int) -> None:
    """Raise InputError for a rank of updates that no layer's shape allows."""
    widest = max(min(matrix(module).shape) for _, module in weight_layers(model, Layers()))
    if rank > widest:
        raise InputError(f"distill lora_rank {rank}: expected at most {widest}, the largest rank of a linear layer")


@dataclass(frozen=True)
class Fakes:
    """A format's effect on weights [out, in], and on inputs if it quantizes them too."""

    weight: Fake
    inputs: Fake | None = None


def fakes(step: Quantize, row: Row) -> tuple[Fakes, str]:
    """Return a quantize step's effect on weights and inputs under its combination, and the format's name."""
    if step.rounding != "nearest" or step.scaling != "none":
        raise InputError(
            "distill quantization_aware supports rounding nearest and scaling none only; remove the other settings"
        )
    if row.backend == "torch":
        grid = Grid.of({**step.model_dump(), "format": row.format})
        return Fakes(lambda weight: _on_grid(weight, grid)), row.format
    if (row.format, row.backend) == ("int8", "onnxruntime"):
        dims = 1 if step.per_channel else None
        return Fakes(lambda weight: symmetric(weight, dims, 127, 127), whole), f"{row.format} of {row.backend}"
    if (row.format, row.backend) == ("int8", "torchao"):
        per_row: Fake = lambda values: symmetric(values, -1, 127.5, 127)  # noqa: E731
        return Fakes(per_row, per_row), f"{row.format} of {row.backend}"
    raise InputError(
        f"distill quantization_aware: {row.format} through {row.backend} is not supported; expected a format of "
        "backend torch, or int8 of onnxruntime or torchao"
    )


def symmetric(values: torch.Tensor, dim: int | None, steps: float, most: int) -> torch.Tensor:
    """Round to a scale times integers from -128 to `most`; the scale is the largest |value| along `dim` over `steps`.

    The scale covers the whole tensor if `dim` is None.
    """
    magnitude = values.abs().amax() if dim is None else values.abs().amax(dim, keepdim=True)
    scale = (magnitude / steps).clamp(min=1e-12)
    return (values * (1 / scale)).round().clamp(-128, most) * scale  # multiply by the reciprocal, as the kernels do


def whole(values: torch.Tensor) -> torch.Tensor:
    """Round to uint8 with one scale and zero point for the whole tensor: ONNX's DynamicQuantizeLinear."""
    low, high = values.amin().clamp(max=0), values.amax().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero = (-low / scale).round().clamp(0, 255)
    return ((values / scale).round() + zero).clamp(0, 255).sub(zero) * scale


def _on_grid(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Round to the grid; a weight that groups do not divide stays unchanged, as in the quantize step."""
    return weight if weight.shape[1] % grid.columns(weight.shape[1]) else grid.nearest(weight)


def _rounding(fake: Fake) -> Any:
    return lambda _module, given: (straight_through(given[0], fake), *given[1:])
