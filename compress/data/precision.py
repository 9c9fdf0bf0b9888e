"""Pixels and sound in the number type of a model's weights.

Image processors return fp32. Patch embeddings convert their inputs; convolutions raise an error for a type that is not
their weight's. The conversion is a hook, so it happens wherever the model runs, and follows later changes of its type.
"""

from typing import Any

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


def takes_any_precision(model: Any) -> Any:
    """Return the model, which from now on converts floating-point inputs to the type of its weights.

    Only a model in half precision whose main input is pixels or sound is changed.
    """
    is_float = getattr(model, "main_input_name", "input_ids") in ("pixel_values", "input_values", "input_features")
    if is_float and _kind(model) in HALF and converted not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(converted, with_kwargs=True)
    return model


def converted(
    model: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a model's inputs, those in floating point in the type of its first floating-point weight."""
    kind = _kind(model)
    return tuple(_as(value, kind) for value in args), {name: _as(value, kind) for name, value in inputs.items()}


def _kind(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _as(value: Any, kind: torch.dtype) -> Any:
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.to(kind) if floating else value
