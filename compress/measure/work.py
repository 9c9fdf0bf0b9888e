"""The work of one batch of a torch model: bytes of stored weights that it reads, and operations of its products.

    reads       every operator's inputs that are parts of stored weights, each part once: an embedding's chosen rows, of
                experts those that this batch chose, a tied head whole
    operations  2 x multiply-adds of linear layers (by their own shapes: pruned, low-rank), of convolutions and of
                attention's two products; a causal mask is not subtracted

Linear layers of any format are counted by their widths, everything else by the operators that torch calls. An operator
that multiplies and has no formula here makes the operations unknown.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ROWS_OF = ("embedding", "index_select", "index", "gather", "take")
"""Operators that read only the chosen rows of their first input."""
MULTIPLIES = re.compile(r"mm|matmul|linear|conv(?!ert)|attention|einsum|gemv|gemm", re.IGNORECASE)
NO_PRODUCT = re.compile(r"prepack|backward", re.IGNORECASE)
INTEGER = re.compile(r"_int_mm|int8_scaled_matmul|int8_linear_matmul|int8_mixed_scaled_mm|qlinear|igemm", re.IGNORECASE)
FLOAT8 = re.compile(r"_scaled_mm|float8", re.IGNORECASE)
SPARSE = re.compile(r"cslt_sparse_mm|sparse_semi_structured", re.IGNORECASE)
"""Operators that skip the zeros of 2:4 weights: half of the operations."""
FORMATS = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int8: "int8",
    torch.uint8: "int8",
}


@dataclass(frozen=True)
class Work:
    """Work of one batch."""

    operations: dict[str, float]
    """Number format -> operations of products computed in it."""
    read_bytes: float
    """Bytes of stored weights, each part once."""
    unknown: tuple[str, ...] = ()
    """Operators that multiply and have no formula: `operations` lacks theirs."""


def work(model: nn.Module, call: Callable[[], object]) -> Work:
    """Return the work of a call that runs the model once. A compiled model is counted uncompiled."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), _Counting(model) as counting:
        call()
    return Work(dict(counting.operations), counting.read_bytes, tuple(sorted(counting.unknown)))


class _Counting(TorchDispatchMode):
    """Counts while operators run."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.operations: dict[str, float] = defaultdict(float)
        self.unknown: set[str] = set()
        self._stored = {_place(tensor): tensor.untyped_storage().nbytes() for tensor in stored_tensors(model)}
        self._parts: dict[int, dict[str, int]] = {}
        self._inside: list[nn.Module] = []
        self._names: set[str] = set()
        self._hooks: list[Any] = []

    @property
    def read_bytes(self) -> float:
        """Bytes of the stored weights that were read; of one memory block at most its size."""
        return float(sum(min(sum(parts.values()), self._stored[place]) for place, parts in self._parts.items()))

    def __enter__(self) -> "_Counting":
        self._hooks = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave)]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        if widths(module) is not None and not self._inside:
            self._names = set()
            self._inside.append(module)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._inside or self._inside[-1] is not module:
            return
        self._inside.pop()
        found, names = widths(module), " ".join(self._names)
        if found is None or not isinstance(output, torch.Tensor):
            return
        rows = output.numel() // output.shape[-1]
        operations = 2.0 * rows * found[0] * found[1]
        dtype = FORMATS.get(output.dtype, str(output.dtype).removeprefix("torch."))
        name = "int8" if INTEGER.search(names) else "float8" if FLOAT8.search(names) else dtype
        self.operations[name] += operations / 2 if SPARSE.search(names) else operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = func._schema.name.split("::")[-1]
        if self._inside:
            self._names.add(func._schema.name)
        elif MULTIPLIES.search(name) and not NO_PRODUCT.search(name):
            self._multiply(func, name, args, kwargs, output)
        if not _is_view(func):
            self._read(name, args, kwargs, output)
        return output

    def _multiply(self, func: Any, name: str, args: Any, kwargs: Any, output: Any) -> None:
        """Add the operations of a product outside a linear layer."""
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        dtype = FORMATS.get(tensors[-1].dtype, "other") if tensors else "other"
        if "scaled_dot_product" in name:
            self.operations[dtype] += attention(*(tensor.shape for tensor in tensors[:3]))
        elif name == "_grouped_mm":
            self.operations[dtype] += 2.0 * tensors[0].numel() * tensors[1].shape[-1]
        elif (formula := flop_registry.get(func._overloadpacket)) is not None and INTEGER.search(name) is None:
            self.operations[dtype] += float(formula(*args, **kwargs, out_val=output))
        else:
            self.unknown.add(name)

    def _read(self, name: str, args: Any, kwargs: Any, output: Any) -> None:
        """Note the parts of stored weights among the inputs of an operator."""
        for number, tensor in enumerate(_plain(tree_leaves((args, kwargs)))):
            place = _place(tensor)
            if place not in self._stored:
                continue
            dense = math.prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
            size, part = dense * tensor.element_size(), f"{tensor.storage_offset()} {dense}"
            if name in ROWS_OF and number == 0 and isinstance(output, torch.Tensor):
                size, part = min(size, output.numel() * output.element_size()), f"rows of {part}"
            elif name == "_grouped_mm" and tensor.dim() == 3:
                size = size * _used(args, kwargs) // tensor.shape[0]
            parts = self._parts.setdefault(place, {})
            parts[part] = max(size, parts.get(part, 0))


def _used(args: Any, kwargs: Any) -> int:
    """Return how many groups of a grouped product have rows. Their last argument holds the groups' ends."""
    ends = kwargs.get("offs", args[2] if len(args) > 2 else None)
    return int((torch.diff(ends, prepend=ends.new_zeros(1)) > 0).sum())


def attention(query: torch.Size, key: torch.Size, value: torch.Size) -> float:
    """Return the operations of both products of attention: [.., heads, tokens, width], without skipping a mask."""
    rows = math.prod(query[:-1])
    return 2.0 * rows * key[-2] * query[-1] + 2.0 * rows * key[-2] * value[-1]


def widths(module: nn.Module) -> tuple[int, int] | None:
    """Return input and output width of a linear layer of any format; None for other modules and for pairs of layers."""
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    linear = all(isinstance(width, int) for width in found) and not hasattr(module, "in2_features")
    if not linear or any(widths(child) is not None for child in module.children()):
        return None
    weight: Any = getattr(module, "weight", None)
    if type(weight) in (torch.Tensor, nn.Parameter) and weight.is_floating_point() and weight.dim() == 2:
        return int(weight.shape[1]), int(weight.shape[0])
    return found  # type: ignore[return-value]


def stored_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the plain tensors that hold a model's weights: parameters, buffers and the parts of packed ones."""
    for tensor in (*model.parameters(), *model.buffers()):
        yield from _plain([tensor])
        state = getattr(tensor, "quant_state", None)  # of 4-bit weights by bitsandbytes: their scales
        for holder in filter(None, (state, getattr(state, "state2", None))):
            yield from (each for each in vars(holder).values() if isinstance(each, torch.Tensor))
    for module in model.modules():
        state = getattr(module, "state", None)  # of 8-bit layers by bitsandbytes
        yield from (each for name in ("CB", "SCB") if isinstance(each := getattr(state, name, None), torch.Tensor))


def _plain(leaves: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among leaves; of wrapped ones (torchao, quanto, 2:4) the tensors inside."""
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            continue
        if hasattr(leaf, "__tensor_flatten__") and type(leaf) not in (torch.Tensor, nn.Parameter):
            names, _ = leaf.__tensor_flatten__()
            yield from _plain(getattr(leaf, name) for name in names)
        elif leaf.layout == torch.strided and not leaf.is_meta:
            yield leaf


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_view(func: Any) -> bool:
    """Return whether an operator only returns another view of its input."""
    aliases = [found.alias_info for found in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)
