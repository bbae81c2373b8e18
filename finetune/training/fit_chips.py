"""Fits a classifier's head before anything trains: linear maps of tokens, filters and statistics, and their weights."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.closed_form import fit_ridge
from bandloom.command_line.console import logger
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import VAL
from bandloom.finetune.model.chip_parts import PARTS
from bandloom.finetune.model.heads import ClassifyHead
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.chip_rows import ChipRows, chip_rows, training_rows
from bandloom.finetune.training.weigh import best_set
from bandloom.run_state.pulse import pulse

CHIPS, VAL_CHIPS = 2_000, 1_000
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # of one-hot regression to logits; the least cross entropy wins
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C of a logistic regression, chosen on validation chips
UNCHOSEN = 1.0  # where there are none
FEWEST = 200  # validation chips that can choose among all means
NEVER = -20.0  # logit of a class without a training chip


@dataclass(frozen=True)
class Linear:
    """Logits or outputs ``rows @ slope + bias``: ``(D, K)`` and ``(K,)``."""

    slope: np.ndarray
    bias: np.ndarray

    def of(self, rows: np.ndarray) -> Tensor:
        """Return ``(N, K)`` of rows ``(N, D)``."""
        return torch.from_numpy(rows @ self.slope + self.bias)

    def times(self, factor: float) -> "Linear":
        """Return it scaled."""
        return Linear(self.slope * factor, self.bias * factor)


@dataclass(frozen=True)
class Maps:
    """The linear maps that a head is the weighed mean of: one of tokens, and one of each part."""

    tokens: Linear
    parts: Mapping[str, Linear]

    def of(self, rows: ChipRows) -> Tensor:
        """Return their logits of chips, ``(1 + parts, N, K)``."""
        return torch.stack([self.tokens.of(rows.tokens), *(self.parts[name].of(rows.parts[name]) for name in PARTS)])


@torch.no_grad()
def fit_classifier(model: TaskModel, head: ClassifyHead, data: TaskData, fewer_bands: float = 0.0) -> None:
    """Fit the head on at most :data:`CHIPS` training chips; validation chips weigh what it is made of.

    Tokens are read by a ridge regression; where they get no weight their map starts at zero, as a correction. Of fewer
    than :data:`FEWEST` validation chips, training chips of folds left out help to say whether tokens count. One value a
    chip is read from tokens alone. Where chips are to lose bands in training, some are fitted with the bands of other
    sensors alone as well, so that what the head reads still means something without the others.

    Args:
        model: whose tokens are read.
        head: fitted in place.
        data: labelled chips.
        fewer_bands: what chips that lost bands count, all together, where whole ones count 1; at least a tenth, or 0.
    """
    was_training = model.training
    model.eval()
    train = training_rows(model, head, data, CHIPS, fewer_bands)
    val = _taught(chip_rows(model, head, data, VAL, VAL_CHIPS), train) if len(data.indices_of(VAL)) else None
    model.train(was_training)
    tokens = _scaled(_ridge(train, model), train if val is None else val, model)
    if head.parts is not None and len(np.unique(train.labels)) > 1:
        tokens = tokens.times(_fit_parts(model, head, tokens, train, val))
    head.classify.weight.copy_(torch.from_numpy(tokens.slope.T))
    head.classify.bias.copy_(torch.from_numpy(tokens.bias))


def _taught(val: ChipRows, train: ChipRows) -> ChipRows | None:
    """Return the validation chips whose classes were trained on: of others nothing can be said."""
    known = np.isin(val.labels, train.labels) | (val.labels.dtype.kind == "f")
    return val.of(known) if known.any() else None


def _fit_parts(model: TaskModel, head: ClassifyHead, tokens: Linear, train: ChipRows, val: ChipRows | None) -> float:
    """Fit and weigh the parts; returns the weight of the tokens."""
    chosen = {name: _chosen(name, train, val, len(model.label_set)) for name in PARTS}
    strengths = {name: strength for name, (strength, _) in chosen.items()}
    maps = {name: fitted for name, (_, fitted) in chosen.items()}
    weights = _weights(model, Maps(tokens, maps), strengths, train, val)
    for name, fitted in maps.items():
        slope, bias = _parts(head).linear(name)
        slope.copy_(torch.from_numpy(fitted.slope.T))
        bias.copy_(torch.from_numpy(fitted.bias))
    _parts(head).weigh(weights[1:])
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(("tokens", *PARTS), weights, strict=True))
    logger.info("chips: weights of what the first head reads: %s", shares)
    return weights[0]


def _weights(
    model: TaskModel, maps: Maps, strengths: Mapping[str, float], train: ChipRows, val: ChipRows | None
) -> list[float]:
    """Return the weights of tokens and parts: the best mean, or of few chips with tokens where they surely gain."""
    alike, without = [1 / (1 + len(PARTS))] * (1 + len(PARTS)), [0.0] + [1 / len(PARTS)] * len(PARTS)
    if val is None:
        return alike
    if len(val.labels) >= FEWEST:
        return best_set(list(maps.of(val)), _classes(val.labels))
    held = [(maps, val), *_held_out(model, strengths, train, val)]
    gains = torch.cat([_losses(of, rows, without) - _losses(of, rows, alike) for of, rows in held])
    return alike if surely_positive(gains) else without


def surely_positive(gains: Tensor) -> bool:
    """Return whether the mean of gains ``(N,)`` is above 0 by more than its standard error.

    What has fewer parts stays where this cannot be told (the one-standard-error rule of Breiman et al. 1984).
    """
    return len(gains) > 1 and float(gains.mean()) > float(gains.std() / len(gains) ** 0.5)


def _held_out(
    model: TaskModel, strengths: Mapping[str, float], train: ChipRows, val: ChipRows
) -> Iterator[tuple[Maps, ChipRows]]:
    """Yield maps fitted without one fold of the training chips, and the chips of that fold whose classes they saw."""
    folds = train.folds[: len(train.labels)]
    for fold in np.unique(folds):
        inside = train.of(folds != fold)
        if len(np.unique(inside.labels)) > 1:
            parts = {name: _logistic(name, inside, at, len(model.label_set)) for name, at in strengths.items()}
            if (held := _taught(train.of(folds == fold), inside)) is not None:
                yield Maps(_scaled(_ridge(inside, model), val, model), parts), held


def _losses(maps: Maps, rows: ChipRows, shares: list[float]) -> Tensor:
    """Return the cross entropy ``(N,)`` of each chip under the weighed mean of the maps."""
    outputs = maps.of(rows)
    mean = torch.tensordot(outputs.new_tensor(shares), outputs, 1)
    return functional.cross_entropy(mean, _classes(rows.labels), reduction="none")


def _chosen(name: str, train: ChipRows, val: ChipRows | None, classes: int) -> tuple[float, Linear]:
    """Return the strength that validation likes best, and the map of it."""
    if val is None:
        return UNCHOSEN, _logistic(name, train, UNCHOSEN, classes)
    fits = ((at, _logistic(name, train, at, classes)) for at in STRENGTHS)
    return min(fits, key=lambda fit: _loss(fit[1].of(val.parts[name]), val))


def _logistic(name: str, train: ChipRows, strength: float, classes: int) -> Linear:
    """Return a logistic regression on standardised features, of scikit-learn's C."""
    from sklearn.linear_model import LogisticRegression

    pulse("the first head of chips")
    mean, std = train.parts[name].mean(0), train.parts[name].std(0) + 1e-6
    (rows, weights), labels = train.stacked(lambda chips: chips.parts[name]), _labels(train)
    fitted: Any = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():  # 300 steps are near enough: validation judges the map as it is
        warnings.filterwarnings("ignore", "lbfgs failed to converge")
        fitted.fit((rows - mean) / std, labels, weights)
    slope, bias = np.zeros((rows.shape[1], classes)), np.full(classes, NEVER)
    two = len(fitted.classes_) == 2  # of two classes there is one row, for the second
    slope[:, fitted.classes_] = (np.concatenate([-fitted.coef_, fitted.coef_]) / 2 if two else fitted.coef_).T
    bias[fitted.classes_] = np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2 if two else fitted.intercept_
    slope /= std[:, None]
    return Linear(slope, bias - mean @ slope)


def _ridge(train: ChipRows, model: TaskModel) -> Linear:
    """Return a ridge regression of tokens on one-hot classes, or on normalised values."""
    mean, std = train.tokens.mean(0), train.tokens.std(0) + 1e-6
    stacked, counts = train.stacked(lambda chips: chips.tokens)
    rows = (stacked - mean) / std
    if model.target is None:
        weights = fit_ridge(rows, _labels(train), len(model.label_set), counts=counts, folds=train.folds)
    else:
        from sklearn.linear_model import RidgeCV

        fitted: Any = RidgeCV(np.logspace(-2, 5, 15)).fit(
            rows, model.target.to_output(train.stacked(_own_labels)[0]), counts
        )
        weights = np.append(np.ravel(fitted.coef_), fitted.intercept_)[:, None]
    slope = weights[:-1] / std[:, None]
    return Linear(slope, weights[-1] - mean @ slope)


def _scaled(ridge: Linear, chosen_on: ChipRows, model: TaskModel) -> Linear:
    """Return a regression on one-hot classes as logits; one on values stays as it is."""
    if model.target is not None:
        return ridge
    outputs = ridge.of(chosen_on.tokens)
    return ridge.times(min(SCALES, key=lambda scale: _loss(scale * outputs, chosen_on)))


def _own_labels(chips: ChipRows) -> np.ndarray:
    return chips.labels


def _labels(train: ChipRows) -> np.ndarray:
    return train.stacked(_own_labels)[0].astype(np.int64)


def _classes(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


def _loss(logits: Tensor, rows: ChipRows) -> float:
    return float(functional.cross_entropy(logits, _classes(rows.labels)))


def _parts(head: ClassifyHead) -> Any:
    return head.parts
