"""Weighs networks on validation ground: the mean of every set of them that is as good as the best, within its error."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
    places = np.unique(np.zeros(len(labels)) if blocks is None else blocks, return_inverse=True)[1]
    number = int(places.max()) + 1
    draws = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), DRAWS)
    every = np.concatenate([np.ones((1, number)), draws])  # all blocks once, then draws of them
    scores = np.stack([_drawn_scores(mean, labels, places, every) for mean in means], axis=1)  # (1 + draws, sets)
    best = _best(scores[0], means, labels)
    error = (scores[1:] - scores[1:, [best]]).std(0)
    alike = np.flatnonzero(scores[0] >= scores[0, best] - error) if number > 1 else [best]
    shares = np.mean([weights[place] for place in alike], axis=0)
    shares = np.where(shares < LEAST, 0.0, shares)
    kept = (shares / shares.sum()).tolist()
    return kept, float(pixel_loss(weighted_mean(outputs, kept), labels))


def best_set(outputs: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Return the weights of the best set of networks: the same for each in it, 0 for others; the loss decides ties."""
    weights, means = _sets(outputs)
    return weights[_best(_scores(means, labels), means, labels)]


def best_one(outputs: Sequence[Tensor], labels: Tensor) -> int:
    """Return which of the outputs is best by itself; the loss decides ties."""
    return _best(_scores(outputs, labels), outputs, labels)


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


def _scores(means: Sequence[Tensor], labels: Tensor) -> np.ndarray:
    """Return the score of each mean on all labels, ``(S,)``."""
    nowhere = np.zeros(len(labels), np.int64)
    return np.concatenate([_drawn_scores(mean, labels, nowhere, np.ones((1, 1))) for mean in means])


def _drawn_scores(output: Tensor, labels: Tensor, places: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return a score a draw, ``(D,)``, larger is better: of outputs ``(N, K)`` in blocks that are drawn so often.

    Numbers are kept by block and class, not by pair of classes: there may be thousands of blocks and 250 classes.

    Args:
        output: of one mean.
        labels: of its rows, ``(N,)``.
        places: the block of each, from 0, ``(N,)``.
        draws: how often each block counts, ``(D, B)``.
    """
    truth, blocks = labels.numpy(), draws.shape[1]
    if labels.is_floating_point():
        error = np.bincount(places, (output[:, 0].numpy() - truth) ** 2, blocks)
        return -(draws @ error) / (draws @ np.bincount(places, minlength=blocks))
    said, classes = output.argmax(1).numpy(), output.shape[1]

    def by_class(rows: np.ndarray, which: np.ndarray) -> np.ndarray:
        counted = np.bincount(places[rows] * classes + which[rows], minlength=blocks * classes)
        return draws @ counted.reshape(blocks, classes)  # (D, K)

    everywhere = np.ones(len(truth), bool)
    right = by_class(said == truth, truth)
    either = by_class(everywhere, truth) + by_class(everywhere, said)
    seen = either > 0
    return np.where(seen, 2 * right / np.maximum(either, 1), 0).sum(1) / seen.sum(1)
