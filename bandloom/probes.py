"""Frozen-feature probes: how much of a label a linear map or the nearest neighbours can read from features.

The protocol is fixed, since a sweep alone is worth three points: features standardised by the training rows, ridge on
one-hot labels with the penalty chosen by 5-fold cross-validation, and the ten nearest neighbours. Both predict what
those of :mod:`bandloom.closed_form` do, on the device where features were computed: a ridge regression needs the rows'
products with themselves alone. Those of all rows less those of a fold are what the other four folds have, so five folds
and five penalties cost one pass over the rows in place of twenty-five.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bandloom.closed_form import RIDGE_PENALTIES

FOLDS = 5
_ROWS = 4096  # compared with all training rows at once


@dataclass(frozen=True)
class ProbeScores:
    """Accuracies on the test rows, 0..1."""

    ridge: float
    knn: float


def probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
    device: torch.device | str = "cpu",
) -> ProbeScores:
    """Fit both probes on ``(N, D)`` features with ``(N,)`` class indices, score them on the test rows."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / std, (test - mean) / std
    by_ridge = ridge(train, train_labels, test, classes, device=device)
    by_neighbours = nearest_neighbours(train, train_labels, test, classes, device=device)
    return ProbeScores(float((by_ridge == test_labels).mean()), float((by_neighbours == test_labels).mean()))


def ridge(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    classes: int,
    penalties: Sequence[float] = RIDGE_PENALTIES,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return predicted classes ``(M,)`` as :func:`bandloom.closed_form.ridge` does, in float64 on ``device``."""
    rows, targets = _design(train, device), _targets(labels, classes, device)
    known = torch.as_tensor(labels, device=device)
    fits = _Primal(rows, targets) if len(rows) >= rows.shape[1] else _Dual(rows, targets)
    hits = torch.zeros(len(penalties), device=device)
    for outside in _folds(len(rows), device):
        for place, scores in enumerate(fits.held_out(outside, penalties)):
            hits[place] += (scores.argmax(1) == known[outside]).sum()
    weights = fits.weights(penalties[int(hits.argmax())])
    return torch.cat([(part @ weights).argmax(1) for part in _design(test, device).split(_ROWS)]).cpu().numpy()


def nearest_neighbours(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    classes: int,
    k: int = 10,
    temperature: float = 0.1,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return predicted classes ``(M,)`` as :func:`bandloom.closed_form.nearest_neighbours` does."""
    rows, of_row = _unit(train, device), torch.as_tensor(labels, device=device)
    predicted = []
    for part in _unit(test, device).split(_ROWS):
        kept, nearest = (part @ rows.T).topk(min(k, len(rows)), 1)
        votes = torch.zeros(len(part), classes, dtype=torch.float64, device=device)
        votes.scatter_add_(1, of_row[nearest], (kept / temperature).exp().double())
        predicted.append(votes.argmax(1))
    return torch.cat(predicted).cpu().numpy()


class _Primal:
    """Fits of at least as many rows as features ``(N, D)``, by the features' products ``(D, D)``."""

    def __init__(self, rows: Tensor, targets: Tensor) -> None:
        self.rows, self.targets = rows, targets
        self.gram, self.right = rows.T @ rows, rows.T @ targets

    def held_out(self, outside: Tensor, penalties: Sequence[float]) -> Iterator[Tensor]:
        """Yield, a penalty after the other, scores of a fold's rows by a fit on the others."""
        rows, targets = self.rows[outside], self.targets[outside]
        gram, right = self.gram - rows.T @ rows, self.right - rows.T @ targets
        for penalty in penalties:
            yield rows @ _solved(gram, right, penalty)

    def weights(self, penalty: float) -> Tensor:
        """Return the weights ``(D, K)`` of a fit on all rows."""
        return _solved(self.gram, self.right, penalty)


class _Dual:
    """Fits of fewer rows than features, by the rows' products ``(N, N)``."""

    def __init__(self, rows: Tensor, targets: Tensor) -> None:
        self.rows, self.targets, self.products = rows, targets, rows @ rows.T

    def held_out(self, outside: Tensor, penalties: Sequence[float]) -> Iterator[Tensor]:
        """Yield, a penalty after the other, scores of a fold's rows by a fit on the others."""
        everything = torch.arange(len(self.rows), device=outside.device)
        inside = everything[~torch.isin(everything, outside)]
        among, across = self.products[inside][:, inside], self.products[outside][:, inside]
        for penalty in penalties:
            yield across @ _solved(among, self.targets[inside], penalty)

    def weights(self, penalty: float) -> Tensor:
        """Return the weights ``(D, K)`` of a fit on all rows."""
        return self.rows.T @ _solved(self.products, self.targets, penalty)


def _solved(products: Tensor, right: Tensor, penalty: float) -> Tensor:
    own = torch.eye(len(products), dtype=products.dtype, device=products.device)
    return torch.linalg.solve(products + penalty * own, right)


def _folds(count: int, device: torch.device | str) -> Iterator[Tensor]:
    """Yield the rows of each interleaved fold that leaves some."""
    for fold in range(min(FOLDS, count)):
        outside = torch.arange(fold, count, FOLDS, device=device)
        if len(outside) < count:
            yield outside


def _design(rows: np.ndarray, device: torch.device | str) -> Tensor:
    given = torch.as_tensor(rows, dtype=torch.float64, device=device)
    return torch.cat([given, torch.ones(len(given), 1, dtype=torch.float64, device=device)], 1)


def _targets(labels: np.ndarray, classes: int, device: torch.device | str) -> Tensor:
    return torch.as_tensor(np.eye(classes)[labels] - 1 / classes, device=device)


def _unit(rows: np.ndarray, device: torch.device | str) -> Tensor:
    given = torch.as_tensor(rows, device=device)
    return given / (given.norm(dim=1, keepdim=True) + 1e-9)
