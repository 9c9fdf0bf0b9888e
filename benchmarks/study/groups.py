"""The groups of the study, in the order of the report: what is simulated, how often, and by which functions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.study import (
    Bound,
    boards,
    breakeven,
    drift,
    equivalence,
    front,
    gates,
    grades,
    net,
    percentiles,
    power,
    ramps,
    seeds,
    sequential,
    sessions,
    square_waves,
    stalls,
    tables,
)

Rows = Callable[[int], Iterator[Bound]]
"""A function from a number of simulations to rows of the table."""


@dataclass(frozen=True)
class Group:
    """Rows on one subject."""

    title: str
    text: str
    """What is simulated; {} is the number of simulations."""
    count: int
    rows: tuple[Rows, ...]


GROUPS = (
    Group(
        "Boards that measure badly",
        "{} sessions of windows of 5 s. The counter moves every 100 ms and averages a quarter of each period; its gain "
        "error is within 5 %.",
        2000,
        (boards.coverage, boards.differences, boards.reading),
    ),
    Group(
        "The doctor's square waves",
        "{} boards with periods of 20 to 100 ms, random phases, and jitter up to 3 % of the period.",
        120,
        (square_waves.rows,),
    ),
    Group(
        "Warm-up",
        "{} warm-ups per row, of one runner and of five. Latency falls exponentially by 5 to 50 %, with noise of 1 to "
        "5 % per batch.",
        480,
        (ramps.rows, ramps.wandering_machines),
    ),
    Group(
        "Slow drift of each runner's own",
        "{} sessions per row, cv 5 %. Rounds are an AR(1) series: their correlation is that of one round to the next.",
        20_000,
        (drift.rows,),
    ),
    Group(
        "A machine that is not quiet",
        "{} sessions of 3 runners per row. One window in six takes 30 to 300 % longer.",
        20_000,
        (stalls.rows,),
    ),
    Group(
        "Sessions that stop at a precision",
        "{} sessions of 3 runners per row, half as many in the last three. They stop when every ratio's half-width "
        "is 3 %, or after 200 rounds.",
        10_000,
        (sequential.rows,),
    ),
    Group(
        "Noise of the published sessions",
        "Measured: the standard deviation of the log latency over rounds, median of the runners of a session.",
        1,
        (power.published,),
    ),
    Group(
        "Power at such noise",
        "{} sessions of 3 runners per row.",
        20_000,
        (power.rows,),
    ),
    Group(
        "Drift and agreement, by which energy is graded",
        "{} sessions per row, of 7 runners where rows are graded.",
        2000,
        (grades.steady_sessions, grades.drifting_sessions, grades.unmetered_rows, grades.sources),
    ),
    Group(
        "Percentiles",
        "{} sessions per row. Independent batches have an exponential latency. In rounds that differ, batches vary by "
        "3 % within a round.",
        4000,
        (percentiles.independent, percentiles.uneven_rounds),
    ),
    Group(
        "Energy net of idle",
        "{} sessions. Seconds vary by 3 %, watts by 1 %, and both runners share 2 %; 120 of 300 and 400 W are idle.",
        4000,
        (net.rows,),
    ),
    Group(
        "Several sessions",
        "{} results per row, of sessions with 6 rounds each and cv 2 %. Sessions differ by a normal effect on the "
        "log-ratio.",
        4000,
        (sessions.rows,),
    ),
    Group(
        "Training seeds",
        "{} recipes per row, with an accuracy of 90 % on 872 examples. Coverage is that of the accuracy of another "
        "training by the recipe. The same examples are difficult for all trainings, or each errs independently.",
        4000,
        (seeds.rows,),
    ),
    Group(
        "Equivalence",
        "{} models per row, which answer 0.3 % of the examples otherwise in each direction unless stated.",
        2000,
        (equivalence.rows,),
    ),
    Group(
        "Gates",
        "{} gates per row, between sessions with 6 rounds each and cv 2 %. Sessions differ by a normal effect on the "
        "log-ratio of each recipe; its standard deviation is the spread. With 3 sessions a "
        "side, Student's quantile for 14 recipes is 16.7 (2 degrees of freedom), and gates seldom decide.",
        1000,
        (gates.rows,),
    ),
    Group(
        "Dominance and the front",
        "{} tables per row, with 872 examples, 6 rounds unless stated, and cv 2 %. Dominance is tested per pair: it is "
        "not adjusted for the number of rows. At 6 rounds a plain t interval would find the gap of 5 % in 92 % of "
        "tables; the allowance for correlated rounds costs the rest.",
        2000,
        (front.rows,),
    ),
    Group(
        "Tables of 14 recipes",
        "{} tables per row, with 872 examples, 6 rounds unless stated, and cv 2 %.",
        4000,
        (tables.rows,),
    ),
    Group(
        "Break-even",
        "{} results per row. Gains of boards are even within 5 %, unless stated; sessions differ by a normal effect.",
        4000,
        (breakeven.rows,),
    ),
)
