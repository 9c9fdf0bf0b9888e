"""Sets of small numbers as whole numbers that a double holds exactly, several if there are many.

{0, 2, 50} of 60      5.0, 4.0        bits 0 and 2 of the first number, bit 50 - 48 of the second
"""

import hashlib
from collections.abc import Iterable

import numpy as np

BITS = 48
"""Members that one number stands for; a double holds whole numbers below 2^53."""


def masks(members: Iterable[int], size: int) -> list[float]:
    """Return the numbers that stand for a set of numbers from 0 to `size` - 1."""
    found = [0] * -(-size // BITS)
    for member in set(members):
        found[member // BITS] |= 1 << member % BITS
    return [float(number) for number in found]


def unpacked(numbers: np.ndarray, size: int) -> np.ndarray:
    """Return whether each set has each member, as bool [n, size]; numbers [n, columns] are those of `masks`."""
    whole = np.ascontiguousarray(numbers.astype("<i8"))
    bits = np.unpackbits(whole.view(np.uint8), axis=1, bitorder="little")  # [n, columns * 64]
    kept: np.ndarray = bits.reshape(len(whole), -1, 64)[:, :, :BITS].reshape(len(whole), -1)[:, :size].astype(bool)
    return kept


def identity(values: Iterable[int]) -> float:
    """Return a number that a double holds exactly, and that differs for other values but by chance (1 in 2^48)."""
    return float(int.from_bytes(hashlib.blake2b(str(list(values)).encode(), digest_size=BITS // 8).digest()))


def are_masks(numbers: Iterable[float]) -> bool:
    """Return whether all numbers may stand for sets."""
    return all(0 <= number < 1 << BITS and number == int(number) for number in numbers)
