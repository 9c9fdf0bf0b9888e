"""What a run leaves behind, in frozen dataclasses.

Unknown is `None` with a reason beside it; it is never 0. Quantities carry their unit in their name.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from compress.stats import Estimate
from compress.terminal import visible

SCHEMA = 1
PADDED = " padded"
"""Ends the name of a reference whose batches have a fixed length."""

Grade = Literal["A", "B", "C", "D", "E"]
KernelLabel = Literal["real", "dequantized", "masked", "unknown"]
Word = Literal["SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE", "BROKEN"]


@dataclass(frozen=True)
class Accuracy:
    """A metric on the test split, and its paired difference to the verdict's reference."""

    metric: str
    estimate: Estimate
    higher_is_better: bool
    chance: float | None
    """The metric of always answering the majority class; None where the metric has no such floor."""
    finite: bool
    """False when any output was not finite."""
    reference: str | None = None
    delta: Estimate | None = None
    """Ours minus the reference's, in the metric's own unit; for perplexity the ratio minus 1."""
    mcnemar_p: float | None = None
    flip_rate: float | None = None
    """Fraction of examples answered differently from the reference."""
    bits_per_byte: float | None = None
    batch_size: int | None = None
    order: str | None = None
    batch_sensitivity: float | None = None
    """Fraction of answers that differ between batch 1 and batch 32; None where activations are not dynamic."""
    right: str | None = None
    """Which examples were answered rightly: a hexadecimal number whose lowest bit is the first example."""
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Percentiles:
    """Latency per batch in seconds, over all batches of all windows."""

    p50: float
    p90: float
    p99: float | None
    """None under 300 samples."""
    n: int


@dataclass(frozen=True)
class Ratio:
    """Ours / reference, paired by round, unadjusted."""

    reference: str
    latency: Estimate
    energy: Estimate | None
    min_detectable: float | None
    """Smallest relative difference of latency that these rounds would have found."""
    min_detectable_energy: float | None = None
    grade: Grade | None = None
    """Of the ratio of energies: the worse of ours and the reference's."""
    grade_reasons: tuple[str, ...] = ()
    """What lowers the reference's grade; ours stands with the point."""


@dataclass(frozen=True)
class Round:
    """One window of one runner: raw, so that every figure can be recomputed."""

    index: int
    order: int
    started_s: float
    duration_s: float
    batches: int
    gap_s: float
    """Time inside the window that was not spent in a batch."""
    energy_j: float | None
    cpu_s: float
    integrated_j: float | None = None
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

    batch_size: int
    sequence_length: int | None
    phase: str | None
    headline: bool
    latency_s: Estimate
    """Seconds per batch."""
    latency_percentiles_s: Percentiles
    throughput_per_s: Estimate
    """Examples per second."""
    energy_j: Estimate | None
    """Joules per example, gross."""
    energy_idle_j: float | None
    energy_net_j: float | None
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
    generated_tokens: int | None = None
    """Tokens that every example of a decoding point generates, after `sequence_length` tokens that are in the cache."""
    energy_gain: float | None = None
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

    parameters: int
    nonzero: int
    stored_bytes: int
    memory_bytes: int | None
    peak_memory_bytes: int | None
    reason: str | None = None


@dataclass(frozen=True)
class Operator:
    """One operator of the profiled batch and its share of the time."""

    name: str
    share: float


@dataclass(frozen=True)
class Kernel:
    """What really ran, from a profiled batch of the reloaded artifact."""

    label: KernelLabel
    evidence: tuple[Operator, ...]
    cause: str = ""


@dataclass(frozen=True)
class StepCost:
    """What one step cost the user, as metered around it."""

    method: str
    seconds: float
    energy_j: float | None
    changed_layers: int
    note: str = ""


@dataclass(frozen=True)
class Transform:
    """What compressing cost, interrupted attempts included."""

    seconds: float
    energy_j: float | None
    energy_source: str | None
    energy_reason: str | None
    interruptions: int
    steps: tuple[StepCost, ...]
    energy_boundary: str | None = None
    energy_error: float = 0.0
    """How far the counter's movements at the edges may have shifted the joules, relative."""
    energy_at_most_j: float | None = None
    """Bound of joules that are not known because the work was short."""


@dataclass(frozen=True)
class BreakEven:
    """Inferences after which compressing has paid back, or at the latest (`at_most`), or None and why."""

    inferences: Estimate | None
    unit: Literal["joules", "seconds"] | None
    point: str
    reason: str | None
    at_most: float | None = None
    """Where only a bound of what compressing cost is known."""


@dataclass(frozen=True)
class Layer:
    """What one layer became, as its artifact says it; None where a field does not apply or is not known."""

    name: str
    """Empty for what holds for the whole model."""
    format: str | None = None
    bits: int | None = None
    dtype: str | None = None
    rank: int | None = None
    sparsity: float | None = None
    shape: tuple[int, ...] | None = None
    """Of its weight, as it is stored."""
    stored_bytes: int | None = None
    """Bytes of its own tensors; None inside an exported graph."""


@dataclass(frozen=True)
class Reference:
    """An uncompressed row of the same session."""

    name: str
    verdict_reference: bool
    """True for the one that verdicts are spoken against."""
    accuracy: Accuracy
    points: tuple[Point, ...]
    size: Size
    kernel: Kernel


@dataclass(frozen=True)
class Machine:
    """Where it ran."""

    id: str
    device: str
    device_name: str
    uuid: str | None
    details: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Result:
    """The row a recipe leaves on one workload and one machine."""

    schema: int
    name: str
    fingerprint: str
    created: str
    code_version: str
    seed: int
    recipe: dict[str, Any]
    workload: dict[str, Any]
    machine: Machine
    session: str
    runtime: str = ""
    limit: int | None = None
    """Test examples taken, when `--limit` took fewer than all."""
    accuracy: Accuracy | None = None
    points: tuple[Point, ...] = ()
    size: Size | None = None
    kernel: Kernel | None = None
    transform: Transform | None = None
    breakeven: BreakEven | None = None
    verdict: Verdict | None = None
    references: tuple[Reference, ...] = ()
    carbon: dict[str, Any] | None = None
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
    def headline(self) -> Point | None:
        """The operating point that verdict, front and table speak of."""
        return next((p for p in self.points if p.headline), None)

    @property
    def verdict_reference(self) -> Reference | None:
        """The reference that the verdict is spoken against."""
        return next((r for r in self.references if r.verdict_reference), None)

    def __repr__(self) -> str:
        """Short: the whole is in the file."""
        error = next(iter((self.error or "").splitlines()), None)
        said = f"failed: {error}" if self.error is not None else self.verdict.sentence if self.verdict else "no verdict"
        place = f"{self.name} on {self.workload.get('name', 'workload')}, machine {self.machine.id}"
        return visible(f"<Result {place}: {said}>")

    def __rich__(self) -> Any:
        from compress.report.inline import result_table

        return result_table(self)

    def _repr_html_(self) -> str:
        from compress.report.html import result_html

        return result_html(self)
