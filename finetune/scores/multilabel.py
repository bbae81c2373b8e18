"""Scores of chips with several classes: average precision, and F1 at thresholds tuned on validation chips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.finetune.scores.row import Row

HEADLINES = ("map_macro", "map_micro", "f1_macro", "f1_micro")
EPSILON = 1e-9
MOST_DRAWS = 200  # average precision is slow to draw again


@dataclass(frozen=True, kw_only=True)
class MultilabelRow(Row):
    """A row of several classes a chip: truth and probability of each, and where probabilities become a yes.

    Args:
        truth: ``(N, K)`` of noughts and ones.
        score: ``(N, K)`` probabilities, or anything that grows with them.
        block_of: ``(N,)`` block numbers.
        thresholds: ``(K,)``; a class is predicted where its score reaches its threshold.
    """

    truth: np.ndarray
    score: np.ndarray
    block_of: np.ndarray
    thresholds: np.ndarray

    @property
    def scored_on(self) -> int:
        """How many chips it was scored on."""
        return len(self.truth)

    @property
    def blocks(self) -> int:
        """In how many blocks of ground they lie."""
        return len(np.unique(self.block_of))

    def scores(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores of :func:`multilabel_scores`."""
        return multilabel_scores(self, names)

    def intervals(self, draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of the headlines by at most :data:`MOST_DRAWS` draws of blocks."""
        return multilabel_intervals(self, min(draws, MOST_DRAWS))

    @property
    def predicted(self) -> np.ndarray:
        """The classes that are said to be there, ``(N, K)`` bool."""
        return self.score >= self.thresholds


def tune_thresholds(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the threshold of each class ``(K,)`` with the best F1; 0.5 for a class that never occurs.

    Args:
        truth: ``(N, K)`` of validation chips.
        score: ``(N, K)``.
    """
    thresholds = np.full(truth.shape[1], 0.5)
    for k in range(truth.shape[1]):
        order = np.argsort(-score[:, k], kind="stable")
        hits, ranked = np.cumsum(truth[order, k]), score[order, k]
        if not len(order) or not hits[-1]:
            continue
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
        last = np.append(ranked[1:] < ranked[:-1], True)  # a threshold cannot part chips of equal score
        best = int(np.argmax(np.where(last, f1, -1)))
        below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 2 * EPSILON
        thresholds[k] = (ranked[best] + below) / 2
    return thresholds


def multilabel_scores(row: MultilabelRow, names: Sequence[str]) -> dict[str, Any]:
    """Return every score as plain JSON types; a class that never occurs has no scores and lowers no average."""
    average = average_precision(row.truth, row.score)
    hits, said, true = _counts(row.truth, row.predicted)
    classes = [
        {
            "name": name,
            "average_precision": _plain(average[k]),
            "precision": _plain(_share(hits[k], said[k])),
            "recall": _plain(_share(hits[k], true[k])),
            "f1": _plain(_share(2 * hits[k], said[k] + true[k])),
            "threshold": float(row.thresholds[k]),
            "support": int(true[k]),
        }
        for k, name in enumerate(names)
    ]
    return {**headline(row.truth, row.score, row.predicted), "support": len(row.truth), "classes": classes}


def headline(truth: np.ndarray, score: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the four averages; macro over the classes that occur, micro over all decisions."""
    hits, said, true = _counts(truth, predicted)
    occurs = true > 0
    average = average_precision(truth, score)
    f1 = 2 * hits / np.maximum(said + true, 1)
    return {
        "map_macro": float(average[occurs].mean()) if occurs.any() else 0.0,
        "map_micro": float(average_precision(truth.reshape(-1, 1), score.reshape(-1, 1))[0]) if occurs.any() else 0.0,
        "f1_macro": float(f1[occurs].mean()) if occurs.any() else 0.0,
        "f1_micro": float(2 * hits.sum() / max(1, said.sum() + true.sum())),
    }


def average_precision(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the average precision of each class ``(K,)`` (scikit-learn's definition), NaN where none is true."""
    from sklearn.metrics import average_precision_score

    return np.array(
        [average_precision_score(t, s) if t.any() else np.nan for t, s in zip(truth.T, score.T, strict=True)]
    )


def multilabel_intervals(row: MultilabelRow, draws: int, seed: int = 0) -> dict[str, list[float]]:
    """Return 95 % intervals of the averages by drawing blocks with replacement."""
    blocks = np.unique(row.block_of)
    if len(blocks) < 2 or not draws:
        return {}
    members = [np.flatnonzero(row.block_of == block) for block in blocks]
    rng, predicted, drawn = np.random.default_rng(seed), row.predicted, []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(blocks), len(blocks))])
        drawn.append(list(headline(row.truth[rows], row.score[rows], predicted[rows]).values()))
    bounds = np.percentile(np.array(drawn), (2.5, 97.5), axis=0)
    return {name: bounds[:, i].tolist() for i, name in enumerate(HEADLINES)}


def _counts(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (truth * predicted).sum(0), predicted.sum(0), truth.sum(0).astype(np.int64)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
