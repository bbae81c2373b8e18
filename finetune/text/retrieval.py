"""Retrieval scores (recall at k), each beside the one of a random order."""

from typing import Any

import numpy as np
from scipy.special import gammaln

DEPTH = 100
KS = (1, 5, 10)


def retrieval(scores: np.ndarray, relevant: np.ndarray) -> dict[str, Any]:
    """Return R@1, R@5, R@10 and mAP@100 of queries against a gallery, with chance.

    Args:
        scores: ``(Q, N)``, larger is nearer.
        relevant: ``(Q, N)`` bool; queries without anything to find are left out.
    """
    answerable = relevant.any(1)
    scores, relevant = scores[answerable], relevant[answerable]
    if not len(scores):
        return {"queries": 0, "gallery": scores.shape[1]}
    order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    hits = np.take_along_axis(relevant, order, 1)
    counts = relevant.sum(1)
    result: dict[str, Any] = {"queries": len(scores), "gallery": scores.shape[1]}
    for k in KS:
        result[f"recall_at_{k}"] = float(hits[:, :k].any(1).mean())
        result[f"recall_at_{k}_chance"] = float(chance_recall(counts, scores.shape[1], k).mean())
    result["map_at_100"] = float(average_precision(hits, counts).mean())
    result["map_at_100_chance"] = float(np.mean([chance_precision(int(c), scores.shape[1]) for c in counts]))
    return result


def average_precision(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return AP within the depth of ``hits``, ``(Q,)``.

    Args:
        hits: whether the item at each rank is relevant, ``(Q, depth)`` bool.
        counts: relevant items in the whole gallery, ``(Q,)``.
    """
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(1) / np.minimum(counts, DEPTH)


def chance_recall(counts: np.ndarray, gallery: int, k: int) -> np.ndarray:
    """Return the chance that k items drawn without replacement hold one of ``counts`` relevant ones, ``(Q,)``."""
    k = min(k, gallery)
    rest = gallery - counts
    log_none = (gammaln(rest + 1) - gammaln(np.maximum(rest - k, 0) + 1)) - (
        gammaln(gallery + 1) - gammaln(gallery - k + 1)
    )
    return np.where(rest < k, 1.0, 1 - np.exp(log_none))


def chance_precision(count: int, gallery: int) -> float:
    """Return the expected AP@100 of a random order: by rank, what a relevant item there sees before it."""
    ranks = np.arange(1, min(DEPTH, gallery) + 1)
    before = (ranks - 1) * (count - 1) / max(1, gallery - 1)
    return float((count / gallery * (1 + before) / ranks).sum() / min(count, DEPTH))
