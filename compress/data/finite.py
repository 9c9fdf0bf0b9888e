"""Weights that are not finite: what a diverged training or a damaged file leaves. Such a model has no figures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.checkpoints.folder import weights_read

if TYPE_CHECKING:
    import torch

Tensors = Iterable[tuple[str, "torch.Tensor"]]


def check_weights(place: str, tensors: Tensors) -> None:
    """Raises InputError that names the first of these tensors with a value that is not finite, and counts them."""
    bad = [name for name, tensor in tensors if not _is_finite(tensor)]
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise InputError(
            f"{place}: {bad[0]}{more} hold values that are not finite (nan or infinite); expected finite weights: take "
            "a checkpoint from before the training diverged, or download the model again"
        )


def stored(folder: Path, model: Any) -> Iterator[tuple[str, "torch.Tensor"]]:
    """The tensors in the safetensors files of a folder that are parameters of a (perhaps empty) model, one by one.

    Stored names may lack or have a prefix, such as that of the body.
    """
    from safetensors import safe_open

    names = {name for name, _ in model.named_parameters()}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for file in (file for file in weights_read(folder) if file.suffix == ".safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no mapping
                if {name, f"{prefix}{name}", name.removeprefix(prefix)} & names:
                    yield name, opened.get_tensor(name)


def _is_finite(tensor: "torch.Tensor") -> bool:
    """Whether no value is nan or infinite: the least and the greatest are finite, in one pass."""
    import torch

    if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.device.type == "meta":
        return True
    values = tensor.detach()
    values = values.float() if values.element_size() == 1 else values  # float8 has no order of its own
    return bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())
