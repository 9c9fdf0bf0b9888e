"""What a run leaves behind, in frozen dataclasses.

Unknown is `None` with a reason beside it; it is never 0. Quantities carry their unit in their name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from compress.base.display import Displayed
from compress.base.terminal import visible
from compress.records.accuracy import Accuracy, Judged
from compress.records.fields import (
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
from compress.records.rules import UNITS, OfRounds, Unit
from compress.records.sample import EnergySource
from compress.records.stats import Estimate
from compress.records.transform import BY_DESIGN, BreakEven, Shares, StepCost, Transform

__all__ = [
    "BY_DESIGN",
    "PADDED",
    "SCHEMA",
    "UNITS",
    "Accuracy",
    "BreakEven",
    "Grade",
    "Judged",
    "Kernel",
    "KernelLabel",
    "Layer",
    "Machine",
    "Operator",
    "Percentiles",
    "Point",
    "Ratio",
    "Reference",
    "Result",
    "Round",
    "Shares",
    "Size",
    "StepCost",
    "Transform",
    "Unit",
    "Verdict",
    "Word",
]

SCHEMA = 1
METRIC_CONTENT = "metric_content"
"""Key of `workload.resolved`: digest of a user's metric file; not there for metrics that come along."""
PADDED = " padded"
"""Ends the name of a reference whose batches have a fixed length."""

Grade = Literal["A", "B", "C", "D", "E"]
KernelLabel = Literal["real", "dequantized", "masked", "unknown"]
Word = Literal["SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE", "BROKEN", "NO VERDICT"]


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
    energy_source: EnergySource | None
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

    @property
    def headline(self) -> Point | None:
        """The point that verdicts compare with a result's headline; None where it was not measured."""
        return _headline(self.points)


def _headline(points: Iterable[Point]) -> Point | None:
    return next((point for point in points if point.headline), None)


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
        return _headline(self.points)

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
