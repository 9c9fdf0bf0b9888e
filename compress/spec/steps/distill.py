"""Settings of the step `distill`: origin of the student, its losses, and its training."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compress.base.config import Config
from compress.spec.steps.layers import Fraction

MOST_LAYERS = 1000
Weight = Annotated[float, Field(ge=0, le=1e6)]


class Distill(Config):
    """Train a smaller student to predict like the dense model (Hinton et al. 2015, arXiv:1503.02531)."""

    method: Literal["distill"] = "distill"
    keep_every: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = 1
    """Keep every k-th layer in the student (DistilBERT, arXiv:1910.01108); 1 keeps all, for recovery after pruning."""
    keep: Fraction | None = None
    """Or keep this fraction of the layers, spread evenly from the first to the last."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Or keep exactly these layers, counted from 0."""
    config: dict[str, Any] | None = None
    """Or create a new student: the model's configuration with these fields changed, initialised at random."""
    model: str | None = None
    """Or use another pretrained model, by hub id or folder, with the same task, labels and tokenizer."""
    temperature: Annotated[float, Field(gt=0, le=1e4)] = 2.0
    """Temperature of the softmax of both models in the soft loss."""
    soft_weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the teacher's soft targets; the remaining weight is for the hard labels."""
    hidden_weight: Weight = 0.0
    """Weight of the distance between hidden states of student and teacher layers."""
    hidden_loss: Literal["cosine", "mse"] = "cosine"
    """Distance between hidden states: 1 - cosine, or the mean squared error. With mse, a trained matrix projects the
    states of a narrower student (TinyBERT, arXiv:1909.10351)."""
    attention_weight: Weight = 0.0
    """Weight of the mean squared error between attention scores of student and teacher layers (TinyBERT)."""
    relation_weight: Weight = 0.0
    """Weight of the difference between the last layers' self-attention relations (MiniLMv2, arXiv:2012.15828); widths
    may differ."""
    relation_heads: Annotated[int, Field(ge=1, le=1024)] = 12
    """Relation heads: queries, keys and values of both models are split into this many."""
    divergence: Literal["forward", "reverse"] = "forward"
    """Soft loss: KL(teacher || student), which covers the whole distribution of the teacher, or KL(student || teacher),
    which concentrates on its modes (MiniLLM, arXiv:2306.08543)."""
    epochs: Annotated[float, Field(gt=0, le=1e5)] = 3
    """Passes over the training examples."""
    max_steps: Annotated[int, Field(ge=1, le=10**8)] | None = None
    """Stop after this many optimizer steps, if the epochs would take more."""
    batch_size: Annotated[int, Field(ge=1, le=2**16)] = 32
    """Examples per optimizer step and device."""
    accumulation: Annotated[int, Field(ge=1, le=2**16)] = 1
    """Batches whose gradients are summed before an optimizer step, for batches too large for the memory."""
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-4
    """Peak of a linear schedule with 6 % warm-up."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """AdamW; or Adafactor, which stores far less state per weight."""
    patience: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Early stopping: hold out 5 % of the training examples (at most 1,000), evaluate their loss every 100 steps, stop
    after this many evaluations without improvement, and use the best weights."""
    lora_rank: Annotated[int, Field(ge=1, le=2**16)] | None = None
    """Train only updates of this rank to the linear layers, merged into them afterwards (LoRA, arXiv:2106.09685). Only
    the updates have gradients and optimizer state."""
    quantization_aware: bool = False
    """Train with the rounding of the next quantize step: of the weights, and of activations if it quantizes them too.
    Gradients pass through the rounding unchanged (straight-through estimator)."""
    max_length: Annotated[int, Field(ge=8, le=10**7)] | None = None
    """Truncate training texts to this many tokens; unset: the workload's length."""
    dropout: bool = False
    """Train with the student's own dropout; soft targets regularise without it. Also updates batch-norm statistics."""
    freeze_embeddings: bool = False
    """Do not train input embeddings (and a head tied to them): they take much of a small model's training time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of autocast during training; auto is bf16 if the device computes it natively."""

    @model_validator(mode="after")
    def _one_student(self) -> "Distill":
        ways = [
            name
            for name, is_set in (
                ("keep_every", self.keep_every > 1),
                ("keep", self.keep is not None),
                ("layers", self.layers is not None),
                ("config", self.config is not None),
                ("model", self.model is not None),
            )
            if is_set
        ]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are set; each of them defines the student: keep one")
        if self.lora_rank is not None and (self.config is not None or self.quantization_aware):
            other = "quantization_aware" if self.quantization_aware else "a fresh student"
            raise ValueError(f"lora_rank and {other}: updates change little of a trained weight; remove one of them")
        return self

    @property
    def pairs_layers(self) -> bool:
        """Whether layers of the student are compared with layers of the teacher."""
        return bool(self.hidden_weight or self.attention_weight)
