"""Settings of measuring: profiles, and every setting by value."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.base.config import Config
from compress.base.limits import Margin

Profile = Literal["auto", "quick", "standard", "publish"]
LEAST_ROUNDS = 15  # with fewer, a rule that stops at a narrow interval stops too often by chance
PRECISION = 0.03
BUDGET_S = 300.0
MOST_BUDGET_S = 86_400
MOST_SESSIONS = 20
FIRST_PARTS = 3  # of a budget, for the first point; any other gets one
FEWEST_ROUNDS = 6  # if the budget is too short for more: an interval of fewer rounds says little


class Measure(Config):
    """How a session measures. The profile provides the settings left unset."""

    profile: Profile = "auto"
    """quick: windows of 0.2 s until precise; standard: 6 of 5 s; publish: 10 of 20 s in 3 sessions; auto: standard with
    a meter, else quick."""
    rounds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Rounds; each holds one window of every runner, in random order. With precision or budget_s: the least number."""
    precision: Annotated[float, Field(ge=1e-4, le=1)] | None = None
    """Measure until the 95 % interval of every latency ratio has at most this half-width (0.03: 3 %)."""
    budget_s: Annotated[float, Field(gt=0, le=MOST_BUDGET_S)] | None = None
    """Maximum seconds of rounds in a session, for all rows and points; every point has at least 6 rounds."""
    window_s: Annotated[float, Field(gt=0, le=600)] | None = None
    """Seconds per window."""
    preroll_s: Annotated[float, Field(ge=0, le=600)] | None = None
    """Seconds that a runner runs before its window, so that caches and clocks do not depend on the previous runner."""
    warmup_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    """Maximum seconds of warm-up before the first round."""
    points: Literal["headline", "all"] | None = None
    """headline: the headline point and, for text classification, the natural one; all: every point of the workload."""
    residency: Literal["auto", "together", "in_turn"] | None = None
    """Keep all models in memory, or load each in turn inside every round; auto: together if they fit."""
    halve_batch: bool = False
    """Where a model runs out of memory, measure this point with half the batch, for all models; or evaluate the model
    in smaller batches. Without it, a model that runs out of memory has no figures."""
    sessions: Annotated[int, Field(ge=1, le=MOST_SESSIONS)] | None = None
    """Sessions, one fresh process after the other; intervals are then over sessions. publish: 3, else 1."""
    session_spread: Annotated[float, Field(ge=0, le=1)] | None = None
    """Assumed relative standard deviation between sessions where a single session is compared with others; 0.02."""
    margin: Margin | None = None
    """Largest difference of the metric that counts as equal: 0.5pt (points), or 0.5% where differences are relative."""

    @model_validator(mode="after")
    def _enough_rounds(self) -> "Measure":
        if self._asks_precision and self.rounds is not None and self.rounds < LEAST_ROUNDS:
            raise ValueError(
                f"rounds: got {self.rounds} with precision or budget_s; expected at least {LEAST_ROUNDS}, "
                "or neither of the two for exactly that many rounds"
            )
        return self

    @property
    def _asks_precision(self) -> bool:
        return self.precision is not None or self.budget_s is not None

    def resolved(self, metered: bool) -> "Settings":
        """Return all settings by value: those of the profile, overridden by the ones set here.

        Rounds end by precision if the profile says so or precision or budget_s is set; not if only `rounds` is set.
        """
        name = self.profile
        if name == "auto":
            name = "standard" if metered else "quick"
        base = PROFILES[name]
        overrides = {
            key: value for key, value in self.model_dump().items() if key in Settings.model_fields and value is not None
        }
        if self._asks_precision:
            sequential = {"precision": base.precision or PRECISION, "budget_s": base.budget_s or BUDGET_S}
            overrides = {"rounds": LEAST_ROUNDS, **sequential, **overrides}
        elif self.rounds is not None:
            overrides |= {"precision": None, "budget_s": None}
        return base.model_copy(update={**overrides, "profile": name})


def share_of_budget(number: int, points: int) -> float:
    """Return the share of a budget that point `number` of `points` gets: the first three parts, any other one.

    Verdicts and the front are of the first.
    """
    return (FIRST_PARTS if number == 0 else 1) / (FIRST_PARTS + points - 1)


def share_of_rest(number: int, points: int) -> float:
    """Return the share of what the points before it left that point `number` of `points` gets."""
    return share_of_budget(number, points) / sum(share_of_budget(n, points) for n in range(number, points))


class Settings(Config):
    """A `Measure` with a value for every setting."""

    profile: str
    rounds: int
    """The number of rounds; with `precision`, the least."""
    precision: float | None = None
    """None: exactly `rounds` rounds."""
    budget_s: float | None = None
    window_s: float
    preroll_s: float
    warmup_s: float
    points: Literal["headline", "all"]
    residency: Literal["auto", "together", "in_turn"] = "auto"
    halve_batch: bool = False
    sessions: int = 1
    least_batches: int = 2
    """Minimum batches in a window; windows are extended until they have this many."""
    least_movements: int = 0
    """Minimum updates of the energy counter in a window."""


PROFILES: dict[str, Settings] = {
    "quick": Settings(
        profile="quick",
        rounds=LEAST_ROUNDS,
        precision=PRECISION,
        budget_s=90,
        window_s=0.2,  # most bursts of other processes are longer: a window is then disturbed whole or not at all
        preroll_s=0.05,
        warmup_s=30,
        points="headline",
        least_batches=1,  # a model with slow batches must not take the time of the others' rounds
        least_movements=15,  # 1.5 s if the counter moves every 100 ms; without a counter windows stay short
    ),
    "standard": Settings(profile="standard", rounds=6, window_s=5, preroll_s=1, warmup_s=180, points="all"),
    "publish": Settings(
        profile="publish",
        rounds=10,
        window_s=20,
        preroll_s=2,
        warmup_s=300,
        points="all",
        sessions=3,
        least_batches=32,
        least_movements=200,
    ),
}
