"""Check for weights that are not finite, from a diverged training or a damaged file. Such a model gives no results."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.checkpoints.folder import weights_read

if TYPE_CHECKING:
    import torch

Tensors = Iterable[tuple[str, "torch.Tensor"]]


def check_weights(place: str, tensors: Tensors) -> None:
    """Raise InputError if tensors hold values that are not finite; it names the first and counts the others."""
    bad = [name for name, tensor in tensors if not _is_finite(tensor)]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise InputError(
            f"{place}: {bad[0]}{more} hold values that are not finite (nan or infinite); expected finite weights: take "
            "a checkpoint from before the training diverged, or download the model again"
        )


def stored(folder: Path, model: Any) -> Iterator[tuple[str, "torch.Tensor"]]:
    """Yield the tensors of a folder's safetensors files that are parameters of a (perhaps empty) model.

    Stored names may have or lack a prefix, such as that of the base model.
    """
    from safetensors import safe_open

    names = {name for name, _ in model.named_parameters()}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for file in (file for file in weights_read(folder) if file.suffix == ".safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  not a mapping
                if {name, f"{prefix}{name}", name.removeprefix(prefix)} & names:
                    yield name, opened.get_tensor(name)


def _is_finite(tensor: "torch.Tensor") -> bool:
    """Return whether all values are finite, by their minimum and maximum in one pass."""
    import torch

    if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.device.type == "meta":
        return True
    values = tensor.detach()
    values = values.float() if values.element_size() == 1 else values  # float8 has no comparison
    return bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())
