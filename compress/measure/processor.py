"""Speed of the processor by a short fixed load: virtual machines report no frequency, and not where they run.

Each product needs the result of the one before from all threads, as the layers of a model do. Half of the time goes to
small products, which become slower where threads run far from each other; half to larger ones, which become slower with
the clock, and where the second hardware thread of a core is in use.
"""

import time
from dataclasses import dataclass
from functools import cache

import torch

SIZES = ((64, 4), (128, 1))
"""Widths of the products with two threads, and how many pairs of them a pass has."""
PASSES, TRIES = 5, 5  # 0.5 ms a try; the fastest counts, so that an interruption of the others does not
MOST_S = 0.01
"""Beside other load, every product waits for its threads: no pass starts after this time."""


def operations_per_s() -> int:
    """Return the operations per second of fp32 products that depend on each other, on all threads of torch.

    Takes about 3 ms, beside other load 10 ms and one pass.
    """
    chains = _chains(torch.get_num_threads())
    operations = sum(chain.operations for chain in chains)
    fastest, start = 0.0, time.perf_counter()
    for _ in range(TRIES):
        begin, passes, over = time.perf_counter(), 0, False
        while passes < PASSES and not over:
            for chain in chains:
                chain.run()
            passes += 1
            now = time.perf_counter()
            over = now - start > MOST_S
        fastest = max(fastest, passes * operations / (now - begin))
        if over:
            break
    return round(fastest)


@dataclass(frozen=True)
class Chain:
    """Pairs of square products, each with the result of the one before. All stay 0.5: rows and columns of the factor
    add up to 1."""

    factor: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    pairs: int

    @property
    def operations(self) -> int:
        """Return the operations of all pairs: two per multiply-add."""
        return self.pairs * 2 * 2 * len(self.factor) ** 3

    def run(self) -> None:
        """Compute all pairs."""
        for _ in range(self.pairs):
            torch.mm(self.first, self.factor, out=self.second)
            torch.mm(self.factor, self.second, out=self.first)  # split by rows or columns: one needs all threads


@cache
def _chains(threads: int) -> tuple[Chain, ...]:
    """Return the chains of a pass, with about the same work a thread for any number of threads."""
    chains = []
    for size, pairs in SIZES:
        width = max(16, round(size * (threads / 2) ** (1 / 3) / 16) * 16)
        shape = (width, width)
        chains.append(Chain(torch.full(shape, 1 / width), torch.full(shape, 0.5), torch.full(shape, 0.5), pairs))
    return tuple(chains)
