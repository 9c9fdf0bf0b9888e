"""Run every row of the study on all cores, write the table if asked, and exit with 1 if a bound is missed."""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.study import SEED, Bound
from benchmarks.study.groups import GROUPS, Rows

INTRODUCTION = f"""# Intervals and decisions in simulated sessions

`make study` simulates sessions whose truth is known, and counts how often the code that reads real sessions is right.
Boards, windows, rounds, answers and sessions are simulated; the estimators, verdicts, fronts and gates are those of the
package. Two kinds of rows are measured instead: the CPU time of sampling, and the noise of the published sessions.

- Coverage is the share of 95 % intervals that contain the true value.
- cv is the standard deviation of a runner's log cost from round to round, beside noise that all runners share.
- Rows without a bound are stated to show where a rule ends.
- The seed is {SEED}. A share of 95 % has a standard error of 0.5 % among 2,000, and of 0.15 % among 20,000.
"""
HEADER = "| property | bounds | value | kept |\n| --- | --- | --- | --- |"


def _computed(rows: Rows, count: int) -> tuple[list[Bound], float]:
    """Return the rows of one function, and the CPU seconds that they took."""
    began = time.process_time()
    return list(rows(count)), time.process_time() - began


def tables(size: float) -> Iterator[tuple[str, list[Bound]]]:
    """Yield the text and the rows of every group, with counts multiplied by `size`."""
    with ProcessPoolExecutor() as pool:
        counts = {group: max(1, round(size * group.count)) for group in GROUPS}
        jobs = {group: [pool.submit(_computed, rows, counts[group]) for rows in group.rows] for group in GROUPS}
        for group, parts in jobs.items():
            done = [part.result() for part in parts]
            bounds = [bound for found, _ in done for bound in found]
            print(f"{group.title}: {sum(cpu_s for _, cpu_s in done):.0f} s of CPU time", file=sys.stderr, flush=True)
            text = group.text.format(f"{counts[group]:,}")
            yield "\n".join([f"## {group.title}", "", text, "", HEADER, *(bound.row() for bound in bounds), ""]), bounds


def main() -> None:
    """Print the tables as they are computed, write them if asked, and exit with 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="factor on every number of simulations")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    written, missed = [INTRODUCTION], 0
    print(INTRODUCTION, flush=True)
    for text, bounds in tables(options.size):
        print(text, flush=True)
        written.append(text)
        missed += sum(not bound.kept for bound in bounds)
    if options.out:
        options.out.write_text("\n".join(written), encoding="utf-8")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
