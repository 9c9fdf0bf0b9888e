"""The training loop of distillation: transformers' Trainer with a given loss, resumable after a kill.

A checkpoint folder's name is a digest of everything that determines the training, so only the same training resumes
from it. Checkpoints hold the optimizer's state, have Trainer's format and are never part of an artifact.
"""

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from compress.base.config import digest
from compress.base.console import bar, say
from compress.base.files import passing
from compress.base.ranks import processes
from compress.data.tasks import task_of
from compress.methods.calibrate import config_kept
from compress.methods.distill.adapters import only_updates
from compress.methods.distill.batches import check_device, collator, split, total_steps, trains_in_bf16
from compress.methods.distill.trainer import DistillTrainer, KeepZeros, Loss, Progress, zeros
from compress.model.bundle import Bundle
from compress.spec.steps import Distill

SAVE_STEPS = 100
WARMUP = 0.06
OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor"}
FUSED = {"adamw": "adamw_torch_fused"}  # the same updates in a few kernels, on a GPU


@dataclass(frozen=True)
class Trained:
    """The outcome of a training."""

    steps: int
    resumed_at: int
    """The step at which a killed training was resumed; 0 if it was not."""
    loss: float
    """Mean over this process's steps."""
    held_out: float | None = None
    """Least loss on held-out examples, at which the weights were taken; None without held-out examples."""
    processes: int = 1

    def __str__(self) -> str:
        resumed = f", resumed at {self.resumed_at}" if self.resumed_at else ""
        best = f", {self.held_out:.4f} on held-out examples at best" if self.held_out is not None else ""
        in_processes = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"{self.steps} optimizer steps{in_processes}{resumed}, mean loss {self.loss:.4f}{best}"


def train(model: Any, loss: Loss, examples: Any, bundle: Bundle, config: Distill) -> Trained:
    """Train `model` in place and return the outcome; it ends in eval mode, on the device, without gradients.

    Weights that an earlier step set to zero stay zero. Raises RuntimeError if the loss is no longer finite.
    """
    check_device(bundle.device)
    dtype = torch.bfloat16 if trains_in_bf16(config, bundle.device) else None
    task = task_of(bundle.task)
    all_examples = examples
    examples, held_out = split(all_examples, bundle.seed) if config.patience is not None else (all_examples, None)
    costs = [min(length, config.max_length or 10**9) for length in task.lengths(examples)]
    total = total_steps(len(examples), config)
    model.float().train().requires_grad_(True)
    if config.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    if config.lora_rank is not None:
        only_updates(model)
    with contextlib.ExitStack() as stack:
        folder = None if bundle.work is None else bundle.work / f"distill-{key(model, all_examples, bundle, config)}"
        output = folder or stack.enter_context(passing("distill"))
        stack.enter_context(config_kept(model))
        stack.enter_context(torch.random.fork_rng())  # Trainer seeds the global generators
        running = stack.enter_context(bar("distill", total))
        trainer = DistillTrainer(
            model=model,
            args=_arguments(output, config, bundle, total, keep=folder is not None),
            data_collator=collator(bundle, config),
            train_dataset=examples,
            eval_dataset=held_out,
            callbacks=[Progress(running), KeepZeros(zeros(model, bundle.layers)), *_stopping(config)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.use(loss, dtype, costs, dropout=config.dropout)
        checkpoint = last_checkpoint(output)
        resumed_at = step_of(checkpoint) if checkpoint else 0
        if resumed_at:
            say(f"distill: resuming at step {resumed_at} of {total}")
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model.zero_grad(set_to_none=True)
    model.eval()
    if not math.isfinite(result.training_loss) or not all(p.isfinite().all() for p in model.parameters()):
        raise RuntimeError(
            f"distill diverged: mean loss {result.training_loss}; lower learning_rate {config.learning_rate}"
        )
    return Trained(result.global_step, resumed_at, result.training_loss, trainer.state.best_metric, processes())


def _stopping(config: Distill) -> list[TrainerCallback]:
    return [] if config.patience is None else [EarlyStoppingCallback(config.patience)]


def key(model: Any, examples: Any, bundle: Bundle, config: Distill) -> str:
    """Return 16 hex digits of the settings, the seed, the data and the initial weights."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        weights.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest(
        {
            "config": config.model_dump(mode="json"),
            "seed": bundle.seed,
            "bf16": trains_in_bf16(config, bundle.device),
            "examples": [len(examples), str(examples[0]), str(examples[len(examples) - 1])],
            "weights": weights.hexdigest(),
            "processes": processes(),
        }
    )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint: one with trainer_state.json, which Trainer writes last."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step in a checkpoint's name."""
    return int(checkpoint.name.rpartition("-")[2])


def _watching(config: Distill) -> dict[str, Any]:
    """Return the arguments that make Trainer restore the weights with the least held-out loss."""
    if config.patience is None:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": SAVE_STEPS,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def _arguments(output: Path, config: Distill, bundle: Bundle, total: int, keep: bool) -> TrainingArguments:
    on_gpu = bundle.device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=total,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        optim=(OPTIMIZERS | (FUSED if on_gpu else {}))[config.optimizer],
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(WARMUP * total),
        weight_decay=0.01,
        seed=bundle.seed,
        use_cpu=bundle.device.type == "cpu",
        save_strategy="steps" if keep or config.patience is not None else "no",
        save_steps=SAVE_STEPS,
        save_total_limit=1,  # plus the best one, if it is tracked
        **_watching(config),
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        accelerator_config={"non_blocking": on_gpu},
        # the filter synchronises with the device in every step. Off, a loss that is not finite raises at the end; on
        # with held-out examples, because the best weights are taken then
        logging_nan_inf_filter=config.patience is not None,
        ddp_find_unused_parameters=False,  # the loss is computed outside of the student's forward
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # device cuda means one GPU; accelerate or torchrun launches several
    return arguments
