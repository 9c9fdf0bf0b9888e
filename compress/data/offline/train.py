"""The training loop of the offline workloads: AdamW, warm-up and linear decay, bf16 if it is faster."""

from collections.abc import Callable
from typing import Any

import torch

from compress.base.console import bar
from compress.base.devices import computes_bf16


def train(
    model: Any,
    batch: Callable[[int], dict[str, torch.Tensor]],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    title: str,
    warmup: float = 0.1,
    loss_of: Callable[[Any, dict[str, torch.Tensor]], torch.Tensor] = lambda model, inputs: model(**inputs).loss,
) -> float:
    """Train on `steps` batches, each from `batch(i)`; return the last loss. The caller's random state is restored."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        fused=True,
    )
    rising = max(1, int(steps * warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))
    )
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")  # on CPU the fused kernel's backward pass is twice as slow at these sizes
    loss = torch.tensor(float("nan"))
    with torch.random.fork_rng(devices=[]), bar(title, steps) as running:
        torch.manual_seed(seed)
        model.train()
        for step in range(steps):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=computes_bf16(torch.device("cpu"))):
                loss = loss_of(model, batch(step))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            running.advance()
    model.set_attn_implementation(attention)
    model.eval()
    return float(loss.detach())
