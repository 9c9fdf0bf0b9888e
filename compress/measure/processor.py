"""Speed of the processor by a short fixed load: virtual machines report no frequency, and not where they run.

Each product needs the result of the one before from all threads, as the layers of a model do. So the load becomes
slower with the clock, with a core's second hardware thread in use, and with threads that run far from each other.
"""

import math
import time
from functools import cache

import torch

SIZE = 128
"""Width of the products with two threads."""
PAIRS, TRIES = 12, 5  # 0.6 ms a try; the fastest counts, so that an interruption of the others does not


def operations_per_s() -> int:
    """Return the operations per second of fp32 products that depend on each other, on all threads of torch.

    Takes about 3 ms.
    """
    factor, first, second = _matrices(torch.get_num_threads())
    fastest = math.inf
    for _ in range(TRIES):
        start = time.perf_counter()
        for _ in range(PAIRS):
            torch.mm(first, factor, out=second)
            torch.mm(factor, second, out=first)  # split by rows or columns: one of the two needs the other's threads
        fastest = min(fastest, time.perf_counter() - start)
    return round(PAIRS * 2 * 2 * len(factor) ** 3 / fastest)


@cache
def _matrices(threads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a factor and the places of two products, square, with about the same work a thread for any number.

    The products stay 0.5 throughout: the rows and columns of the factor add up to 1.
    """
    width = max(16, round(SIZE * (threads / 2) ** (1 / 3) / 16) * 16)
    shape = (width, width)
    return torch.full(shape, 1 / width), torch.full(shape, 0.5), torch.full(shape, 0.5)
