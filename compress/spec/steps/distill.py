"""Distill: where the student comes from, what it learns from, and how it is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compress.base.config import Config
from compress.spec.steps.layers import Fraction

MOST_LAYERS = 1000
Weight = Annotated[float, Field(ge=0, le=1e6)]


class Distill(Config):
    """Train a smaller student to answer like the dense model (Hinton et al. 2015, arXiv:1503.02531)."""

    method: Literal["distill"] = "distill"
    keep_every: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = 1
    """Student takes every k-th layer (DistilBERT, arXiv:1910.01108); 1 keeps all of them: recovery after pruning."""
    keep: Fraction | None = None
    """Or this fraction of the layers, spread evenly from the first to the last."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Or exactly these layers, counted from 0."""
    config: dict[str, Any] | None = None
    """Or a fresh student: the model's configuration with these fields changed, initialised at random."""
    model: str | None = None
    """Or another pretrained model, by hub id or folder, with the same task, labels and tokenizer."""
    temperature: Annotated[float, Field(gt=0, le=1e4)] = 2.0
    """Softens both distributions before they are compared."""
    soft_weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the teacher's soft targets; the rest goes to the hard labels."""
    hidden_weight: Weight = 0.0
    """Weight of the distance between hidden states of student and teacher layers."""
    hidden_loss: Literal["cosine", "mse"] = "cosine"
    """That distance: 1 - cosine, or the mean square; under mse a narrower student's states are first projected by a
    matrix that is trained along (TinyBERT, arXiv:1909.10351)."""
    attention_weight: Weight = 0.0
    """Weight of the mean squared difference of attention scores of student and teacher layers (TinyBERT)."""
    relation_weight: Weight = 0.0
    """Weight of the difference between the last layers' self-attention relations (MiniLMv2, arXiv:2012.15828); it needs
    no equal widths."""
    relation_heads: Annotated[int, Field(ge=1, le=1024)] = 12
    """Heads that queries, keys and values are split into for that, in both models."""
    divergence: Literal["forward", "reverse"] = "forward"
    """Soft targets by KL(teacher || student), which covers all the teacher says, or KL(student || teacher), which keeps
    to what it says most (MiniLLM, arXiv:2306.08543)."""
    epochs: Annotated[float, Field(gt=0, le=1e5)] = 3
    """Passes over the training examples."""
    max_steps: Annotated[int, Field(ge=1, le=10**8)] | None = None
    """Stop after this many optimizer steps, when the epochs would take longer."""
    batch_size: Annotated[int, Field(ge=1, le=2**16)] = 32
    """Examples per optimizer step and device."""
    accumulation: Annotated[int, Field(ge=1, le=2**16)] = 1
    """Batches whose gradients are summed before an optimizer step, where one batch of that size would not fit."""
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-4
    """Peak of a linear schedule with 6 % warm-up."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """AdamW; or Adafactor, which keeps far less beside each weight."""
    patience: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Hold 5 % of the training examples (at most 1,000) out, look at their loss every 100 steps, stop when it has not
    fallen so many times in a row, and take the best weights."""
    lora_rank: Annotated[int, Field(ge=1, le=2**16)] | None = None
    """Train only thin updates of this rank to the linear layers, merged into them afterwards (LoRA, arXiv:2106.09685):
    gradients and optimizer state of the updates alone."""
    quantization_aware: bool = False
    """Train the weights, and activations where they are quantized too, as the quantize step that comes next will make
    them; gradients pass straight through the rounding."""
    max_length: Annotated[int, Field(ge=8, le=10**7)] | None = None
    """Truncate training texts to this many tokens; the workload's length when unset."""
    dropout: bool = False
    """Train with the student's own dropout; the teacher's soft targets regularise already. Also thaws batch norms."""
    freeze_embeddings: bool = False
    """Leave input embeddings (and a head tied to them) as they are: much of a small model's training time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast during training; auto is bf16 where the device computes it natively."""

    @model_validator(mode="after")
    def _one_student(self) -> "Distill":
        ways = [
            name
            for name, given in (
                ("keep_every", self.keep_every > 1),
                ("keep", self.keep is not None),
                ("layers", self.layers is not None),
                ("config", self.config is not None),
                ("model", self.model is not None),
            )
            if given
        ]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are set; give one way to make the student")
        if self.lora_rank is not None and (self.config is not None or self.quantization_aware):
            other = "quantization_aware" if self.quantization_aware else "a fresh student"
            raise ValueError(f"lora_rank and {other}: updates change little of a trained weight; leave one out")
        return self

    @property
    def pairs_layers(self) -> bool:
        """Whether layers of the student are compared with layers of the teacher."""
        return bool(self.hidden_weight or self.attention_weight)
