"""Scores from counts by block, and the margin of one model over another on the same blocks.

A block's counts are a confusion matrix ``(K, K)`` of classes, or the sums ``(6,)`` of a measured quantity.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bandloom.errors import RunFolderError

BLOCKS = "blocks.json"
DRAWS = 1000
CLASS_SCORES = ("precision", "recall", "f1", "iou")


def read_blocks(folder: Path) -> dict[str, dict[int, np.ndarray]]:
    """Return what a run folder's ``blocks.json`` holds: ``(K, K)`` or ``(6,)`` by block by row.

    Raises:
        RunFolderError: it is damaged.
    """
    path = folder / BLOCKS
    try:
        rows = json.loads(path.read_text())["rows"]
        return {
            name: {int(block, 16): np.array(counts) for block, counts in blocks.items()}
            for name, blocks in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RunFolderError(f"{path} is damaged ({cause!r}); restore it, or run its stage again.") from cause


def overall(confusion: np.ndarray) -> np.ndarray:
    """Share of the labels that were predicted rightly, over ``(..., K, K)``."""
    true, of_class, _ = counts(confusion)
    return ratio(true.sum(-1), of_class.sum(-1))


def balanced(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur."""
    true, of_class, _ = counts(confusion)
    return _mean(ratio(true, of_class), of_class > 0)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur or are predicted."""
    true, of_class, as_class = counts(confusion)
    return _mean(ratio(2 * true, of_class + as_class), of_class + as_class > 0)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean intersection over union of the classes that occur or are predicted."""
    true, of_class, as_class = counts(confusion)
    return _mean(ratio(true, of_class + as_class - true), of_class + as_class > 0)


def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa: agreement beyond chance."""
    true, of_class, as_class = counts(confusion)
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


def scores_of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of sums ``(..., 6)``.

    R2 is one less the squared errors' share of the truths' squared deviations from their own mean, as scikit-learn's;
    where all truths are equal it is 1 without an error, else 0.

    Args:
        sums: how many values, and the sums of errors (predicted less true), squared and absolute errors, truths and
            squared truths.
    """
    count, error, squared, absolute, truth, truth_squared = np.moveaxis(sums, -1, 0)
    count = np.maximum(count, 1)
    spread = truth_squared - truth**2 / count
    flat = spread <= 1e-12 * np.maximum(truth_squared, 1e-300)
    return {
        "rmse": np.sqrt(squared / count),
        "mae": absolute / count,
        "bias": error / count,
        "r2": np.where(flat, np.where(squared <= 0, 1.0, 0.0), 1 - squared / np.where(flat, 1.0, spread)),
    }


def headlines(totals: np.ndarray, classes: bool) -> dict[str, np.ndarray]:
    """Return the scores of totals over blocks: of confusion matrices ``(..., K, K)``, or of sums ``(..., 6)``."""
    return {name: score(totals) for name, score in HEADLINE.items()} if classes else scores_of_sums(totals)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return :data:`CLASS_SCORES` of each class ``(..., K)``; NaN where a class has none."""
    true, of_class, as_class = counts(confusion)
    parts = (as_class, of_class, of_class + as_class, of_class + as_class - true)
    return {
        name: np.where(total > 0, (2 if name == "f1" else 1) * true / np.maximum(total, 1), np.nan)
        for name, total in zip(CLASS_SCORES, parts, strict=True)
    }


def drawn(stack: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return the totals of blocks drawn with replacement (Efron's bootstrap): ``(draws, ...)`` of ``(blocks, ...)``."""
    share = np.full(len(stack), 1 / len(stack))
    weights = np.random.default_rng(seed).multinomial(len(stack), share, size=draws)
    return np.einsum("db,bij->dij", weights, stack) if stack.ndim > 2 else weights @ stack


def margins(
    own: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], draws: int = DRAWS, seed: int = 0
) -> dict[str, list[float]]:
    """Return 95 % intervals of how far one model's scores are above another's, drawing the same blocks for both.

    Paired draws answer "is it better" where two separate intervals overlap and leave it open.

    Args:
        own: counts by block.
        other: the same of the other model; blocks that one of the two lacks are left out.
        draws: bootstrap repetitions.
        seed: of the draws.
    """
    blocks = [block for block in own if block in other]
    if len(blocks) < 2:
        return {}
    stacks = [np.stack([counted[block] for block in blocks]) for counted in (own, other)]
    ours, theirs = (headlines(drawn(stack, draws, seed), stack.ndim > 2) for stack in stacks)
    return {name: np.percentile(ours[name] - theirs[name], (2.5, 97.5)).tolist() for name in ours}


def counts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how often each class was rightly predicted, was true, and was predicted: ``(..., K)`` each."""
    return np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)


def ratio(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the part's share, 0 of nothing."""
    return np.where(of > 0, part / np.maximum(of, 1), 0.0)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return np.where(counted, values, 0.0).sum(-1) / np.maximum(counted.sum(-1), 1)
