"""Raw figures of one session: its process measures them, its trace stores them, all results are computed from them.

    Session  runners: Runner  outcomes of every example, kernel, memory
                              points: RunnerPoint  windows: Window (batches, readings at both edges)
             meter, idle, samples of the meter, and how verdicts are formed

Times are integers in nanoseconds of one monotonic clock, energies integers in microjoules: sums are exact. Fields with
a default may be missing in traces of older versions. `compress.records.trace` validates session.json with these types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WrapSerializer

from compress.records.compressing import Compressing
from compress.records.fields import STRICT, Count, Name, NonNegative, Positive, Quantity, Several, Whole, is_none
from compress.records.limit import Limit
from compress.records.natural import Order, Texts
from compress.records.phase import Phase
from compress.records.result import Kernel
from compress.records.sample import EnergySource, Sample, sample_rows
from compress.records.window import Window


def _is_empty(value: object) -> bool:
    return not value


Row = Annotated[Sample, PlainSerializer(lambda sample: sample_rows([sample])[0])]


def _check_order(span: "IdleTime") -> "IdleTime":
    if span.ended_ns <= span.started_ns:
        raise ValueError("ends before it starts")
    return span


@dataclass(frozen=True)
class IdleTime:
    """Meter readings over a period in which this session ran nothing."""

    started_ns: Whole
    ended_ns: Whole
    start_uj: Count | None
    end_uj: Count | None
    samples: tuple[Row, ...]


Forward = Annotated[IdleTime, AfterValidator(_check_order)]


@dataclass(frozen=True)
class Idle:
    """Idle periods: before this process opened the device, and with all models loaded. None without a meter."""

    before: Forward | None = None
    loaded: Forward | None = None


@dataclass(frozen=True)
class MeterFacts:
    """Facts about the meter that a result reports."""

    source: EnergySource | None = None
    """None without a meter; `absent` has the reason."""
    absent: str | None = None
    """Reason why there is no meter."""
    boundary: str | None = None
    measured: bool = False
    """False if the energy is modelled, on a machine without a meter."""
    step_s: Positive | None = None
    """Longest time between two updates of the counter; None if it is negligible."""
    integrated: bool = False
    doctor: str | None = None
    """Date when `doctor` examined the meter."""
    like_another: bool = False
    misread: Quantity | None = None
    why_modelled: str | None = None
    watts_per_core: Quantity | None = None
    basis: str | None = None
    sampling_error: str | None = None
    """Reason why sampling ended early."""
    sampling_cpu_s: Quantity | None = None
    calibration: str | None = None
    """Calibration of an external meter: by whom and when."""
    gain: Quantity | None = None
    """Relative error of an external meter."""
    beside: EnergySource | None = None
    """Source of the device's own samples, stored with those of an external meter."""


_SAMPLING = ("sampling_error", "sampling_cpu_s")
_EXTERNAL = ("source", "boundary", "measured", "step_s", "calibration", "gain", "beside")
_LOCAL = ("source", "boundary", "measured", "step_s", "integrated", "doctor", "like_another", "misread", "why_modelled",
        "watts_per_core", "basis", *_SAMPLING)  # fmt: skip


def _facts_of_kind(meter: MeterFacts, serialize: Any) -> dict[str, Any]:
    """Serialize only the facts that apply to this kind of meter."""
    names = {None: ("absent", *_SAMPLING), "external": _EXTERNAL}
    facts = serialize(meter)
    return {key: facts[key] for key in names.get(meter.source, _LOCAL)}


@dataclass(frozen=True)
class Shape:
    """Operating point: batch size x sequence length and a language model's phase, or a natural one."""

    batch_size: Several
    sequence_length: Several | None
    generate: Several | None = None
    """Older traces only: tokens that each batch generated after a filled cache."""
    audio_s: Annotated[Several | None, Field(exclude_if=is_none)] = None
    """Seconds of sound in each example of a batch; None for other inputs."""
    natural: Annotated[Order | None, Field(exclude_if=is_none)] = None
    """Order of the test split's own texts; their batches have `batch_size` examples of any length."""
    phase: Annotated[Phase | None, Field(exclude_if=is_none)] = None
    """Each batch is a prompt (prefill), one token (decode), or a request of `new_tokens` tokens (generate)."""
    new_tokens: Annotated[Several | None, Field(exclude_if=is_none)] = None
    """Tokens after which the cache of a decode point is cut back to its context; tokens of a request."""

    stop: Annotated[bool, Field(exclude_if=_is_empty)] = False
    """Whether requests end with the end tokens of their texts; `new_tokens` is then the largest number."""

    @property
    def per_batch(self) -> int | None:
        """Tokens that a batch generates for each example; None without any."""
        return self.generate or {"decode": 1, "generate": self.new_tokens}.get(self.phase or "")


Ramp = Literal["own", "all", "unknown"]


@dataclass(frozen=True)
class RunnerPoint:
    """One runner at one operating point: one window per round, or the reason why there are none.

    Figures use `windows` alone. `unused` holds the first round, windows that were repeated for their disturbance, and
    rounds in which the processor was slower than in the others.
    """

    point: Shape
    windows: Annotated[tuple[Window, ...], Field(exclude=True)] = ()
    lacking: str | None = None
    """Reason why this point was not measured; its other fields are then None or 0."""
    texts: Annotated[Texts | None, Field(exclude_if=is_none)] = None
    """Texts of a natural point."""
    steady: bool | None = None
    """Whether latency was steady when warm-up ended."""
    ramp: Annotated[Ramp | None, Field(exclude_if=is_none)] = None
    """Of latency that was not shown to be steady: whether this runner changed relative to the others, or all together;
    unknown if no slope was distinguishable."""
    settled: bool | None = None
    """Whether temperature and power were steady then; None if the device reports no temperature."""
    foreign_cores: Quantity | None = None
    """Cores used by other processes; None if the system does not report it."""
    stolen_cores: Quantity | None = None
    """Cores that the host of a virtual machine took away (steal time)."""
    throttled_periods: Count = 0
    """Periods in which the CPU quota throttled this process."""
    throttled_s: Quantity = 0.0
    precision: Positive | None = None
    """Half-width of the ratios' log intervals at which rounds were to end; None for a fixed number of rounds."""
    rounds_s: NonNegative | None = None
    """Seconds that the rounds took, with pre-rolls, repeats and loading."""
    unused: Annotated[tuple[Window, ...], Field(exclude=True)] = ()
    cache_bytes: Annotated[Count | None, Field(exclude_if=is_none)] = None
    """Bytes of a language model's cache when it holds all new tokens; None without one."""
    lengths: Annotated[tuple[Several, ...], Field(exclude_if=_is_empty)] = ()
    """Tokens that each text of a pass got before it ended, with its end token, at a point whose requests can end."""
    smaller: Annotated[str | None, Field(exclude_if=is_none)] = None
    """Reason why its batches are smaller than the workload's; None if they are not."""
    limit: Annotated[Limit | None, Field(exclude_if=is_none)] = None
    """Work of a batch and the device's most per second; None at natural points and in older traces."""


def _measured_or_lacking(point: RunnerPoint, serialize: Any) -> dict[str, Any]:
    """Serialize the figures of a point, or only the reason why it has none."""
    return {key: value for key, value in serialize(point).items()
            if (key in ("point", "lacking") if point.lacking is not None else key != "lacking")}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Bytes after loading, and at the peak of one batch; or the reason why they are unknown."""

    memory_bytes: Annotated[Count | None, Field(exclude_if=is_none)] = None
    peak_memory_bytes: Annotated[Count | None, Field(exclude_if=is_none)] = None
    reason: Annotated[str | None, Field(exclude_if=is_none)] = None


def _empty_columns(names: Any) -> dict[str, tuple[float, ...]]:
    """Return empty columns of these names; their rows are in a table of the trace."""
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= 300 for name in names):
        raise ValueError("expected a list of names")
    return dict.fromkeys(names, ())


Outcomes = Annotated[Mapping[str, Sequence[float]], PlainValidator(_empty_columns), PlainSerializer(sorted)]
"""Column (prediction, reference, nll ...) -> one value per example; session.json has only the names."""


@dataclass(frozen=True)
class Unprofiled:
    """No batch was profiled."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {**STRICT, "extra": "forbid"}


@dataclass(frozen=True)
class Runner:
    """One model of a session."""

    name: Name
    outcomes: Outcomes
    """Empty if evaluation failed."""
    finite: bool
    batch_size: Count
    order: str
    batch_sensitivity: Quantity | None
    points: tuple[Annotated[RunnerPoint, WrapSerializer(_measured_or_lacking)], ...]
    """The first is the headline point."""
    error: str | None = None
    """Reason why it could not be measured."""
    outputs: Count | None = None
    remark: str = ""
    """Note on the origin of the examples' labels; empty if there is nothing to note."""
    parameters: Count | None = None
    nonzero: Count | None = None
    weight_bytes: Count | None = None
    memory: Memory = Memory()
    kernel: Kernel | Unprofiled = Unprofiled()
    continuations: Annotated[tuple[tuple[Count, ...], ...], Field(exclude_if=_is_empty)] = ()
    """Greedy continuations of fixed prompts, as token ids; empty for models that do not generate text."""
    further_of: Annotated[Name | None, Field(exclude_if=is_none)] = None
    """Recipe that this model was made by with a further seed: only its accuracy was measured."""
    seed: Annotated[Count | None, Field(exclude_if=is_none)] = None
    """That further seed."""


@dataclass(frozen=True)
class JudgedBy:
    """References, metric and seed for the verdicts of the session."""

    references: tuple[Name, ...]
    """Names of the measured references; fp32 eager first."""
    against: Name
    """Name of the reference that verdicts compare with."""
    metric: str
    seed: Count
    protocol: Annotated[str, Field(exclude_if=_is_empty)] = ""
    """How examples are scored, such as the windows of a perplexity; empty if there is one way."""


@dataclass(frozen=True)
class Request:
    """Settings from the user."""

    limit: Several | None
    seeds: dict[str, Count]
    """Recipe -> seed; of several the first."""


@dataclass(frozen=True)
class Example:
    """An example of the test split for which predictions differ between runners."""

    example: int
    text: str | None
    """None if the example has no text, or it was not kept."""


@dataclass(frozen=True)
class Session:
    """All figures measured in one process."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    runners: tuple[Runner, ...]
    meter: Annotated[MeterFacts, WrapSerializer(_facts_of_kind)]
    idle: Idle = Idle()
    samples: Annotated[tuple[Sample, ...], Field(exclude=True)] = ()
    """Samples of the meter over the whole session."""
    foreign_processes: Count | None = None
    """Number of other processes on the device during the session; None if the system does not report it."""
    in_turn: str | None = None
    """Reason why models were loaded in turn."""
    quota_cores: Quantity | None = None
    """CPU quota of the control group, in cores."""
    cores: Annotated[Count | None, Field(exclude_if=is_none)] = None
    """Logical cores of the machine; None in older traces."""
    labels: Annotated[tuple[str, ...] | None, Field(exclude_if=is_none)] = None
    """Names of the classes."""
    examples: Annotated[tuple[Example, ...] | None, Field(exclude=True)] = None
    """Examples that any runner predicted differently from the reference; None if they were not kept."""
    finished: Annotated[Quantity | None, Field(exclude_if=is_none)] = None
    """End of the session, in seconds since 1970."""
    clock_offset_start_ns: Annotated[Whole | None, Field(exclude_if=is_none)] = None
    """Time since 1970 minus the monotonic clock, at the start of the session."""
    clock_offset_ns: Annotated[Whole | None, Field(exclude_if=is_none)] = None
    """Time since 1970 minus the monotonic clock, at the end of the session."""
    judged_by: Annotated[JudgedBy | None, Field(exclude_if=is_none)] = None
    request: Annotated[Request | None, Field(alias="told", exclude_if=is_none)] = None
    compressing: Annotated[dict[str, Compressing] | None, Field(exclude_if=is_none)] = None
    """Recipe -> meter readings while it was compressed, from its artifact."""

    def runner(self, name: str) -> Runner:
        """Return the runner of this name."""
        return next(runner for runner in self.runners if runner.name == name)

    @property
    def windows(self) -> list[Window]:
        """Windows of all runners and points that figures use."""
        return [window for runner in self.runners for point in runner.points for window in point.windows]
