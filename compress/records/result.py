"""Records of a run, as frozen dataclasses.

An unknown value is `None` with a reason in another field; it is never 0. Quantities have their unit in their name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from compress.base.device import Device
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
"""Key of `workload.resolved`: digest of a user's metric file; absent for built-in metrics."""
PADDED = " padded"
"""Suffix of the name of a reference with batches padded to a fixed length."""

Grade = Literal["A", "B", "C", "D", "E"]
KernelLabel = Literal["real", "dequantized", "masked", "unknown"]
Word = Literal["SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE", "BROKEN", "NO VERDICT"]


@dataclass(frozen=True)
class Percentiles:
    """Latency per batch in seconds, over all batches of all windows."""

    p50: Quantity
    p90: Quantity
    p99: Quantity | None
    """None below 300 samples."""
    n: Count


@dataclass(frozen=True)
class Ratio:
    """Ratios of this model to a reference, paired by round, without adjustment for multiple comparisons."""

    reference: Name
    latency: OfRounds
    energy: OfRounds | None
    min_detectable: Quantity | None
    """Smallest relative difference of latency that these rounds could have detected."""
    min_detectable_energy: Quantity | None = None
    grade: Grade | None = None
    """Grade of the energy ratio: the worse of the two grades."""
    grade_reasons: tuple[str, ...] = ()
    """Reasons that lower the reference's grade; those of this model are with its point."""


@dataclass(frozen=True)
class Round:
    """Raw figures of one window of one runner, so that every result can be recomputed."""

    index: Count
    order: Count
    started_s: Quantity
    duration_s: Positive
    batches: Several
    gap_s: Quantity
    """Seconds of the window outside of batches."""
    energy_j: Quantity | None
    cpu_s: Quantity
    integrated_j: Quantity | None = None
    """Integral of instant power over the same window, to check the counter."""


@dataclass(frozen=True)
class Verdict:
    """Word and sentence of a verdict, and its cause if known."""

    word: Word
    sentence: str
    cause: str = ""


@dataclass(frozen=True)
class Point:
    """Figures of one operating point: batch size x sequence length."""

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
    """Measurement boundary of the joules: a board, the CPU packages, a whole computer."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Field -> reason why it is None."""
    generated_tokens: Several | None = None
    """Tokens generated per example of a decoding point, after `sequence_length` tokens in the cache."""
    energy_gain: Quantity | None = None
    """Relative gain error of the meter, not in the interval: it cancels in ratios, but does not average out."""

    @property
    def energy_per_token_j(self) -> Estimate | None:
        """Joules per generated token, otherwise per input token; batches are packed, so no token is padding."""
        e, length = self.energy_j, self.generated_tokens or self.sequence_length
        return Estimate(e.value / length, e.low / length, e.high / length, e.n) if e and length else None

    def ratio(self, reference: str) -> Ratio | None:
        """Return the ratio to the reference of this name."""
        return next((r for r in self.ratios if r.reference == reference), None)


@dataclass(frozen=True)
class Size:
    """Size of the model. `memory` is resident after loading, `peak` adds one batch; both without an empty process."""

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
    """Operators that ran in a profiled batch of the reloaded artifact."""

    label: KernelLabel
    evidence: tuple[Operator, ...]
    cause: str = ""


@dataclass(frozen=True)
class Layer:
    """Result of compressing one layer, from its artifact; None if a field does not apply or is unknown."""

    name: str
    """Name of the layer; empty for the whole model."""
    format: str | None = None
    bits: Count | None = None
    dtype: str | None = None
    rank: Count | None = None
    sparsity: Quantity | None = None
    shape: tuple[Count, ...] | None = None
    """Shape of the weight as stored."""
    stored_bytes: Count | None = None
    """Bytes of the layer's tensors; None inside an exported graph."""


@dataclass(frozen=True)
class Reference:
    """An uncompressed row of the same session."""

    name: Name
    verdict_reference: bool
    """True for the reference that verdicts compare with."""
    accuracy: Judged
    points: tuple[Point, ...]
    size: Size
    kernel: Kernel

    @property
    def headline(self) -> Point | None:
        """The headline point, which verdicts compare with that of a result; None if it was not measured."""
        return _headline(self.points)


def _headline(points: Iterable[Point]) -> Point | None:
    return next((point for point in points if point.headline), None)


@dataclass(frozen=True)
class Machine:
    """Machine and device of a result."""

    id: Name
    device: Name
    device_name: Name
    uuid: str | None
    details: Plain
    versions: dict[str, str]

    @property
    def target(self) -> Device:
        """The device as a value. The field keeps its text: results of devices unknown here are still read."""
        return Device.parse(self.device)


@dataclass(frozen=True)
class Result(Displayed):
    """Result of one recipe on one workload and one machine: one row of a table."""

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
    """Number of test examples, if `--limit` took fewer than all."""
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
    """SHA-256 of the artifact's manifest, which has that of every file: it identifies the measured artifact."""
    layers: tuple[Layer, ...] | None = None
    """Changed layers; None in results of older versions, which did not record them."""
    notes: tuple[str, ...] = ()
    """Automatic choices and replacements, one sentence each."""
    error: str | None = None

    @property
    def moment(self) -> datetime:
        """Time of creation, for comparisons of age across time zones."""
        return moment(self.created)

    @property
    def reason(self) -> str:
        """Reason why the recipe failed: the first line of its error, or `without a message`."""
        lines = (line.strip() for line in (self.error or "").splitlines())
        return next(filter(None, lines), "without a message")

    @property
    def headline(self) -> Point | None:
        """The operating point of verdict, front and table."""
        return _headline(self.points)

    @property
    def verdict_reference(self) -> Reference | None:
        """The reference that the verdict compares with."""
        return next((r for r in self.references if r.verdict_reference), None)

    def __repr__(self) -> str:
        """Return one line; all fields are in the file."""
        sentence = self.verdict.sentence if self.verdict else "no verdict"
        summary = sentence if self.error is None else f"failed: {self.reason}"
        place = f"{self.name} on {self.workload.get('name', 'workload')}, machine {self.machine.id}"
        return visible(f"<Result {place}: {summary}>")
