"""What can be written under `steps:`: one frozen configuration per method, and nothing that loads torch.

The verbs live beside this file, one per method; `TRANSFORMS` in `compress.methods` maps one to the other.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from compress.config import Config
from compress.formats import BITS, GROUPED, Format

Fraction = Annotated[float, Field(gt=0, lt=1)]
Patterns = tuple[str, ...]

HEADS: Patterns = ("*classifier*", "*score*", "*lm_head*", "*pooler*", "*embed*")
"""Layers left alone unless asked for: small, sensitive, and some kernels refuse their shapes."""


class Layers(Config):
    """Which linear layers a step changes, by shell patterns on their names."""

    include: Patterns = ("*",)
    """Change layers whose name matches one of these."""
    exclude: Patterns = HEADS
    """But not those that match one of these."""
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other settings for layers that match a pattern, included or not: {"*.attention.*": {bits: 8}}. The first that
    matches counts."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return False

    @property
    def parts(self) -> tuple[Self, ...]:
        """This step for the layers without an override, then one for those of each override."""
        patterns = tuple(self.overrides)
        if not patterns:
            return (self,)
        made = [self.model_copy(update={"exclude": (*self.exclude, *patterns), "overrides": {}})]
        for index, (pattern, fields) in enumerate(self.overrides.items()):
            own = {"include": (pattern,), "exclude": (*self.exclude, *patterns[:index]), "overrides": {}}
            made.append(type(self).model_validate({**self.model_dump(), **fields, **own}))
        return tuple(made)

    @model_validator(mode="after")
    def _overrides_are_settings(self) -> Self:
        for pattern, fields in self.overrides.items():
            fixed = [name for name in fields if name in ("method", "structure", *Layers.model_fields)]
            if fixed:
                raise ValueError(f"overrides {pattern}: {fixed[0]} is one for the whole step; leave it out")
        try:
            assert self.parts
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"overrides: {where + ': ' if where else ''}{first['msg']}") from None
        return self


class Cast(Config):
    """Store and compute in half precision."""

    method: Literal["cast"] = "cast"
    dtype: Literal["fp16", "bf16"] = "bf16"
    """Half precision format; bf16 keeps the range of fp32."""


IMPORTANCES: dict[str, tuple[str, ...]] = {
    "feed_forward": ("magnitude", "activation", "taylor", "obd"),
    "heads": ("magnitude", "activation", "taylor", "obd"),
    "hidden": ("magnitude", "taylor", "obd"),
    "channels": ("magnitude", "taylor"),
    "layers": ("influence",),
    "unstructured": ("magnitude", "wanda", "sparsegpt"),
}
"""What can score each structure; the first is the one to begin with."""


class Prune(Layers):
    """Remove parameters: whole structures (smaller and faster) or single weights (masked: saves nothing by itself)."""

    method: Literal["prune"] = "prune"
    structure: Literal["feed_forward", "heads", "hidden", "channels", "layers", "unstructured"] = "feed_forward"
    """What is removed: feed-forward width, attention heads (with their key/value groups), hidden width, convolution
    channels, whole layers, or single weights set to zero."""
    fraction: Fraction = 0.25
    """Fraction of the parameters in the pruned structures that goes; width p removes about 1-(1-p)^2 of a square."""
    importance: Literal["magnitude", "activation", "taylor", "obd", "influence", "wanda", "sparsegpt"] = "magnitude"
    """Score of a structure: its weights' norm; the norm of what it adds to the outputs (activation); |weight x
    gradient| (taylor); weight^2 x gradient^2 (obd). Of a layer: how far it turns what goes through (influence). Of a
    single weight: its size, size times its input's norm (wanda), or effect on the layer's outputs, which others then
    make up for (sparsegpt)."""
    allocation: Literal["uniform", "global"] = "uniform"
    """Take as much from every layer, or the least important of all layers together (feed_forward and heads)."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """Prune in so many parts, and score again after each (feed_forward, hidden and unstructured)."""
    cost: Literal["parameters", "macs", "latency"] = "parameters"
    """What `fraction` is a fraction of: the structures' parameters; or multiplications, or measured time, of the whole
    model at the workload's headline point (feed_forward)."""
    pattern: Literal["free", "2:4"] = "free"
    """Where single weights go: anywhere, or two of every four in a row (fraction 0.5), as sparse tensor cores want."""
    calibration_examples: Annotated[int, Field(ge=1)] = 128
    """Training examples behind every importance but magnitude."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return self.importance != "magnitude" or self.cost != "parameters"

    @model_validator(mode="after")
    def _settings_fit_the_structure(self) -> "Prune":
        structure = self.structure
        known = IMPORTANCES[structure]
        if self.importance not in known:
            raise ValueError(
                f"importance {self.importance} does not score structure {structure}, which takes {' or '.join(known)}"
            )
        for name, plain, structures in (
            ("allocation", "uniform", ("feed_forward", "heads")),
            ("rounds", 1, ("feed_forward", "hidden", "unstructured")),
            ("cost", "parameters", ("feed_forward",)),
            ("pattern", "free", ("unstructured",)),
        ):
            value = getattr(self, name)
            if value != plain and structure not in structures:
                raise ValueError(f"{name} {value} is of structure {' or '.join(structures)}, not of {structure}")
        if self.pattern == "2:4" and (self.fraction != 0.5 or self.rounds != 1):
            raise ValueError(
                f"pattern 2:4 removes half of the weights at once, but fraction is {self.fraction} and rounds "
                f"{self.rounds}; give 0.5 and 1"
            )
        return self


class Quantize(Layers):
    """Store weights in 8 bits or fewer, and compute in them where the device has the kernels."""

    method: Literal["quantize"] = "quantize"
    bits: Literal[8, 4, 3, 2, 1] = 8
    """Bits that store one weight."""
    format: Literal["auto", Format] = "auto"
    """Numbers the weights become; auto takes the best format with kernels on the device, and says which. ternary (-a,
    0, a; 2 bits) and binary (-a, a; 1 bit) need training to keep accuracy."""
    backend: Literal["auto", "onnxruntime", "openvino", "torchao", "bitsandbytes", "quanto", "torch"] = "auto"
    """Library that does it; auto follows the table in `compress.formats`."""
    group_size: Literal[32, 64, 128, 256, "row", "tensor"] = 64
    """Weights that share one scale, in formats of 4 bits or fewer and in int8_weight; with backend torch also all of a
    row, or all of the layer."""
    rounding: Literal["nearest", "gptq", "hqq"] = "nearest"
    """Each weight by itself; columns in turn, later ones making up for earlier ones (GPTQ, arXiv:2210.17323); or with
    each group's zero moved until most weights fit (HQQ). All but nearest take backend torch."""
    scaling: Literal["none", "awq", "smoothquant"] = "none"
    """Scale up columns that large inputs meet before rounding (AWQ, arXiv:2306.00978; backend torch), or move outliers
    of inputs into the weights, where both are rounded (SmoothQuant, arXiv:2211.10438; format int8)."""
    smoothing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of the difficulty smoothquant moves from inputs to weights."""
    act_order: bool = False
    """Round the columns with the largest inputs first, in gptq."""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Part of the mean of the inputs' squares that gptq adds to each, so that their matrix can be inverted."""
    symmetric: bool = False
    """A grid that is even to both sides of zero, instead of one from the least to the most weight; in backend torch."""
    double_quant: bool = False
    """The scales of nf4 and fp4 in 8 bits too, 256 sharing one: 0.37 bits a weight less at group_size 64 (QLoRA)."""
    per_channel: bool = True
    """One scale per output channel instead of one per tensor, in int8 under onnxruntime."""
    calibration_examples: Annotated[int, Field(ge=1)] = 300
    """Training examples behind the activation scales of int8_static, gptq, awq and smoothquant."""
    threshold: Annotated[float, Field(ge=0)] = 6.0
    """Activations above this stay in half precision, in llm_int8 (Dettmers et al. 2022, arXiv:2208.07339)."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return self.rounding == "gptq" or self.scaling != "none" or self.format == "int8_static"

    @model_validator(mode="after")
    def _format_has_these_bits(self) -> "Quantize":
        if self.format != "auto" and BITS[self.format] != self.bits:
            raise ValueError(f"format {self.format} has {BITS[self.format]} bits, but bits is {self.bits}")
        ours = self._ours()
        if ours and self.backend not in ("auto", "torch"):
            raise ValueError(f"{ours[0]} is of backend torch; {self.backend} rounds in its own way")
        if ours and self.format not in ("auto", *GROUPED):
            raise ValueError(
                f"{ours[0]} is of the formats {', '.join(GROUPED)}; {self.format} is rounded in its own way"
            )
        if self.scaling == "smoothquant" and (self.bits != 8 or self.format not in ("auto", "int8")):
            raise ValueError(
                "scaling smoothquant is of the format int8, whose activations are rounded too (OpenVINO's int8_static "
                f"has it inside); got bits {self.bits}, format {self.format}"
            )
        if self.scaling != "smoothquant" and self.smoothing != 0.5:
            raise ValueError(f"smoothing is of scaling smoothquant, but scaling is {self.scaling}")
        fixed = self.symmetric or self.group_size == "tensor" or self.format in ("ternary", "binary")
        if self.rounding == "hqq" and fixed:
            raise ValueError(
                "rounding hqq moves the zero of each group, which symmetric, group_size tensor, ternary and binary "
                "fix; leave one out"
            )
        if self.double_quant and self.format not in ("nf4", "fp4"):
            raise ValueError(f"double_quant is of the formats nf4 and fp4, but format is {self.format}")
        if self.rounding != "gptq" and (self.act_order or self.damping != 0.01):
            raise ValueError(f"act_order and damping are of rounding gptq, but rounding is {self.rounding}")
        return self

    def _ours(self) -> list[str]:
        """Fields that are set to what only backend torch does."""
        plain = {"rounding": ("nearest",), "scaling": ("none", "smoothquant"), "symmetric": (False,)}
        ours = [name for name, values in plain.items() if getattr(self, name) not in values]
        return ours + ["group_size"] * isinstance(self.group_size, str)

    @property
    def wanted_format(self) -> str:
        """`format`, or int8 where only that one does what is asked."""
        return "int8" if self.scaling == "smoothquant" else self.format

    @property
    def wanted_backend(self) -> str:
        """`backend`, or torch where only that one does what is asked."""
        return "torch" if self._ours() and self.backend == "auto" else self.backend


class LowRank(Layers):
    """Replace a weight by the product of two thin ones (truncated SVD)."""

    method: Literal["lowrank"] = "lowrank"
    rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of every chosen layer."""
    parameters: Fraction | None = None
    """Or: fraction of each layer's parameters to keep; the rank follows from its shape."""
    energy: Fraction | None = None
    """Or: fraction of the squared singular values to keep; layers where that saves nothing stay dense."""
    allocation: Literal["uniform", "shared"] = "uniform"
    """Give every layer the same fraction of its parameters, or share one budget: most to layers that lose most."""
    weighting: Literal["plain", "activation", "whitened", "fisher"] = "plain"
    """Which error is least: of the weights; of weights scaled by input size (ASVD, arXiv:2312.05821); of the layer's
    outputs (SVD-LLM, arXiv:2403.07378); of weights scaled by their rows' Fisher information (arXiv:2207.00112)."""
    calibration_examples: Annotated[int, Field(ge=1)] = 256
    """Training examples behind a weighting other than plain."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return self.weighting != "plain"

    @model_validator(mode="after")
    def _one_way_to_choose_the_rank(self) -> "LowRank":
        given = [name for name in ("rank", "parameters", "energy") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set; give one of rank, parameters, energy")
        if self.allocation == "shared" and (self.rank is not None or self.energy is not None):
            raise ValueError("allocation shared divides a budget of parameters; give it by parameters")
        if self.allocation == "shared" and self.weighting != "whitened":
            raise ValueError("allocation shared compares errors of outputs; give weighting: whitened")
        return self

    @property
    def kept_parameters(self) -> float | None:
        """`parameters`, or its default of 0.7 when nothing is set."""
        return 0.7 if self.rank is self.parameters is self.energy is None else self.parameters


class Distill(Config):
    """Train a smaller student to answer like the dense model (Hinton et al. 2015, arXiv:1503.02531)."""

    method: Literal["distill"] = "distill"
    keep_every: Annotated[int, Field(ge=1)] = 1
    """Student takes every k-th layer (DistilBERT, arXiv:1910.01108); 1 keeps all of them: recovery after pruning."""
    keep: Fraction | None = None
    """Or this fraction of the layers, spread evenly from the first to the last."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Or exactly these layers, counted from 0."""
    config: dict[str, Any] | None = None
    """Or a fresh student: the model's configuration with these fields changed, initialised at random."""
    model: str | None = None
    """Or another pretrained model, by hub id or folder, with the same task, labels and tokenizer."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Softens both distributions before they are compared."""
    soft_weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the teacher's soft targets; the rest goes to the hard labels."""
    hidden_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the distance between hidden states of student and teacher layers."""
    hidden_loss: Literal["cosine", "mse"] = "cosine"
    """That distance: 1 - cosine, or the mean square; under mse a narrower student's states are first projected by a
    matrix that is trained along (TinyBERT, arXiv:1909.10351)."""
    attention_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared difference of attention scores of student and teacher layers (TinyBERT)."""
    relation_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the difference between the last layers' self-attention relations (MiniLMv2, arXiv:2012.15828); it needs
    no equal widths."""
    relation_heads: Annotated[int, Field(ge=1)] = 12
    """Heads that queries, keys and values are split into for that, in both models."""
    divergence: Literal["forward", "reverse"] = "forward"
    """Soft targets by KL(teacher || student), which covers all the teacher says, or KL(student || teacher), which keeps
    to what it says most (MiniLLM, arXiv:2306.08543)."""
    epochs: Annotated[float, Field(gt=0)] = 3
    """Passes over the training examples."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many optimizer steps, when the epochs would take longer."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Examples per optimizer step and device."""
    accumulation: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients are summed before an optimizer step, where one batch of that size would not fit."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Peak of a linear schedule with 6 % warm-up."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """AdamW; or Adafactor, which keeps far less beside each weight."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Hold 5 % of the training examples (at most 1,000) out, look at their loss every 100 steps, stop when it has not
    fallen so many times in a row, and take the best weights."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Train only thin updates of this rank to the linear layers, merged into them afterwards (LoRA, arXiv:2106.09685):
    little memory beside a big model."""
    quantization_aware: bool = False
    """Train the weights, and activations where they are quantized too, as the quantize step that comes next will make
    them; gradients pass straight through the rounding."""
    max_length: Annotated[int, Field(ge=8)] | None = None
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


Step = Annotated[Cast | Prune | Quantize | LowRank | Distill, Field(discriminator="method")]
STEPS: tuple[type[Config], ...] = get_args(get_args(Step)[0])
