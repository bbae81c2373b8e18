"""Scores of chips with several classes: average precision, and F1 at thresholds tuned on validation chips."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bandloom.finetune.scores.row import Row
from bandloom.several_scores import Several, class_scores, headline, intervals, margins

EPSILON = 1e-9


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
        """Return 95 % intervals of the headlines by drawing blocks of chips with replacement."""
        return intervals(self.several, draws)

    def margins(self, other: "MultilabelRow", draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of its headlines less another's, the same blocks of chips drawn for both."""
        return margins(self.several, other.several, draws)

    @cached_property
    def several(self) -> Several:
        """The chips and what is said of them."""
        return Several(self.truth, self.score, self.predicted, self.block_of)

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
    by_class = class_scores(row.several)
    hits, said, true = (row.truth * row.predicted).sum(0), row.predicted.sum(0), row.truth.sum(0).astype(np.int64)
    classes = [
        {
            "name": name,
            "average_precision": _plain(by_class["average_precision"][k]),
            "precision": _plain(_share(hits[k], said[k])),
            "recall": _plain(_share(hits[k], true[k])),
            "f1": _plain(by_class["f1"][k]),
            "threshold": float(row.thresholds[k]),
            "support": int(true[k]),
        }
        for k, name in enumerate(names)
    ]
    return {**headline(row.several), "support": len(row.truth), "classes": classes}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
