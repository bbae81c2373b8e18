"""Fits a head's per-pixel networks on shuffled pixels until validation ground says stop, and weighs them by it."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bandloom.console import logger, track
from bandloom.finetune.model.near import PLANES
from bandloom.finetune.model.pixel_part import NETWORKS, PixelPart
from bandloom.finetune.training.pixel_network import (
    BATCH,
    EVERY,
    LOOK_STEPS,
    PATIENCE,
    LabelledPixels,
    PixelNetwork,
    pixel_loss,
)

PIXELS_OF_QUANTILES = 20_000


@dataclass(frozen=True)
class PixelFit:
    """How a part was fitted.

    Args:
        loss: of the weighted mean on validation pixels, or of the networks' last batches where there are none.
        fit_seconds: how long it took.
        weights: of each network in the mean.
        steps: each network's best.
    """

    loss: float
    fit_seconds: float
    weights: dict[str, float]
    steps: dict[str, int]


Hide = Callable[[Tensor, torch.Generator], Tensor]  # takes bands away from planes (B, F): sets them to 0


def fit_pixels(
    part: PixelPart, train: LabelledPixels, val: LabelledPixels | None, seed: int, steps: int, hide: Hide | None = None
) -> PixelFit:
    """Fit the three networks and their weights; the same pixels, seed and steps give the same networks.

    Args:
        part: fitted in place.
        train: pixels to fit on, drawn in batches of :data:`BATCH`.
        val: pixels that choose each network's best step and the weights; None: the last step, and the plain mean.
        seed: of the order and of dropout.
        steps: at most so many; a network stops whose validation loss has not fallen for :data:`PATIENCE` looks, or
            which the mean is better without.
        hide: what perturbs a batch.
    """
    began = time.monotonic()
    bands = train.planes[:, : train.planes.shape[1] // PLANES]
    part.code.fit(bands[:: max(1, len(bands) // PIXELS_OF_QUANTILES)])
    part.windows.fit(train.planes)
    networks = [PixelNetwork(part, name, seed, train.planes) for name in NETWORKS]
    generator = torch.Generator().manual_seed(seed)
    for step in track(range(1, steps + 1), "single pixels first"):
        running = [network for network in networks if not network.stopped]
        if not running:
            break
        _step(running, train, generator, hide, (step, steps))
        if step == LOOK_STEPS:
            most_s = (time.monotonic() - began) * (steps / step - 1)
            logger.info("single pixels: at most %.0f s more, less where validation stops gaining before", most_s)
        if val is not None and (step % LOOK_STEPS == 0 or step == steps):
            _look(networks, val, step)
    for network in networks:
        network.keep_best()
    return _weigh(part, networks, val, time.monotonic() - began)


def _step(
    networks: Sequence[PixelNetwork],
    train: LabelledPixels,
    generator: torch.Generator,
    hide: Hide | None,
    step: tuple[int, int],
) -> None:
    """Draw a batch and take one step with each network; ``step`` is its number, from 1, of how many."""
    number, steps = step
    picks = torch.randint(len(train.labels), (min(BATCH, len(train.labels)),), generator=generator)
    labels = train.labels[picks]
    hidden = None if hide is None else hide(train.planes.index_select(0, picks), generator)
    for network in networks:
        if (number - 1) % EVERY[network.name] == 0:
            rows = network.rows.index_select(0, picks) if hidden is None else network.inputs(hidden)
            network.step(rows, labels, number - 1, steps)


def _look(networks: Sequence[PixelNetwork], val: LabelledPixels, step: int) -> None:
    """Score all that still run on validation pixels, and stop those that the mean is better without."""
    for network in networks:
        if not network.stopped:
            network.look(val, step)
    if step >= PATIENCE * LOOK_STEPS:
        weights, _ = best_mean([network.best_logits for network in networks], val.labels)
        for network, weight in zip(networks, weights, strict=True):
            network.stopped |= not weight


def _weigh(part: PixelPart, networks: Sequence[PixelNetwork], val: LabelledPixels | None, seconds: float) -> PixelFit:
    """Set the part's weights, and say how it was fitted."""
    weights, loss = [1 / len(networks)] * len(networks), sum(network.last_loss for network in networks) / len(networks)
    if val is not None:
        weights, loss = best_mean([network.best_logits for network in networks], val.labels)
    part.weigh(weights)
    steps = {network.name: network.best_step for network in networks}
    fit = PixelFit(loss, round(seconds, 1), dict(zip(NETWORKS, weights, strict=True)), steps)
    shares = ", ".join(f"{name} {weight:.2f} (step {steps[name]})" for name, weight in fit.weights.items())
    logger.info("single pixels: fitted in %.0f s; weights of the networks: %s", seconds, shares)
    return fit


def best_mean(outputs: Sequence[Tensor], labels: Tensor) -> tuple[list[float], float]:
    """Choose which networks' outputs are averaged: each gets the same weight or none.

    Of classes the mean with the best macro-F1 is taken, of values that with the least error; the loss decides ties. On
    small ground the likelihood is that of a few wrong and sure pixels, and chooses worse (docs/decisions/head.md).

    Args:
        outputs: of the networks, ``(N, K)`` each.
        labels: class indices or normalised values, ``(N,)``.

    Returns:
        A weight a network, and the loss of their mean.
    """
    sets = [kept for kept in itertools.product((1.0, 0.0), repeat=len(outputs)) if any(kept)]
    weights = [[share / sum(kept) for share in kept] for kept in sets]
    means = [_mean(outputs, shares) for shares in weights]
    losses = [float(pixel_loss(mean, labels)) for mean in means]
    best = min(range(len(losses)), key=lambda place: (-_macro_f1(means[place], labels), losses[place]))
    return weights[best], losses[best]


def _macro_f1(output: Tensor, labels: Tensor) -> float:
    """Return the mean F1 over the classes that occur or are said; of values, which have none, 0."""
    if labels.is_floating_point():
        return 0.0
    classes = output.shape[1]
    counts = torch.bincount(labels * classes + output.argmax(1), minlength=classes**2).view(classes, classes).double()
    total = counts.sum(0) + counts.sum(1)
    return float((2 * counts.diagonal() / total.clamp_min(1))[total > 0].mean())


def _mean(outputs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * output for weight, output in zip(weights, outputs, strict=True)]).sum(0)
