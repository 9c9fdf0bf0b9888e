"""The raw figures of one session: what its process measures, its trace keeps and every result is computed from.

    Session  runners: Runner  outcomes of every example, kernel, memory
                              points: RunnerPoint  windows: Window (batches, readings at both edges)
             meter, idle, samples of the meter, and what all of it is judged by

Times are integers in nanoseconds of one monotonic clock, energies integers in microjoules: sums are exact. A default
is what a trace of an older version lacks. The types are also what `compress.records.trace` checks session.json with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WrapSerializer

from compress.records.compressing import Compressing
from compress.records.fields import STRICT, Count, Name, Positive, Quantity, Several, Whole
from compress.records.result import Kernel
from compress.records.sample import EnergySource, Sample, sample_rows


def _unset(value: object) -> bool:
    return value is None


Row = Annotated[Sample, PlainSerializer(lambda sample: sample_rows([sample])[0])]


def _forward(span: "IdleTime") -> "IdleTime":
    if span.ended_ns <= span.started_ns:
        raise ValueError("ends before it starts")
    return span


@dataclass(frozen=True)
class IdleTime:
    """Readings of a time in which nothing ran here."""

    started_ns: Whole
    ended_ns: Whole
    start_uj: Count | None
    end_uj: Count | None
    samples: tuple[Row, ...]


Forward = Annotated[IdleTime, AfterValidator(_forward)]


@dataclass(frozen=True)
class Idle:
    """Idle times before this process opened the device, and with all models loaded. None without a meter."""

    before: Forward | None = None
    loaded: Forward | None = None


@dataclass(frozen=True)
class MeterFacts:
    """What a result states of its meter."""

    source: EnergySource | None = None
    """None without a meter: see `absent`."""
    absent: str | None = None
    """Why there is no meter."""
    boundary: str | None = None
    measured: bool = False
    """False for a model of a machine without a meter."""
    step_s: Positive | None = None
    """Longest time between two updates of the counter; None if it updates too often to matter."""
    integrated: bool = False
    doctor: str | None = None
    """When `doctor` examined the meter."""
    like_another: bool = False
    misread: Quantity | None = None
    why_modelled: str | None = None
    watts_per_core: Quantity | None = None
    basis: str | None = None
    sampling_error: str | None = None
    """Why sampling ended before its time."""
    sampling_cpu_s: Quantity | None = None
    calibration: str | None = None
    """Of an external meter: who calibrated it and when."""
    gain: Quantity | None = None
    """Of an external meter: its relative error."""
    beside: EnergySource | None = None
    """Source of the device's own samples that are kept with those of an external meter."""


_SAMPLING = ("sampling_error", "sampling_cpu_s")
_EXTERNAL = ("source", "boundary", "measured", "step_s", "calibration", "gain", "beside")
_OWN = ("source", "boundary", "measured", "step_s", "integrated", "doctor", "like_another", "misread", "why_modelled",
        "watts_per_core", "basis", *_SAMPLING)  # fmt: skip


def _of_its_kind(meter: MeterFacts, plain: Any) -> dict[str, Any]:
    """Return the plain facts that apply to this kind of meter."""
    kinds = {None: ("absent", *_SAMPLING), "external": _EXTERNAL}
    whole = plain(meter)
    return {key: whole[key] for key in kinds.get(meter.source, _OWN)}


@dataclass(frozen=True)
class Shape:
    """An operating point: batch size x sequence length, and tokens that are generated after it."""

    batch_size: Several
    sequence_length: Several | None
    generate: Several | None = None


@dataclass(frozen=True)
class Window:
    """One window of one runner. Counts are None without a meter, or of one that moves in steps."""

    started_ns: int
    ended_ns: int
    batch_ns: tuple[int, ...]
    cpu_ns: int
    start_uj: int | None
    end_uj: int | None
    index: int = 0
    """Number of its round."""
    order: int = 0
    """Its place in that round."""

    @property
    def duration_ns(self) -> int:
        """From its first batch to its last."""
        return self.ended_ns - self.started_ns

    @property
    def duration_s(self) -> float:
        """The same in seconds."""
        return self.duration_ns / 1e9

    @property
    def batch_s(self) -> float:
        """Mean seconds a batch."""
        return self.duration_s / len(self.batch_ns)


@dataclass(frozen=True)
class RunnerPoint:
    """One runner at one operating point: its windows, one a round, or why it has none."""

    point: Shape
    windows: Annotated[tuple[Window, ...], Field(exclude=True)] = ()
    lacking: str | None = None
    """Why nothing was measured here; the rest is None or 0 then."""
    steady: bool | None = None
    """Whether latency was steady when warm-up ended."""
    settled: bool | None = None
    """Whether temperature and power were; None where the device tells no temperature."""
    foreign_cores: Quantity | None = None
    """Cores that other processes kept busy; None where the system does not tell."""
    stolen_cores: Quantity | None = None
    """Cores that the host of a virtual machine gave to others."""
    throttled_periods: Count = 0
    """Periods in which a control group's quota stopped this process."""
    throttled_s: Quantity = 0.0


def _measured_or_lacking(point: RunnerPoint, plain: Any) -> dict[str, Any]:
    """Return the plain facts of a point: its figures, or its reason for having none."""
    return {key: value for key, value in plain(point).items()
            if (key in ("point", "lacking") if point.lacking is not None else key != "lacking")}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Bytes after loading, and at the peak of one batch; or why they are not known."""

    memory_bytes: Annotated[Count | None, Field(exclude_if=_unset)] = None
    peak_memory_bytes: Annotated[Count | None, Field(exclude_if=_unset)] = None
    reason: Annotated[str | None, Field(exclude_if=_unset)] = None


def _columns(names: Any) -> dict[str, tuple[float, ...]]:
    """Return columns without rows, which are in a table of their own."""
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= 300 for name in names):
        raise ValueError("expected a list of names")
    return dict.fromkeys(names, ())


Outcomes = Annotated[Mapping[str, Sequence[float]], PlainValidator(_columns), PlainSerializer(sorted)]
"""Column (prediction, reference, nll ...) -> a value per example; session.json has the names alone."""


@dataclass(frozen=True)
class Unprofiled:
    """No batch was profiled."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {**STRICT, "extra": "forbid"}


@dataclass(frozen=True)
class Runner:
    """One model of a session."""

    name: Name
    outcomes: Outcomes
    """Empty where evaluation failed."""
    finite: bool
    batch_size: Count
    order: str
    batch_sensitivity: Quantity | None
    points: tuple[Annotated[RunnerPoint, WrapSerializer(_measured_or_lacking)], ...]
    """The first is the headline point."""
    error: str | None = None
    """Why it could not be measured."""
    outputs: Count | None = None
    remark: str = ""
    """How the labels of the examples were found, where a reader should know."""
    parameters: Count | None = None
    nonzero: Count | None = None
    weight_bytes: Count | None = None
    memory: Memory = Memory()
    kernel: Kernel | Unprofiled = Unprofiled()


@dataclass(frozen=True)
class JudgedBy:
    """What verdicts of the session compare with, and how."""

    references: tuple[Name, ...]
    """Names of the references that could be measured; fp32 eager first."""
    against: Name
    """The reference of verdicts."""
    metric: str
    seed: Count


@dataclass(frozen=True)
class Asked:
    """What the user asked for."""

    limit: Several | None
    seeds: dict[str, Count]
    """Recipe -> seed."""


@dataclass(frozen=True)
class Example:
    """An example of the test split that not all runners answered alike."""

    example: int
    text: str | None
    """None where it has none, or was not kept."""


@dataclass(frozen=True)
class Session:
    """Everything that was measured in one process."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    runners: tuple[Runner, ...]
    meter: Annotated[MeterFacts, WrapSerializer(_of_its_kind)]
    idle: Idle = Idle()
    samples: Annotated[tuple[Sample, ...], Field(exclude=True)] = ()
    """Of the meter, over the whole session."""
    foreign_processes: Count | None = None
    """Other processes on the device at any time; None where the system does not tell."""
    in_turn: str | None = None
    """Why models were loaded in turn."""
    quota_cores: Quantity | None = None
    """Cores that a control group's quota left."""
    labels: Annotated[tuple[str, ...] | None, Field(exclude_if=_unset)] = None
    """Names of the classes."""
    examples: Annotated[tuple[Example, ...] | None, Field(exclude=True)] = None
    """Examples that any runner answered differently from the reference; None where they were not kept."""
    finished: Annotated[Quantity | None, Field(exclude_if=_unset)] = None
    """Seconds since 1970."""
    clock_offset_start_ns: Annotated[Whole | None, Field(exclude_if=_unset)] = None
    """Time since 1970 less the monotonic clock, as the session began."""
    clock_offset_ns: Annotated[Whole | None, Field(exclude_if=_unset)] = None
    """The same as it ended."""
    judged_by: Annotated[JudgedBy | None, Field(exclude_if=_unset)] = None
    asked: Annotated[Asked | None, Field(alias="told", exclude_if=_unset)] = None
    compressing: Annotated[dict[str, Compressing] | None, Field(exclude_if=_unset)] = None
    """Recipe -> readings while it was compressed, as its artifact holds them."""

    def runner(self, name: str) -> Runner:
        """Return the runner of this name."""
        return next(runner for runner in self.runners if runner.name == name)

    @property
    def windows(self) -> list[Window]:
        """Of all runners and points."""
        return [window for runner in self.runners for point in runner.points for window in point.windows]
