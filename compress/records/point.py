"""Figures of an operating point: latency, energy, their ratios to references, and the verdict."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from compress.records.fields import Count, LogSpread, Name, Positive, Quantity, Several, is_empty, is_none
from compress.records.limit import Limit
from compress.records.natural import Natural
from compress.records.phase import EXAMPLES, INFERENCE, Phase
from compress.records.rules import Bare, Bounded, OfBatches, OfRounds
from compress.records.sample import EnergySource
from compress.records.serial import Correlation
from compress.records.stats import Estimate

Grade = Literal["A", "B", "C", "D", "E"]
Word = Literal["SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE", "NOT RELIABLE", "BROKEN", "NO VERDICT"]


@dataclass(frozen=True)
class Percentiles:
    """Latency per batch in seconds over all batches of all windows, with intervals from order statistics.

    None with too few batches for an interval. Schema 1 has numbers: they are read with an infinite interval.
    """

    p50: Annotated[OfBatches, Bare] | None
    p90: Annotated[OfBatches, Bare] | None
    p99: Annotated[OfBatches, Bare] | None
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
    correlation: Correlation | None = None
    """Correlation of latency between successive rounds; None with fewer than 6 rounds."""
    correlation_energy: Correlation | None = None
    net: OfRounds | None = None
    """Ratio of the energies net of idle; None with a reason in the point's `ratios.net`, and in schema 1."""
    waiting_share: Quantity | None = None
    """Share of the gross saving that is waiting avoided, at idle power; None without a saving."""
    session_spread: LogSpread | None = None
    """Estimated standard deviation of the log ratio of latency between sessions; None for a single session."""
    session_spread_energy: LogSpread | None = None


@dataclass(frozen=True)
class Round:
    """Raw figures of one window of one runner, so that every result can be recomputed."""

    index: Count
    """Number of the round, counted on over the sessions: from 1, in older results from 0."""
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
    session: Count = 0
    """Number of the session, from 0."""


@dataclass(frozen=True)
class Verdict:
    """Word and sentence of a verdict, and its cause if known."""

    word: Word
    sentence: str
    cause: str = ""


@dataclass(frozen=True)
class Point:
    """Figures of one operating point: batch size x sequence length, or a natural one."""

    batch_size: Several
    sequence_length: Several | None
    phase: Phase | None
    headline: bool
    latency_s: OfRounds
    """Seconds per batch."""
    latency_percentiles_s: Percentiles
    throughput_per_s: OfRounds
    """Examples per second."""
    energy_j: OfRounds | None
    """Joules per example, gross."""
    energy_idle_j: Quantity | None
    energy_net_j: Annotated[Bounded, Bare] | None
    """Joules per example net of idle. Schema 1 has a number: it is read with an infinite interval."""
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
    audio_s: Annotated[Several | None, Field(exclude_if=is_none)] = None
    """Seconds of sound in each example; None for other inputs."""
    generated_tokens: Several | None = None
    """Tokens that a batch generates per example: 1 at a decode point, all of a request; older results of schema 2 and
    before have decode points whose batches generate several."""
    new_tokens: Annotated[Several | None, Field(exclude_if=is_none)] = None
    """Tokens after which the cache of a decode point is cut back to its context; tokens of a request."""
    stop: Annotated[bool, Field(exclude_if=is_empty)] = False
    """Whether requests end with the end tokens of their texts, after `new_tokens` tokens at the latest."""
    lengths: Annotated[tuple[Several, ...], Field(exclude_if=is_empty)] = ()
    """Tokens of each request of a pass, with its end token, at a point whose requests can end."""
    cache_bytes: Annotated[Count | None, Field(exclude_if=is_none)] = None
    """Bytes of keys and values of a batch when all new tokens are in the cache; None without a cache."""
    limit: Annotated[Limit | None, Field(exclude_if=is_none)] = None
    """Work of a batch and the device's most per second; None at natural points and in older results."""
    energy_gain: Quantity | None = None
    """Relative gain error of the meter, not in the interval: it cancels in ratios, but does not average out."""
    unreliable: tuple[str, ...] = ()
    """Disturbances that make this model's latency and energy unreliable here; empty in schema 1."""
    natural: Natural | None = None
    """Only for a natural point: its texts, and costs per example and per correct answer."""

    @property
    def energy_per_token_j(self) -> Estimate | None:
        """Joules per generated token, otherwise per input token; tokens of padding are not counted."""
        e, own = self.energy_j, self.natural.texts.tokens_per_example if self.natural else None
        length = self.tokens_per_request or self.generated_tokens or self.sequence_length or own
        return scaled(e, length) if e and length else None

    @property
    def real_time_factor(self) -> Estimate | None:
        """Seconds of computing per second of sound, of all examples of a batch; None for single tokens and others."""
        if self.audio_s is None or self.phase == "decode":
            return None
        return scaled(self.latency_s, self.batch_size * self.audio_s)

    @property
    def energy_per_audio_s_j(self) -> Estimate | None:
        """Joules per second of sound; None for single tokens, for other inputs, and without a meter."""
        if self.audio_s is None or self.phase == "decode" or self.energy_j is None:
            return None
        return scaled(self.energy_j, self.audio_s)

    @property
    def limit_share(self) -> Estimate | None:
        """Share of the device's limit that the latency reaches, from 0 to 1; None if unknown."""
        return None if self.limit is None else self.limit.share(self.latency_s)

    @property
    def example(self) -> str:
        """What an example is, of which costs and break-even are: a generated token, a prompt, a request, an inference.

        Decode points of older results, whose batches generate several tokens at once, count inferences.
        """
        if self.phase is None or self.generated_tokens not in (None, 1, self.new_tokens):
            return INFERENCE
        return EXAMPLES[self.phase]

    @property
    def tokens_per_request(self) -> float | None:
        """Mean number of generated tokens of a request that can end; None for other points."""
        return fmean(self.lengths) if self.lengths else None

    @property
    def sessions(self) -> int:
        """The number of sessions in which this point was measured."""
        return max(1, len({r.session for r in self.rounds}))

    @property
    def extent(self) -> str:
        """The number of rounds, and of sessions if several, as text: `18 rounds in 3 sessions`."""
        several = f" in {self.sessions} sessions" if self.sessions > 1 else ""
        return f"{len(self.rounds) or self.latency_s.n} rounds{several}"

    def ratio(self, reference: str) -> Ratio | None:
        """Return the ratio to the reference of this name."""
        return next((r for r in self.ratios if r.reference == reference), None)


def scaled(estimate: Estimate, divisor: float) -> Estimate:
    """Return an estimate divided by a positive number."""
    return Estimate(estimate.value / divisor, estimate.low / divisor, estimate.high / divisor, estimate.n)


def same_windows(point: Point, points: Iterable[Point]) -> Point | None:
    """Return the headline whose windows a natural point shares, because all texts have its length; else None."""
    headline = next((each for each in points if each.headline), None)
    shared = headline is not None and point.natural is not None and point.rounds and point.rounds == headline.rounds
    return headline if shared else None


def natural_point(points: Iterable[Point]) -> Point | None:
    """Return the natural point at which costs per example are stated: the first one; None without any."""
    return next((point for point in points if point.natural is not None), None)
