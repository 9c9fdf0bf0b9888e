"""Convolutions: to find them, to read them as matrices, and in low rank as two thin ones.

    dense     x --k x k, in -> out--> y                                       out * in * k * k weights
    channel   x --k x k, in -> r--> --1 x 1, r -> out--> y                    r * (in * k * k + out)
    spatial   x --k x 1, in -> r--> --1 x k, r -> out--> y                    r * (in * k + out * k)

The channel decomposition is that of Zhang et al. 2016, arXiv:1505.06798, the spatial one that of Jaderberg et al. 2014,
arXiv:1405.3866. Of a 1 x 1 convolution both are the low rank of a linear layer.
"""

import math
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from compress.model.bundle import matches_any
from compress.spec.steps import HEADS, Layers

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Decomposition = Literal["channel", "spatial"]
EMBEDDINGS = "*embed*"
"""The default exclusion of embeddings, among those of `compress.spec.steps.HEADS`."""
SPANS = ("kernel_size", "stride", "padding", "dilation")
OWN_FORWARDS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)


def convolutions(model: nn.Module, layers: Layers) -> dict[str, Convolution]:
    """Return the chosen convolutions by name. The default exclusion of embeddings does not concern them.

    A stem is often named so (`resnet.embedder`): few weights, but much of the work. In a list of the user's own, the
    same pattern counts like any other.
    """
    excluded = layers.exclude
    if excluded[: len(HEADS)] == HEADS:  # patterns of overrides follow the default ones
        excluded = (*(pattern for pattern in HEADS if pattern != EMBEDDINGS), *excluded[len(HEADS) :])
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, CONVOLUTIONS)
        and module._parameters.get("weight") is not None
        and matches_any(name, layers.include)
        and not matches_any(name, excluded)
    }


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a layer is a convolution each of whose channels reads one channel alone."""
    return isinstance(module, CONVOLUTIONS) and module.groups > 1 and module.groups == module.in_channels


def factorable(model: nn.Module, layers: Layers) -> dict[str, Convolution]:
    """Return the chosen convolutions that two thin ones can replace: without groups, and padded with zeros."""
    return {name: module for name, module in convolutions(model, layers).items() if unfactorable(module) is None}


def unfactorable(module: Convolution) -> str | None:
    """Return why two thin convolutions cannot replace one; None if they can."""
    if module.groups > 1:
        return "grouped or depthwise"
    if module.padding_mode != "zeros":
        return f"padded by padding_mode {module.padding_mode}, not with zeros"
    if any(_beyond(module)):
        return "padded more on one side than on the other"
    if type(module).forward not in OWN_FORWARDS:  # it may change the weight or pad the inputs first
        return f"{type(module).__name__} computes something else than a plain convolution"
    return None


def matrix_shape(module: Convolution, decomposition: Decomposition) -> tuple[int, int]:
    """Return the shape of `as_matrix`, which may copy the weight."""
    out, into, *kernel = module.weight.shape
    if _is_spatial(module, decomposition):
        height, width = kernel
        return out * width, into * height
    return out, into * math.prod(kernel)


def as_matrix(module: Convolution, decomposition: Decomposition) -> torch.Tensor:
    """Return the weight as the matrix whose low rank the decomposition is.

    channel: [out, in * kernel]. spatial: [out * kernel width, in * kernel height].
    """
    weight = module.weight.data  # [out, in, height, width]
    if not _is_spatial(module, decomposition):
        return weight.flatten(1)
    return weight.permute(0, 3, 1, 2).reshape(matrix_shape(module, decomposition))


def patches(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return what a convolution multiplies its weight by: [batch, positions, in * kernel]. Others: the inputs."""
    if not isinstance(module, CONVOLUTIONS):
        return inputs
    spatial = len(module.kernel_size)
    spans = zip(module.kernel_size, module.dilation, module.stride, _pads(module), strict=True)
    for axis, (size, gap, step, pad) in enumerate(spans):
        padded = functional.pad(inputs, [0, 0] * (spatial - 1) + [pad, pad])  # counted from the last axis
        inputs = padded.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]  # the kernel's axis comes last
    moved = inputs.movedim(1, 1 + spatial)  # [batch, *positions, in, *kernel]
    return moved.flatten(1, spatial).flatten(2)


def _pads(module: Convolution) -> tuple[int, ...]:
    """Return the zeros on both sides of each axis; `same` and `valid` in numbers."""
    if not isinstance(module.padding, str):
        return module.padding
    same = module.padding == "same"
    spans = zip(module.kernel_size, module.dilation, strict=True)
    return tuple(gap * (size - 1) // 2 if same else 0 for size, gap in spans)


def _beyond(module: Convolution) -> tuple[int, ...]:
    """Return how many zeros more one side of each axis has than the other: 1 for `same` with an even kernel."""
    if module.padding != "same":
        return (0,) * len(module.kernel_size)
    return tuple(gap * (size - 1) % 2 for size, gap in zip(module.kernel_size, module.dilation, strict=True))


def _is_spatial(module: Convolution, decomposition: Decomposition) -> bool:
    return decomposition == "spatial" and isinstance(module, nn.Conv2d)


class LowRankConvolution(nn.Module):
    """Two convolutions in place of one, `first` with as many output channels as the rank."""

    def __init__(self, first: Convolution, second: Convolution):
        super().__init__()
        self.first = first
        self.second = second

    @property
    def weight(self) -> torch.Tensor:
        """The weight of the second convolution: embeddings of patches read its type to cast pixels."""
        return self.second.weight

    def __getattr__(self, name: str) -> Any:
        """Return a span of the dense convolution (stride, padding ...): MobileNet pads its inputs by them."""
        if name not in SPANS:
            return super().__getattr__(name)
        first, second = getattr(self.first, name), getattr(self.second, name)
        return tuple(map(max, first, second))  # where one has a span, the other's is 1, or 0 of a padding

    @classmethod
    def like(
        cls, dense: Convolution, rank: int, decomposition: Decomposition, device: torch.device | str | None = None
    ) -> "LowRankConvolution":
        """Return uninitialised convolutions with the stride, padding and dilation of the dense one."""
        made: dict[str, Any] = {"device": device or dense.weight.device, "dtype": dense.weight.dtype}
        kind: Any = next(kind for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(dense, kind))
        has_bias = dense.bias is not None
        spans = (dense.kernel_size, dense.stride, _pads(dense), dense.dilation)
        if not _is_spatial(dense, decomposition):
            first = kind(dense.in_channels, rank, *spans, bias=False, **made)
            return cls(first, kind(rank, dense.out_channels, 1, bias=has_bias, **made))
        neutral = (1, 1, 0, 1)  # kernel, stride, padding, dilation of the other direction
        down = [(span[0], none) for span, none in zip(spans, neutral, strict=True)]
        across = [(none, span[1]) for span, none in zip(spans, neutral, strict=True)]
        first = kind(dense.in_channels, rank, *down, bias=False, **made)
        return cls(first, kind(rank, dense.out_channels, *across, bias=has_bias, **made))

    @classmethod
    def of(
        cls, dense: Convolution, left: torch.Tensor, right: torch.Tensor, decomposition: Decomposition
    ) -> "LowRankConvolution":
        """Return the convolutions whose product is left [rows, r] @ right [r, columns] of `as_matrix`."""
        rank = left.shape[1]
        thin = cls.like(dense, rank, decomposition)
        if _is_spatial(dense, decomposition):
            left = left.reshape(dense.out_channels, -1, rank).permute(0, 2, 1)  # [out, r, width]
        with torch.no_grad():
            thin.first.weight.copy_(right.reshape(thin.first.weight.shape))
            thin.second.weight.copy_(left.reshape(thin.second.weight.shape))
            if dense.bias is not None and thin.second.bias is not None:
                thin.second.bias.copy_(dense.bias)
        return thin.train(dense.training)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [batch, in, ...] to [batch, out, ...]."""
        outputs: torch.Tensor = self.second(self.first(inputs))
        return outputs
