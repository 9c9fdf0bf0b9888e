"""The blocks of a causal language model: how the model calls them, and their hidden states on the way.

    ids --embedding--> hidden --block 0--> hidden --block 1--> ... --norm, head--> logits

The model's own forward pass states what every block receives besides the hidden states (masks, position embeddings,
which differ between layers in some families): all blocks are replaced by stubs that note their arguments and return
the hidden states unchanged. Afterwards each block runs alone. Hidden states wait in files, one per batch.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compress.base.config import InputError

Batch = Mapping[str, torch.Tensor]
Load = Callable[[nn.Module], object]
"""Loads the parameters that a module has itself."""


def blocks_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return name and modules of the list of blocks, which holds most of the parameters.

    Raises InputError for a model without one.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    sizes = [sum(p.numel() for p in module.parameters()) for _, module in lists]
    if not lists or 2 * max(sizes) < sum(p.numel() for module in dict(lists).values() for p in module.parameters()):
        raise InputError(f"{type(model).__name__} has no single list of layers to be taken one at a time")
    return lists[sizes.index(max(sizes))]


class _Enough(Exception):
    """Raised by the last stub: the rest of the model need not run."""


class Flow:
    """Hidden states of examples on their way through the blocks, in files below a folder."""

    def __init__(self, model: nn.Module, examples: Sequence[Batch], folder: Path, load: Load) -> None:
        """Take the examples; nothing runs before `enter`."""
        self.model, self.examples, self.folder, self.load = model, examples, folder, load
        self.path, self.blocks = blocks_of(model)
        self.numbers = {id(batch): number for number, batch in enumerate(examples)}
        self.arguments: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = []

    def enter(self, index: int) -> None:
        """Note the arguments of all blocks; for the first block also write its hidden states."""
        if self.arguments:
            return
        first: list[torch.Tensor] = []
        with self._outside(), torch.no_grad():
            for batch in self.examples:
                calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

                def stub(number: int, hidden: torch.Tensor, *rest: Any, calls: Any = calls, **named: Any) -> Any:
                    calls.append((rest, named))
                    if number == 0 and index == 0:
                        first.append(hidden)
                    if number == len(self.blocks) - 1:
                        raise _Enough
                    return hidden

                with self._stubbed(stub), suppress(_Enough):
                    self._forward(batch)
                self.arguments.append(calls)
        if index == 0:
            self._keep(0, iter(first))

    def run(self, index: int) -> Callable[[nn.Module, Batch], torch.Tensor]:
        """Return the function that runs one block on one of the examples."""

        def forward(_model: nn.Module, batch: Batch) -> torch.Tensor:
            number = self.numbers[id(batch)]
            rest, named = self.arguments[number][index]
            outputs: torch.Tensor = self.blocks[index](self._hidden(index, number), *rest, **named)
            return outputs

        return forward

    def advance(self, index: int) -> None:
        """Write what a block makes of its hidden states: those of the next block."""
        forward = self.run(index)
        with torch.no_grad():
            self._keep(index + 1, (forward(self.model, batch) for batch in self.examples))

    def states(self, index: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """Yield the hidden states before and after a block, and the mask, of every batch."""
        for number, batch in enumerate(self.examples):
            yield self._hidden(index, number), self._hidden(index + 1, number), batch.get("attention_mask")

    def forget(self, index: int) -> None:
        """Remove the hidden states before a block."""
        shutil.rmtree(self._place(index), ignore_errors=True)

    def beyond(self, _model: nn.Module, batch: Batch) -> None:
        """Run what follows the blocks (norm and head) on the hidden states after the last one."""
        last = len(self.blocks)

        def stub(number: int, hidden: torch.Tensor, *_rest: Any, **_named: Any) -> torch.Tensor:
            return self._hidden(last, self.numbers[id(batch)]) if number == last - 1 else hidden

        with self._outside(), self._stubbed(stub):
            self._forward(batch)

    def _forward(self, batch: Batch) -> None:
        self.model(**{key: value for key, value in batch.items() if key != "labels"}, use_cache=False)

    def _hidden(self, index: int, number: int) -> torch.Tensor:
        return load_file(self._place(index) / f"{number}.safetensors")["hidden"]

    def _place(self, index: int) -> Path:
        return self.folder / f"hidden-{index:05d}"

    def _keep(self, index: int, hidden: Iterator[torch.Tensor]) -> None:
        """Write the hidden states before a block: aside, and renamed when they are complete."""
        place = self._place(index)
        aside = place.with_name(f"{place.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for number, states in enumerate(hidden):
            save_file({"hidden": states.contiguous()}, aside / f"{number}.safetensors")
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)

    @contextmanager
    def _stubbed(self, stub: Callable[..., Any]) -> Iterator[None]:
        """Replace the forward pass of every block by a stub, which also gets the block's number."""

        def forward(number: int) -> Any:
            def call(*given: Any, **named: Any) -> Any:
                hidden = given[0] if given else named.pop("hidden_states")
                return stub(number, hidden, *given[1:], **named)

            return call

        for number, block in enumerate(self.blocks):
            block.__dict__["forward"] = forward(number)
        try:
            yield
        finally:
            for block in self.blocks:
                del block.__dict__["forward"]

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """Load a module outside of the blocks when it is called first, and empty all of them at the end."""
        inside = set(self.blocks.modules())
        own = [module for module in self.model.modules() if module not in inside and module._parameters]
        opened: list[nn.Module] = []

        def open_first(module: nn.Module, _given: Any) -> None:
            if any(p.is_meta for p in module.parameters(recurse=False)):
                self.load(module)
                opened.append(module)

        hooks = [module.register_forward_pre_hook(open_first) for module in own]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for module in opened:
                empty(module.parameters(recurse=False))


def empty(parameters: Iterable[nn.Parameter]) -> None:
    """Take the memory from parameters, which stay the same objects on the meta device."""
    for parameter in parameters:
        if not parameter.is_meta:
            plain = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")  # of a packed one too
            hollow = nn.Parameter(plain, requires_grad=parameter.requires_grad)
            torch.utils.swap_tensors(parameter, hollow)
