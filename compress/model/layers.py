"""Weight layers: low-rank and smoothed ones, and functions to find, read and cut those of transformers.

GPT-2's `Conv1D` is a linear layer with its weight stored as [in, out]; functions here return [out, in].

    LowRankLinear      x [.., in] --first--> [.., rank] --second--> [.., out]
    Borrowing          x [.., in] --first of another--> [.., rank] --second--> [.., out]
    Smoothed           x [.., in] * smooth [in] --linear--> [.., out]
"""

import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.model.bundle import is_plain_linear, linear_layers, matches
from compress.spec.steps import Layers


class LowRankLinear(nn.Module):
    """A linear layer whose weight is second.weight [out, rank] @ first.weight [rank, in]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rank: int,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.rank = rank
        self.first = nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype)
        self.second = nn.Linear(rank, out_features, bias=bias, device=device, dtype=dtype)
        self.lends = False
        self._last: tuple[weakref.ref[torch.Tensor], int, torch.Tensor] | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., out]."""
        outputs: torch.Tensor = self.second(self.narrow(inputs))
        return outputs

    def narrow(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., rank]; if other layers borrow it, the result for the last tensor is cached.

        Compilers merge equal products themselves. Training needs every product for its gradients. Inference mode
        tensors have no version counter, so their changes cannot be detected.
        """
        if not self.lends or torch.compiler.is_compiling() or torch.is_grad_enabled() or inputs.is_inference():
            narrow: torch.Tensor = self.first(inputs)
            return narrow
        last = self._last  # read once: another thread may replace it
        if last is not None and last[0]() is inputs and last[1] == inputs._version:
            return last[2]
        narrow = self.first(inputs)
        self._last = (weakref.ref(inputs, self._forget), inputs._version, narrow)
        return narrow

    def _forget(self, reference: "weakref.ref[torch.Tensor]") -> None:
        last = self._last
        if last is not None and last[0] is reference:
            self._last = None

    def __getstate__(self) -> dict[str, Any]:
        """Drop the cached result: copies start without one."""
        return {**self.__dict__, "_last": None}

    def extra_repr(self) -> str:
        """Return shape and rank, for printing."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


class Borrowing(nn.Module):
    """A linear layer whose weight is second.weight [out, rank] @ lender.first.weight [rank, in].

    The lender is another layer of the same model with the same inputs; its weight is not held, counted or saved here.
    """

    def __init__(self, lender: LowRankLinear, second: nn.Linear) -> None:
        super().__init__()
        self.second = second
        lender.lends = True
        self._lender = (lender,)  # a tuple keeps it from becoming a submodule

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., out]."""
        outputs: torch.Tensor = self.second(self._lender[0].narrow(inputs))
        return outputs


class Smoothed(nn.Linear):
    """A linear layer that multiplies its inputs by `smooth` [in]; its weight's columns hold the reciprocal."""

    smooth: torch.Tensor

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: torch.device | str | None = None
    ):
        super().__init__(in_features, out_features, bias=bias, device=device)
        self.register_buffer("smooth", torch.ones(in_features, device=device))

    @classmethod
    def of(cls, linear: nn.Linear, factors: torch.Tensor) -> "Smoothed":
        """Return the same function as `linear`, with its weight's columns multiplied by these factors [in]."""
        smoothed = cls(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        weight = linear.weight.detach()
        smoothed.weight = nn.Parameter((weight.float() * factors).to(weight.dtype))
        smoothed.bias = linear.bias
        smoothed.smooth = (1 / factors).to(weight.dtype)
        return smoothed

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., out]."""
        return super().forward(input * self.smooth)


WeightLayer = nn.Linear | Conv1D


def is_empty(model: nn.Module) -> bool:
    """Return whether a model is a skeleton on the meta device, without values."""
    return next(model.parameters()).is_meta


def weight_layers(model: nn.Module, layers: Layers, others: Collection[str] = ()) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of every chosen linear layer, including GPT-2's Conv1D.

    Raises InputError if none is chosen and there are no `others` that the step changes too.
    """
    transposed = [(n, m) for n, m in model.named_modules() if isinstance(m, Conv1D) and matches(n, layers)]
    if not transposed and not others:
        yield from linear_layers(model, layers)
        return
    linear = [(n, m) for n, m in model.named_modules() if is_plain_linear(m) and matches(n, layers)]
    yield from transposed
    yield from linear


@dataclass(frozen=True)
class Experts:
    """The weights of a layer's experts, which transformers stacks in one three-dimensional parameter."""

    owner: nn.Module
    key: str
    transposed: bool
    """Whether they are stored as [experts, in, out]."""

    @property
    def matrices(self) -> torch.Tensor:
        """Return the weights as [experts, out, in], sharing the parameter's memory."""
        stored = getattr(self.owner, self.key).data
        return stored.transpose(1, 2) if self.transposed else stored


def stacked_experts(model: nn.Module, layers: Layers) -> dict[str, Experts]:
    """Return the chosen stacks of experts by their parameters' names, in the model's order."""
    stacks = {}
    for name, module in model.named_modules():
        if hasattr(module, "is_transposed") and hasattr(module, "has_gate"):  # transformers' classes of stacked experts
            for key, parameter in module._parameters.items():
                if parameter is not None and parameter.dim() == 3 and matches(f"{name}.{key}", layers):
                    stacks[f"{name}.{key}"] = Experts(module, key, bool(module.is_transposed))
    return stacks


def matrix(module: nn.Module) -> torch.Tensor:
    """Return the weight as [out, in], sharing the layer's memory."""
    weight: torch.Tensor = module.weight.data  # type: ignore[assignment]
    return weight.T if isinstance(module, Conv1D) else weight


def output_dim(module: nn.Module) -> int:
    """Return the dimension of the stored weight that holds the outputs; the other one holds the inputs."""
    return 1 if isinstance(module, Conv1D) else 0


def keep_outputs(module: nn.Module, index: torch.Tensor) -> None:
    """Keep these outputs of a linear layer, in place."""
    _keep(module, "weight", output_dim(module), index)
    if module.bias is not None:
        _keep(module, "bias", 0, index)
    setattr(module, "nf" if isinstance(module, Conv1D) else "out_features", len(index))


def keep_inputs(module: nn.Module, index: torch.Tensor) -> None:
    """Keep these inputs of a linear layer, in place."""
    _keep(module, "weight", 1 - output_dim(module), index)
    setattr(module, "nx" if isinstance(module, Conv1D) else "in_features", len(index))


def _keep(module: nn.Module, name: str, dim: int, index: torch.Tensor) -> None:
    old = getattr(module, name)
    kept = old.data.index_select(dim, index.to(old.device)).contiguous()
    setattr(module, name, nn.Parameter(kept, requires_grad=old.requires_grad))
