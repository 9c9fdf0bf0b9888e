"""Records of a run, as frozen dataclasses.

An unknown value is `None` with a reason in another field; it is never 0. Quantities have their unit in their name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from compress.base.device import Device
from compress.base.display import Displayed
from compress.base.limits import Margin, Unit, parse_limit
from compress.base.terminal import visible
from compress.records.accuracy import Accuracy, Judged
from compress.records.fields import (
    STRICT,
    Count,
    Date,
    Name,
    Plain,
    Quantity,
    RecipeFacts,
    Several,
    Spread,
    WorkloadFacts,
    moment,
)
from compress.records.generation import Generation
from compress.records.point import Grade, Percentiles, Point, Ratio, Round, Verdict, Word
from compress.records.rules import UNITS
from compress.records.stats import SESSION_SPREAD
from compress.records.transform import BY_DESIGN, BreakEven, Shares, StepCost, Transform
from compress.spec.measure import Settings

__all__ = [
    "BY_DESIGN",
    "PADDED",
    "READABLE",
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
    "STATIC",
    "StepCost",
    "Transform",
    "Unit",
    "Verdict",
    "Word",
]

SCHEMA = 2
READABLE = (1, 2)
"""Schemas that this version reads."""
METRIC_CONTENT = "metric_content"
"""Key of `workload.resolved`: digest of a user's metric file; absent for built-in metrics."""
PADDED = " padded"
"""Suffix of the name of a reference with batches padded to a fixed length."""
STATIC = " with static cache"
"""Suffix of the name of a reference whose cache is static."""

KernelLabel = Literal["real", "dequantized", "masked", "unknown"]


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
    generation: Generation | None = None
    """Its greedy text; None for a model that writes none, and in results of older versions."""

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
    generation: Generation | None = None
    """Its greedy text against the reference's; None for a model that writes none, and in results of older versions."""
    size: Size | None = None
    kernel: Kernel | None = None
    transform: Transform | None = None
    breakeven: BreakEven | None = None
    verdict: Verdict | None = None
    references: tuple[Reference, ...] = ()
    carbon: Plain | None = None
    trace: str | None = None
    further_traces: tuple[str, ...] = ()
    """Traces of the second and further sessions; accuracy, kernels and memory come from the first."""
    session_spread: Spread = SESSION_SPREAD
    """Assumed standard deviation of log cost ratios between sessions, for comparisons of a single session."""
    artifact: str | None = None
    artifact_sha256: str | None = None
    """SHA-256 of the artifact's manifest, which has that of every file: it identifies the measured artifact."""
    layers: tuple[Layer, ...] | None = None
    """Changed layers; None in results of older versions, which did not record them."""
    notes: tuple[str, ...] = ()
    """Automatic choices and replacements, one sentence each."""
    error: str | None = None
    margin: Margin | None = None
    """Largest difference of the metric that counts as equal, as the recipe states it; None: 0.5 points or 0.5 %."""
    settings: Settings | None = None
    """Settings of its sessions by value; None if no session was measured, and in results of older versions."""

    def __post_init__(self) -> None:
        """Raise ValueError for a margin whose unit is not that of the metric's differences."""
        if self.margin is not None and self.accuracy is not None:
            unit = parse_limit(self.margin, "margin")[1]
            if unit != self.accuracy.unit:
                raise ValueError(f"margin is {self.margin}; expected {self.accuracy.unit} for {self.accuracy.metric}")

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
    def traces(self) -> tuple[str, ...]:
        """The traces of all sessions."""
        return () if self.trace is None else (self.trace, *self.further_traces)

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
