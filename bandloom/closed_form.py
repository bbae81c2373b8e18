"""Classifiers in closed form, in numpy: ridge regression on one-hot labels, and a vote of the nearest neighbours.

Ten thousand rows take seconds on a CPU. :mod:`bandloom.probes` scores features by the same two, on any device.
"""

from collections.abc import Sequence

import numpy as np

RIDGE_PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)


def ridge(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, penalties: Sequence[float] = RIDGE_PENALTIES
) -> np.ndarray:
    """Return predicted classes ``(M,)`` of a ridge regression on one-hot labels; see :func:`fit_ridge`."""
    return _predict(test, fit_ridge(train, labels, classes, penalties))


def fit_ridge(
    train: np.ndarray,
    labels: np.ndarray,
    classes: int,
    penalties: Sequence[float] = RIDGE_PENALTIES,
    *,
    counts: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> np.ndarray:
    """Return the weights ``(D + 1, K)`` of a ridge regression on one-hot labels, the last row being the bias.

    Args:
        train: features ``(N, D)``.
        labels: class indices ``(N,)``.
        classes: K.
        penalties: the best in 5-fold cross-validation is taken.
        counts: what each row counts ``(N,)``; all alike by default.
        folds: of each row ``(N,)``, 0 to 4; interleaved by default.
    """
    folds = np.arange(len(train)) % 5 if folds is None else folds
    root = np.ones(len(train)) if counts is None else np.sqrt(counts)
    scores = []
    for penalty in penalties:
        hits = 0.0
        for fold in range(5):
            inside, outside = folds != fold, folds == fold
            if outside.any() and inside.any():
                weights = _solve(train[inside], labels[inside], classes, penalty, root[inside])
                right = _predict(train[outside], weights) == labels[outside]
                hits += float((right * root[outside] ** 2).sum())
        scores.append(hits)
    return _solve(train, labels, classes, penalties[int(np.argmax(scores))], root)


def nearest_neighbours(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, k: int = 10, temperature: float = 0.1
) -> np.ndarray:
    """Return predicted classes ``(M,)`` by a cosine vote of ``k`` neighbours, weighted by ``exp(similarity / t)``."""
    return neighbour_votes(train, np.eye(classes)[labels], test, k, temperature).argmax(1)


def neighbour_votes(
    train: np.ndarray, targets: np.ndarray, test: np.ndarray, k: int, temperature: float | None = None
) -> np.ndarray:
    """Return the votes ``(M, K)`` of the ``k`` nearest training rows.

    Args:
        train: features ``(N, D)``.
        targets: ``(N, K)`` of noughts and ones, a class or several in each row.
        test: features ``(M, D)``.
        k: neighbours that vote, all where there are fewer.
        temperature: None: nearest by Euclidean distance, one vote each, as a share of all; else nearest by cosine, each
            vote weighted by ``exp(similarity / temperature)``.
    """
    euclidean = temperature is None
    centre = train.mean(0) if euclidean else 0.0  # distances are the same, and lose fewer digits
    train = train - centre if euclidean else train / (np.linalg.norm(train, axis=1, keepdims=True) + 1e-9)
    squared, k = (train**2).sum(1), min(k, len(train))
    votes = np.zeros((len(test), targets.shape[1]))
    for start in range(0, len(test), 4096):
        part = test[start : start + 4096]
        if euclidean:
            similarity = 2 * (part - centre) @ train.T - squared
        else:
            similarity = part / (np.linalg.norm(part, axis=1, keepdims=True) + 1e-9) @ train.T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        kept = np.take_along_axis(similarity, nearest, 1)
        weight = np.full(kept.shape, 1 / k) if temperature is None else np.exp(kept / temperature)
        for place in range(k):
            votes[start : start + 4096] += weight[:, place, None] * targets[nearest[:, place]]
    return votes


def _solve(rows: np.ndarray, labels: np.ndarray, classes: int, penalty: float, root: np.ndarray) -> np.ndarray:
    """Return the weights of rows that count the square of ``root``."""
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1).astype(np.float64) * root[:, None]
    targets = (np.eye(classes)[labels] - 1 / classes) * root[:, None]
    if len(design) < design.shape[1]:  # the dual form is smaller when there are fewer rows than features
        gram = design @ design.T + penalty * np.eye(len(design))
        return design.T @ np.linalg.solve(gram, targets)
    return np.linalg.solve(design.T @ design + penalty * np.eye(design.shape[1]), design.T @ targets)


def _predict(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (rows @ weights[:-1] + weights[-1]).argmax(1)
