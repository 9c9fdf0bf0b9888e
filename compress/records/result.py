"""What a run leaves behind, in frozen dataclasses.

Unknown is `None` with a reason beside it; it is never 0. Quantities carry their unit in their name.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from compress.base.display import Displayed
from compress.base.terminal import visible
from compress.records.fields import (
    FARTHEST,
    LARGE,
    STRICT,
    Count,
    Date,
    Name,
    Plain,
    Positive,
    Quantity,
    RecipeFacts,
    Several,
    WorkloadFacts,
    moment,
)
from compress.records.stats import Estimate

SCHEMA = 1
METRIC_CONTENT = "metric_content"
"""Key of `workload.resolved`: digest of a user's metric file; not there for metrics that come along."""
PADDED = " padded"
"""Ends the name of a reference whose batches have a fixed length."""

Grade = Literal["A", "B", "C", "D", "E"]
KernelLabel = Literal["real", "dequantized", "masked", "unknown"]
Word = Literal["SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE", "BROKEN", "NO VERDICT"]
Unit = Literal["points", "percent"]
UNITS: dict[str, Unit] = {
    "accuracy": "points",
    "f1": "points",
    "matthews_correlation": "points",
    "perplexity": "percent",
}
"""What differences of the metrics that come along are in."""
MOST_ROUNDS = 1000
ROUNDING = 1e-9
"""By which an interval's edge may pass its value, relative."""
MOST_EXAMPLES = 10_000_000


def _ordered(estimate: Estimate) -> Estimate:
    """Return an estimate whose value lies in its interval, rounding apart. Raises ValueError for another."""
    if not math.isfinite(estimate.value):
        return estimate  # whoever knows whether it may be so says it
    for less, more in ((estimate.low, estimate.value), (estimate.value, estimate.high)):
        if less > more and not math.isclose(less, more, rel_tol=ROUNDING):
            raise ValueError(
                f"value is {estimate.value!r}, its interval {estimate.low!r} to {estimate.high!r}; expected low, value "
                "and high in this order"
            )
    return estimate


def _positive(estimate: Estimate) -> Estimate:
    """Return an estimate of what is never 0 or less, from a number of rounds. Raises ValueError for another."""
    if not 1 / LARGE <= estimate.value <= LARGE:
        raise ValueError(f"value is {estimate.value!r}; expected a finite number over 0")
    if not (0 <= estimate.low <= LARGE or estimate.low == -math.inf) or not estimate.high >= 0:
        raise ValueError(f"its interval is {estimate.low!r} to {estimate.high!r}; expected numbers from 0 on")
    if not 1 <= estimate.n <= MOST_ROUNDS:
        raise ValueError(f"n is {estimate.n}; expected 1 to {MOST_ROUNDS} rounds")
    return _ordered(estimate)


def _near(name: str, estimate: Estimate) -> None:
    """Raises ValueError for figures that are finite and so large that arithmetic on them is not."""
    for figure in (estimate.value, estimate.low, estimate.high):
        if FARTHEST < abs(figure) < math.inf:
            raise ValueError(f"{name} has {figure!r}; expected numbers from {-FARTHEST:g} to {FARTHEST:g}")


def _repaid(estimate: Estimate) -> Estimate:
    """Return an estimate of inferences. Raises ValueError for one that is not a finite number from 0 on."""
    if not (0 <= estimate.value < math.inf and min(estimate.low, estimate.high) >= 0):
        raise ValueError(f"value is {estimate.value!r}, from {estimate.low!r} to {estimate.high!r}; expected a finite "
                         "number from 0 on")  # fmt: skip
    _near("it", estimate)
    return _ordered(estimate)


OfRounds = Annotated[Estimate, AfterValidator(_positive)]
"""Seconds, joules or a ratio, over rounds: above 0."""
Ordered = Annotated[Estimate, AfterValidator(_ordered)]
"""An estimate whose value lies in its interval."""
Inferences = Annotated[Estimate, AfterValidator(_repaid)]
"""A number of inferences, with an interval that may have no upper end."""


def _known(accuracy: "Accuracy") -> "Accuracy":
    """Return an accuracy whose figures are numbers where the outputs were, or which says why its value is none.

    Raises ValueError for another.
    """
    undefined = math.isnan(accuracy.estimate.value) and "estimate" in accuracy.reasons
    for name, estimate in (
        ("estimate", accuracy.estimate),
        ("delta", accuracy.delta),
        ("over_chance", accuracy.over_chance),
    ):
        if estimate is None or not accuracy.finite or (undefined and estimate is accuracy.estimate):
            continue
        if not math.isfinite(estimate.value):
            raise ValueError(f"{name}.value is {estimate.value!r}; expected a finite number")
        if math.isnan(estimate.low) or math.isnan(estimate.high):
            raise ValueError(f"the interval of {name} is NaN; expected numbers")
        _near(name, estimate)
    relative = UNITS.get(accuracy.metric) == "percent"
    if accuracy.metric in UNITS and accuracy.higher_is_better == relative:
        raise ValueError(f"higher_is_better is {relative}; expected {not relative} of {accuracy.metric}")
    n = accuracy.estimate.n
    if accuracy.right is not None and (n > MOST_EXAMPLES or int(accuracy.right, 16) >> n):
        raise ValueError(f"n is {n} examples; expected {MOST_EXAMPLES} at most, and no fewer than right has bits")
    return accuracy


@dataclass(frozen=True)
class Accuracy:
    """A metric on the test split, and its paired difference to the verdict's reference."""

    metric: Name
    estimate: Ordered
    higher_is_better: bool
    chance: Quantity | None
    """The metric of the best constant answer, for perplexity of a uniform guess over the vocabulary; None where the
    metric has no such floor."""
    finite: bool
    """False when any output was not finite."""
    reference: Name | None = None
    delta: Ordered | None = None
    """Ours minus the reference's: in the metric's own unit, or relative to the reference's value (`unit`)."""
    mcnemar_p: Quantity | None = None
    flip_rate: Quantity | None = None
    """Fraction of examples answered differently from the reference."""
    bits_per_byte: Quantity | None = None
    batch_size: Several | None = None
    order: str | None = None
    batch_sensitivity: Quantity | None = None
    """Fraction of answers that differ between batch 1 and batch 32; None where activations are not dynamic."""
    right: Annotated[str, Field(max_length=MOST_EXAMPLES, pattern="^[0-9a-f]+$")] | None = None
    """Which examples were answered rightly: a hexadecimal number whose lowest bit is the first example."""
    unit: Unit | None = None
    """points: `delta` is a difference, a point is a hundredth of `scale`; percent: it is relative. None: a difference
    in a unit that older versions did not record."""
    scale: Positive = 1.0
    """The whole that points are hundredths of: 1 for a fraction, 100 for BLEU."""
    variant: str | None = None
    """Which of its forms a metric took on this test split: F1 of one class, or the mean over several."""
    over_chance: Estimate | None = None
    """Of the reference of verdicts: its metric less that of the best constant answer, on the same examples. None for
    others, for metrics without such an answer, and in results of versions that did not compare them."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Field -> why it is None; `estimate` and `interval`: why its value or interval is not known; `over_chance`: why
    the test split cannot show it."""

    def __post_init__(self) -> None:
        """Results of older versions: the unit follows from the metric, or from a direction that was relative."""
        if self.unit is None:
            object.__setattr__(self, "unit", UNITS.get(self.metric, None if self.higher_is_better else "percent"))

    @property
    def known(self) -> bool:
        """Whether the metric has a value on this test split."""
        return self.finite and math.isfinite(self.estimate.value)


@dataclass(frozen=True)
class Percentiles:
    """Latency per batch in seconds, over all batches of all windows."""

    p50: Quantity
    p90: Quantity
    p99: Quantity | None
    """None under 300 samples."""
    n: Count


@dataclass(frozen=True)
class Ratio:
    """Ours / reference, paired by round, unadjusted."""

    reference: Name
    latency: OfRounds
    energy: OfRounds | None
    min_detectable: Quantity | None
    """Smallest relative difference of latency that these rounds would have found."""
    min_detectable_energy: Quantity | None = None
    grade: Grade | None = None
    """Of the ratio of energies: the worse of ours and the reference's."""
    grade_reasons: tuple[str, ...] = ()
    """What lowers the reference's grade; ours stands with the point."""


@dataclass(frozen=True)
class Round:
    """One window of one runner: raw, so that every figure can be recomputed."""

    index: Count
    order: Count
    started_s: Quantity
    duration_s: Positive
    batches: Several
    gap_s: Quantity
    """Time inside the window that was not spent in a batch."""
    energy_j: Quantity | None
    cpu_s: Quantity
    integrated_j: Quantity | None = None
    """Instant power integrated over the same window: what checks the counter."""


@dataclass(frozen=True)
class Verdict:
    """A word, the sentence that carries it, and the cause where it is known."""

    word: Word
    sentence: str
    cause: str = ""


@dataclass(frozen=True)
class Point:
    """One operating point: batch size x sequence length."""

    batch_size: Several
    sequence_length: Several | None
    phase: str | None
    headline: bool
    latency_s: OfRounds
    """Seconds per batch."""
    latency_percentiles_s: Percentiles
    throughput_per_s: OfRounds
    """Examples per second."""
    energy_j: OfRounds | None
    """Joules per example, gross."""
    energy_idle_j: Quantity | None
    energy_net_j: Quantity | None
    energy_source: Literal["nvml", "rapl", "modelled", "external"] | None
    energy_reason: str | None
    grade: Grade | None
    grade_reasons: tuple[str, ...]
    ratios: tuple[Ratio, ...]
    verdict: Verdict | None
    rounds: tuple[Round, ...]
    energy_boundary: str | None = None
    """What the joules cover: a board, the CPU packages, a whole computer."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Field -> why it is None."""
    generated_tokens: Several | None = None
    """Tokens that every example of a decoding point generates, after `sequence_length` tokens that are in the cache."""
    energy_gain: Quantity | None = None
    """Relative error of the meter itself, beside the interval: it cancels in ratios, and never averages out."""

    @property
    def energy_per_token_j(self) -> Estimate | None:
        """Joules per generated token, or else per token of text: points are packed, so none is padding."""
        e, length = self.energy_j, self.generated_tokens or self.sequence_length
        return Estimate(e.value / length, e.low / length, e.high / length, e.n) if e and length else None

    def ratio(self, reference: str) -> Ratio | None:
        """The ratio to the reference of this name."""
        return next((r for r in self.ratios if r.reference == reference), None)


@dataclass(frozen=True)
class Size:
    """What the model weighs; `memory` is resident after loading, `peak` adds one batch, both above an empty process."""

    parameters: Count
    nonzero: Count
    stored_bytes: Count
    memory_bytes: Count | None
    peak_memory_bytes: Count | None
    reason: str | None = None


@dataclass(frozen=True)
class Operator:
    """One operator of the profiled batch and its share of the time."""

    name: str
    share: Quantity


@dataclass(frozen=True)
class Kernel:
    """What really ran, from a profiled batch of the reloaded artifact."""

    label: KernelLabel
    evidence: tuple[Operator, ...]
    cause: str = ""


BY_DESIGN = ("embeddings", "head", "norms and biases")
"""Kinds of weights that steps leave unless asked for them."""


@dataclass(frozen=True)
class Shares:
    """Of the parameters that a model had before a step, tied ones once: what the step changed, and what it left."""

    changed: Quantity
    left: dict[str, Quantity] = field(default_factory=dict)
    """Kind of weights -> share. Kinds are those of `BY_DESIGN`, linear layers, convolutions, and classes of modules."""

    @property
    def missed(self) -> float:
        """The share that was left and not by design, of all parameters but those left by design."""
        designed = sum(share for kind, share in self.left.items() if kind in BY_DESIGN)
        return (1 - self.changed - designed) / (1 - designed) if designed < 1 else 0.0

    def __str__(self) -> str:
        """As a person reads it: 93 % of the parameters; left: embeddings 5 %, head 2 %."""
        ordered = sorted(self.left.items(), key=lambda item: -item[1])
        left = ", ".join(f"{kind} {_percent(share)}" for kind, share in ordered)
        return f"{_percent(self.changed)} of the parameters" + (f"; left: {left}" if left else "")


def _percent(share: float) -> str:
    """Two digits of a share, such as 93 %, 2.1 % or 0.04 %; neither all nor nothing is said of less."""
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f} %"
    if percent >= 99.5:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


@dataclass(frozen=True)
class StepCost:
    """What one step cost the user, as metered around it."""

    method: str
    seconds: Quantity
    energy_j: Quantity | None
    changed_layers: Count
    note: str = ""
    shares: Shares | None = None
    """None where they are not known: in results of versions that did not count, and of a step on an exported graph."""


@dataclass(frozen=True)
class Transform:
    """What compressing cost, interrupted attempts included."""

    seconds: Quantity
    energy_j: Quantity | None
    energy_source: str | None
    energy_reason: str | None
    interruptions: Count
    steps: tuple[StepCost, ...]
    energy_boundary: str | None = None
    energy_error: Quantity = 0.0
    """How far the counter's movements at the edges may have shifted the joules, relative."""
    energy_at_most_j: Quantity | None = None
    """Bound of joules that are not known because the work was short."""


@dataclass(frozen=True)
class BreakEven:
    """Inferences after which compressing has paid back, or at the latest (`at_most`), or None and why."""

    inferences: Inferences | None
    unit: Literal["joules", "seconds"] | None
    point: str
    reason: str | None
    at_most: Quantity | None = None
    """Where only a bound of what compressing cost is known."""


@dataclass(frozen=True)
class Layer:
    """What one layer became, as its artifact says it; None where a field does not apply or is not known."""

    name: str
    """Empty for what holds for the whole model."""
    format: str | None = None
    bits: Count | None = None
    dtype: str | None = None
    rank: Count | None = None
    sparsity: Quantity | None = None
    shape: tuple[Count, ...] | None = None
    """Of its weight, as it is stored."""
    stored_bytes: Count | None = None
    """Bytes of its own tensors; None inside an exported graph."""


Judged = Annotated[Accuracy, AfterValidator(_known)]
"""An accuracy whose figures are numbers where the outputs were."""


@dataclass(frozen=True)
class Reference:
    """An uncompressed row of the same session."""

    name: Name
    verdict_reference: bool
    """True for the one that verdicts are spoken against."""
    accuracy: Judged
    points: tuple[Point, ...]
    size: Size
    kernel: Kernel


@dataclass(frozen=True)
class Machine:
    """Where it ran."""

    id: Name
    device: Name
    device_name: Name
    uuid: str | None
    details: Plain
    versions: dict[str, str]


@dataclass(frozen=True)
class Result(Displayed):
    """The row a recipe leaves on one workload and one machine."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    schema: int
    name: Name
    fingerprint: Name
    created: Date
    code_version: Name
    seed: Count
    recipe: RecipeFacts
    workload: WorkloadFacts
    machine: Machine
    session: Name
    runtime: str = ""
    limit: Several | None = None
    """Test examples taken, when `--limit` took fewer than all."""
    accuracy: Judged | None = None
    points: tuple[Point, ...] = ()
    size: Size | None = None
    kernel: Kernel | None = None
    transform: Transform | None = None
    breakeven: BreakEven | None = None
    verdict: Verdict | None = None
    references: tuple[Reference, ...] = ()
    carbon: Plain | None = None
    trace: str | None = None
    artifact: str | None = None
    artifact_sha256: str | None = None
    """Of the artifact's manifest, which holds that of every file: what was judged is what was measured and kept."""
    layers: tuple[Layer, ...] | None = None
    """What every changed layer became; None in results of versions that did not record it."""
    notes: tuple[str, ...] = ()
    """What was picked or replaced on the user's behalf, one sentence each."""
    error: str | None = None

    @property
    def moment(self) -> datetime:
        """When it was created: what comparisons of age read, as zones differ."""
        return moment(self.created)

    @property
    def reason(self) -> str:
        """Why the recipe failed: the first line of its error, or that it has none."""
        lines = (line.strip() for line in (self.error or "").splitlines())
        return next(filter(None, lines), "without a message")

    @property
    def headline(self) -> Point | None:
        """The operating point that verdict, front and table speak of."""
        return next((p for p in self.points if p.headline), None)

    @property
    def verdict_reference(self) -> Reference | None:
        """The reference that the verdict is spoken against."""
        return next((r for r in self.references if r.verdict_reference), None)

    def __repr__(self) -> str:
        """Short: the whole is in the file."""
        judged = self.verdict.sentence if self.verdict else "no verdict"
        said = judged if self.error is None else f"failed: {self.reason}"
        place = f"{self.name} on {self.workload.get('name', 'workload')}, machine {self.machine.id}"
        return visible(f"<Result {place}: {said}>")
