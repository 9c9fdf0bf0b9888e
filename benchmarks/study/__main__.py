"""Run every row of the study, write the table if asked, and exit with 1 if a bound is missed."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.study import SEED, Bound, boards, drift, power, sequential, stalls

ROWS: tuple[Callable[[int], Iterator[Bound]], ...] = (
    boards.rows,
    drift.rows,
    stalls.rows,
    sequential.rows,
    power.rows,
)
"""Functions from a number of simulated sessions to rows of the table."""


def main() -> None:
    """Print the rows as they are computed, write the table if asked, and exit with 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "# Intervals in simulated sessions",
        "",
        f"{options.sessions:,} sessions on simulated boards, seed {SEED}; made by `make study`. Rows on drift, stalls and "
        "false alarms simulate the rounds only, in ten times as many sessions.",
        "",
        "| property | bounds | value | kept |",
        "| --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    kept = True
    for rows in ROWS:
        for bound in rows(options.sessions):
            lines.append(bound.row())
            print(lines[-1], flush=True)
            kept = kept and bound.kept
    if options.out:
        options.out.write_text("\n".join([*lines, ""]), encoding="utf-8")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
