"""Scores from a confusion matrix, by scikit-learn's definitions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.block_scores import HEADLINE, counts, drawn, margins, ratio
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.finetune.scores.row import Row

HEADLINES = ("overall", "balanced", "macro_f1", "mean_iou", "kappa")


@dataclass(frozen=True, kw_only=True)
class ConfusionRow(Row):
    """A row of one class a label: its confusion matrix ``(K, K)`` by block, summed over seeds where there are several.

    Args:
        repeats: how often each label was scored, such as once a seed.
    """

    confusions: dict[int, np.ndarray]
    repeats: int = 1

    @property
    def confusion(self) -> np.ndarray:
        """The sum over blocks, ``(K, K)``."""
        return np.sum(list(self.confusions.values()), axis=0)

    @property
    def scored_on(self) -> int:
        """How many labels it was scored on."""
        return int(self.confusion.sum()) // self.repeats

    @property
    def blocks(self) -> int:
        """In how many blocks of ground they lie."""
        return len(self.confusions)

    def scores(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores of :func:`scores`."""
        return scores(self.confusion, names)

    def intervals(self, draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of the headlines by drawing blocks with replacement."""
        return intervals(list(self.confusions.values()), draws) if draws else {}

    def margins(self, other: "ConfusionRow", draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of how far it is ahead of another, the same blocks drawn for both."""
        return margins(self.confusions, other.confusions, draws) if draws else {}

    def by_block(self) -> dict[int, Any]:
        """Return each block's confusion matrix as lists."""
        return {block: matrix.tolist() for block, matrix in self.confusions.items()}


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pairs of classes: ``(K, K)`` int64, truth in rows, prediction in columns.

    Args:
        label: true class indices, any shape; :data:`IGNORE_INDEX` is left out.
        predicted: predicted class indices of the same shape.
        classes: K.
    """
    known = label != IGNORE_INDEX
    pair = label[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(pair, minlength=classes * classes).reshape(classes, classes)


def block_confusions(
    label: np.ndarray, predicted: np.ndarray, blocks: np.ndarray, classes: int
) -> dict[int, np.ndarray]:
    """Return a confusion matrix for every block number that holds a known label."""
    known = label != IGNORE_INDEX
    label, predicted, blocks = label[known], predicted[known], blocks[known]
    return {
        int(block): confusion_matrix(label[blocks == block], predicted[blocks == block], classes)
        for block in np.unique(blocks)
    }


def scores(confusion: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return every score of a confusion matrix ``(K, K)`` as plain JSON types.

    Averages over classes leave out classes that neither occur nor are predicted, as scikit-learn's do;
    such a class's own row holds None.
    """
    true, of_class, as_class = counts(confusion)
    seen = (of_class + as_class) > 0
    precision, recall = ratio(true, as_class), ratio(true, of_class)
    f1, iou = ratio(2 * true, of_class + as_class), ratio(true, of_class + as_class - true)
    rows = [
        {
            "name": name,
            "precision": _plain(precision[i], seen[i]),
            "recall": _plain(recall[i], of_class[i] > 0),
            "f1": _plain(f1[i], seen[i]),
            "iou": _plain(iou[i], seen[i]),
            "support": int(of_class[i]),
        }
        for i, name in enumerate(names)
    ]
    headline = {name: float(HEADLINE[name](confusion)) for name in HEADLINES}
    return {**headline, "support": int(of_class.sum()), "classes": rows}


def intervals(confusions: Sequence[np.ndarray], draws: int = 1000, seed: int = 0) -> dict[str, list[float]]:
    """Return 95 % intervals of the headline scores by drawing blocks with replacement.

    Pixels of one block are no independent witnesses; blocks nearly are (Efron's bootstrap, percentile form).

    Args:
        confusions: one ``(K, K)`` matrix a block.
        draws: bootstrap repetitions.
        seed: of the draws.
    """
    if len(confusions) < 2:
        return {}
    totals = drawn(np.stack(confusions), draws, seed)
    return {name: np.percentile(HEADLINE[name](totals), (2.5, 97.5)).tolist() for name in HEADLINES}


def top_confusions(confusion: np.ndarray, names: Sequence[str], most: int = 10) -> list[dict[str, Any]]:
    """List the commonest mistakes: which class was taken for which, how often, and what share of the class it is."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i) // len(names), int(i) % len(names)) for i in order if wrong.flat[i] > 0]
    return [
        {
            "truth": names[t],
            "taken_for": names[p],
            "count": int(wrong[t, p]),
            "share": float(wrong[t, p] / confusion[t].sum()),
        }
        for t, p in pairs
    ]


def _plain(value: float, known: bool) -> float | None:
    return float(value) if known else None
