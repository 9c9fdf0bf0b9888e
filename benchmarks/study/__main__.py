"""Run every row of the study on all cores, write the table if asked, and exit with 1 if a bound is missed."""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from benchmarks.study import SEED, Bound, boards, drift, power, sequential, stalls

ROWS: tuple[Callable[[int], Iterator[Bound]], ...] = (
    boards.coverage,
    boards.differences,
    boards.reading,
    drift.rows,
    stalls.rows,
    sequential.rows,
    power.rows,
)
"""Functions from a number of simulated sessions to rows of the table."""


def _computed(index: int, sessions: int) -> list[Bound]:
    return list(ROWS[index](sessions))


def main() -> None:
    """Print the rows as they are computed, write the table if asked, and exit with 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "# Intervals in simulated sessions",
        "",
        f"{options.sessions:,} sessions on simulated boards, seed {SEED}; made by `make study`. Rows on drift, stalls "
        "and false alarms simulate the rounds only, in ten times as many sessions; rows on the sequential stop in five "
        "times as many.",
        "",
        "| property | bounds | value | kept |",
        "| --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    kept = True
    with ProcessPoolExecutor() as pool:
        for bounds in pool.map(_computed, range(len(ROWS)), repeat(options.sessions)):
            lines += [bound.row() for bound in bounds]
            print("\n".join(lines[-len(bounds) :]), flush=True)
            kept = kept and all(bound.kept for bound in bounds)
    if options.out:
        options.out.write_text("\n".join([*lines, ""]), encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
