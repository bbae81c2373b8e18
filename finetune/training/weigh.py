"""Weighs networks on validation ground: the mean of every set of them that is as good as the best, within its error."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bandloom.finetune.scores.confusion import macro_f1
from bandloom.finetune.training.pixel_network import pixel_loss

DRAWS = 100  # of blocks
LEAST = 0.1  # below it a network is not worth what it costs to compute


def weigh(outputs: Sequence[Tensor], labels: Tensor, blocks: np.ndarray | None) -> tuple[list[float], float]:
    """Return a weight for each network, and the loss of their weighted mean.

    The means of all sets of networks are scored: classes by macro-F1, values by their squared error. Sets within one
    standard error of the best, over draws of blocks, cannot be told from it, so their weights are averaged (the
    one-standard-error rule; Breiman et al. 1984). On large ground that is the best set; on small ground the best one
    is luck, and averaging was better on validation ground held out (docs/decisions/head.md).

    Args:
        outputs: of the networks, ``(N, K)`` each.
        labels: class indices or normalised values, ``(N,)``.
        blocks: of each label, ``(N,)``; None: all lie in one, and the best set alone is taken.
    """
    weights, means = _sets(outputs)
    counts, score = _counts(means, labels, np.zeros(len(labels), np.int64) if blocks is None else blocks)
    scores, number = score(counts.sum(1)), counts.shape[1]
    best = _best(scores, means, labels)
    draws = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), DRAWS)
    drawn = score(np.tensordot(draws, counts, (1, 1)))  # (draws, sets)
    error = (drawn - drawn[:, [best]]).std(0)
    alike = np.flatnonzero(scores >= scores[best] - error) if number > 1 else [best]
    shares = np.mean([weights[place] for place in alike], axis=0)
    shares = np.where(shares < LEAST, 0.0, shares)
    kept = (shares / shares.sum()).tolist()
    return kept, float(pixel_loss(weighted_mean(outputs, kept), labels))


def best_set(outputs: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Return the weights of the best set of networks: the same for each in it, 0 for others; the loss decides ties."""
    weights, means = _sets(outputs)
    counts, score = _counts(means, labels, np.zeros(len(labels), np.int64))
    return weights[_best(score(counts.sum(1)), means, labels)]


def best_one(outputs: Sequence[Tensor], labels: Tensor) -> int:
    """Return which of the outputs is best by itself; the loss decides ties."""
    counts, score = _counts(outputs, labels, np.zeros(len(labels), np.int64))
    return _best(score(counts.sum(1)), outputs, labels)


def weighted_mean(outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the sum of outputs ``(N, K)`` times their weights."""
    return torch.stack([weight * output for weight, output in zip(weights, outputs, strict=True)]).sum(0)


def _sets(outputs: Sequence[Tensor]) -> tuple[list[list[float]], list[Tensor]]:
    sets = [kept for kept in itertools.product((1.0, 0.0), repeat=len(outputs)) if any(kept)]
    weights = [[share / sum(kept) for share in kept] for kept in sets]
    return weights, [weighted_mean(outputs, shares) for shares in weights]


def _best(scores: np.ndarray, means: Sequence[Tensor], labels: Tensor) -> int:
    losses = [float(pixel_loss(mean, labels)) for mean in means]
    return min(range(len(losses)), key=lambda place: (-scores[place], losses[place]))


def _counts(
    means: Sequence[Tensor], labels: Tensor, blocks: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return what scores are made of, by set and block, ``(S, B, ...)``, and how; larger scores are better."""
    names, at = np.unique(blocks, return_inverse=True)
    truth = labels.numpy()
    if labels.is_floating_point():
        errors = np.stack([np.bincount(at, (mean[:, 0].numpy() - truth) ** 2, len(names)) for mean in means])
        sizes = np.broadcast_to(np.bincount(at, minlength=len(names)), errors.shape)
        return np.stack([errors, sizes], axis=-1), lambda counts: -counts[..., 0] / counts[..., 1]
    classes = means[0].shape[1]
    first, shape = (at * classes + truth) * classes, (len(names), classes, classes)
    said = [first + mean.argmax(1).numpy() for mean in means]
    return np.stack([np.bincount(place, minlength=len(names) * classes**2).reshape(shape) for place in said]), macro_f1
