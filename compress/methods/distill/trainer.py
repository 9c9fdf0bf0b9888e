"""transformers' Trainer with a given loss, batches of similar length, a bar, and pruned weights kept at zero."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback
from transformers.trainer_pt_utils import get_length_grouped_indices

from compress.base.console import Bar
from compress.methods.distill.adapters import stored_weight

Loss = Callable[[Any, Mapping[str, torch.Tensor]], tuple[torch.Tensor, Any]]


class DistillTrainer(Trainer):
    """Trainer with a given loss, autocast around all of it, and batches of similar length."""

    def use(self, loss: Loss, dtype: torch.dtype | None, costs: Sequence[int], dropout: bool) -> None:
        """Set the loss, the autocast type (None: fp32), the length of every example, and whether dropout is active."""
        self.model_accepts_loss_kwargs = False  # this loss is a batch mean, so Trainer divides it by the accumulation
        self._loss = loss
        self._dtype = dtype
        self._costs = list(costs)
        self._dropout = dropout

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one batch."""
        if model.training:  # not during evaluation on held-out examples
            model.train(self._dropout)  # Trainer has just enabled dropout
        loss, outputs = self._loss(model, inputs)
        return (loss, outputs) if return_outputs else loss

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """Autocast over student, teacher and loss. Accelerate's would wrap the student's forward permanently."""
        stack = contextlib.ExitStack()
        if self._dtype is not None:
            stack.enter_context(torch.autocast(self.args.device.type, dtype=self._dtype))
        return stack

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: the count is unused, and computing it visits all modules in every step."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return LengthGroups(self._costs, self.args.train_batch_size, self.args.seed, self._epoch)

    def _epoch(self) -> int:
        return int((self.state.epoch or 0) + 1e-6)  # state.epoch is a sum of fractions of steps

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, None, None]:
        """Return the loss of a held-out batch, computed as in training."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, _outputs = self._loss(model, self._prepare_inputs(inputs))
        return loss.detach().float(), None, None


class LengthGroups(Sampler[int]):
    """Indices in random order with neighbours of similar length, to reduce padding.

    The order depends on seed and epoch alone, so a resumed training sees the remaining batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]):
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        return iter(get_length_grouped_indices(self._lengths, self._batch_size, generator=generator))


class Progress(TrainerCallback):
    """Advances a bar, also over the steps that a resumed training skips."""

    def __init__(self, running: Bar):
        self._running = running

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._running.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._running.advance()


class KeepZeros(TrainerCallback):
    """Resets pruned weights to zero after every optimizer step."""

    def __init__(self, zeros: Sequence[tuple[torch.Tensor, torch.Tensor]]):
        self._zeros = zeros

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            for weight, zero in self._zeros:
                weight.masked_fill_(zero.to(weight.device), 0)


def zeros(model: Any, layers: Mapping[str, Mapping[str, Any]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return (weight, mask of its zeros) for every layer that an earlier step made sparse and that still exists."""
    modules, stacks = dict(model.named_modules()), dict(model.named_parameters())
    names = [name for name, entry in layers.items() if "sparsity" in entry]
    sparse = [stored_weight(modules[name]) for name in names if name in modules]
    sparse += [stacks[name] for name in names if name in stacks]  # of experts
    return [(weight, weight.detach() == 0) for weight in sparse]
