"""How far two answers to the same chips lie apart."""

import numpy as np


def compare(given: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the largest absolute difference and the share of equal classes of two logit arrays ``(B, K, ...)``.

    Answers of another shape, or that are not finite, are infinitely far apart and agree nowhere.
    """
    if given.shape != expected.shape or not np.isfinite(given).all():
        return float("inf"), 0.0
    max_abs = float(np.abs(given.astype(np.float64) - expected).max())
    return max_abs, float((given.argmax(axis=1) == expected.argmax(axis=1)).mean())
