"""Calibration: expected calibration error, and one temperature fitted on validation labels.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") divides all logits by one number: no
class changes, the probabilities do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15  # Guo et al. 2017
_LOG_RANGE = (-3.0, 3.0)  # temperatures from 0.05 to 20


@dataclass(frozen=True)
class Reliability:
    """Labels by the confidence of their prediction, in :data:`BINS` bins of equal width; addition merges two.

    Args:
        counts: labels a bin, ``(BINS,)`` int64.
        confidence: sum of the confidences a bin, ``(BINS,)``.
        hits: labels a bin that were predicted rightly, ``(BINS,)`` int64.
    """

    counts: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(cls, confidence: np.ndarray, correct: np.ndarray) -> "Reliability":
        """Count predictions of confidence ``(N,)`` 0..1 that were ``correct`` ``(N,)`` or not."""
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        sums = (np.bincount(place, weights, BINS) for weights in (None, confidence, correct))
        counts, total, hits = sums
        return cls(counts.astype(np.int64), total, hits.astype(np.int64))

    @classmethod
    def nothing(cls) -> "Reliability":
        """Return the empty count."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.counts + other.counts, self.confidence + other.confidence, self.hits + other.hits)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy, weighted by labels."""
        return float(np.abs(self.hits - self.confidence).sum() / max(int(self.counts.sum()), 1))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types: the error, and count, mean confidence and accuracy of each bin."""
        seen = np.maximum(self.counts, 1)
        return {
            "error": self.error,
            "counts": self.counts.tolist(),
            "confidence": (self.confidence / seen).tolist(),
            "accuracy": (self.hits / seen).tolist(),
        }


def softmax(logits: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return probabilities along ``axis``."""
    shifted = np.exp(logits - logits.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that makes labels likeliest; 1 without labels.

    The likelihood is concave in 1 / T, so one bounded search finds its top.

    Args:
        logits: ``(N, K)``.
        labels: class indices ``(N,)``.
    """
    return float(np.exp(_best_fit(logits, labels).x)) if len(labels) else 1.0


def best_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log likelihood of labels at the temperature that makes them likeliest.

    Arguments as of :func:`fit_temperature`.
    """
    return -float(_best_fit(logits, labels).fun)


def _best_fit(logits: np.ndarray, labels: np.ndarray) -> Any:
    from scipy import optimize, special

    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((special.logsumexp(scaled, axis=1) - scaled[rows, labels]).mean())

    return optimize.minimize_scalar(cost, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-4})
