"""Scores from a confusion matrix, by scikit-learn's definitions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    true, of_class, as_class = _counts(confusion)
    seen = (of_class + as_class) > 0
    precision, recall = _ratio(true, as_class), _ratio(true, of_class)
    f1, iou = _ratio(2 * true, of_class + as_class), _ratio(true, of_class + as_class - true)
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


def overall(confusion: np.ndarray) -> np.ndarray:
    """Share of the labels that were predicted rightly, over ``(..., K, K)``."""
    true, of_class, _ = _counts(confusion)
    return _ratio(true.sum(-1), of_class.sum(-1))


def balanced(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur."""
    true, of_class, _ = _counts(confusion)
    return _mean(_ratio(true, of_class), of_class > 0)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur or are predicted."""
    true, of_class, as_class = _counts(confusion)
    return _mean(_ratio(2 * true, of_class + as_class), of_class + as_class > 0)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean intersection over union of the classes that occur or are predicted."""
    true, of_class, as_class = _counts(confusion)
    return _mean(_ratio(true, of_class + as_class - true), of_class + as_class > 0)


def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa: agreement beyond chance."""
    true, of_class, as_class = _counts(confusion)
    total = np.maximum(of_class.sum(-1), 1)
    chance = (of_class / total[..., None] * (as_class / total[..., None])).sum(-1)
    return np.where(chance < 1, (true.sum(-1) / total - chance) / np.maximum(1 - chance, 1e-12), 0.0)


HEADLINE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "overall": overall,
    "balanced": balanced,
    "macro_f1": macro_f1,
    "mean_iou": mean_iou,
    "kappa": kappa,
}


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
    stack = np.stack(confusions)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(stack), np.full(len(stack), 1 / len(stack)), size=draws)
    drawn = np.einsum("db,bij->dij", weights, stack)
    return {name: np.percentile(HEADLINE[name](drawn), (2.5, 97.5)).tolist() for name in HEADLINES}


def margins(
    own: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], draws: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """Return 95 % intervals of how far one model is ahead of another, drawing the same blocks for both.

    Paired draws answer "is it better" where two separate intervals overlap and leave it open.

    Args:
        own: ``(K, K)`` by block.
        other: the same of the other model; blocks that one of the two lacks are left out.
        draws: bootstrap repetitions.
        seed: of the draws.
    """
    blocks = [block for block in own if block in other]
    if len(blocks) < 2:
        return {}
    weights = np.random.default_rng(seed).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=draws)
    ours, theirs = (
        np.einsum("db,bij->dij", weights, np.stack([matrices[block] for block in blocks])) for matrices in (own, other)
    )
    return {
        name: np.percentile(HEADLINE[name](ours) - HEADLINE[name](theirs), (2.5, 97.5)).tolist() for name in HEADLINES
    }


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


def _counts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return np.where(counted, values, 0.0).sum(-1) / np.maximum(counted.sum(-1), 1)


def _plain(value: float, known: bool) -> float | None:
    return float(value) if known else None
