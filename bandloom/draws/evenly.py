"""Some of many, evenly picked: the first, the last, and as many as wanted between them."""

import numpy as np


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most ``most`` of the numbers below ``count``, ascending, none twice, ``(N,)`` int64."""
    if not count or not most:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))
