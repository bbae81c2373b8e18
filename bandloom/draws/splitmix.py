"""Hashes of integers that are the same on every machine: the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ALL = 2**64 - 1


def mix64(state: np.ndarray) -> np.ndarray:
    """Mix uint64 element by element; wrapping is what it is for."""
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        return state ^ (state >> np.uint64(31))


def mix64_one(state: int) -> int:
    """Mix one integer of 64 bits, as :func:`mix64` does; far quicker for a single one."""
    state = ((state ^ (state >> 30)) * int(_FIRST)) & _ALL
    state = ((state ^ (state >> 27)) * int(_SECOND)) & _ALL
    return state ^ (state >> 31)
