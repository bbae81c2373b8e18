"""Fits a head's per-pixel networks on shuffled pixels until validation ground says stop, and weighs them by it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bandloom.command_line.console import logger, track
from bandloom.finetune.model.near import PLANES
from bandloom.finetune.model.pixel_part import FIRST, NETWORKS, PixelPart
from bandloom.finetune.training.linear_fit import Hide, fit_linear
from bandloom.finetune.training.pixel_network import (
    BATCH,
    EVERY,
    LOOK_STEPS,
    PATIENCE,
    LabelledPixels,
    PixelNetwork,
)
from bandloom.finetune.training.weigh import best_set, weigh

PIXELS_OF_QUANTILES = 20_000


@dataclass(frozen=True)
class PixelFit:
    """How a part was fitted.

    Args:
        loss: of the weighted mean on validation pixels, or of the networks' last batches where there are none.
        fit_seconds: how long it took.
        weights: of each network in the mean.
        steps: each network's best; a linear map has none.
    """

    loss: float
    fit_seconds: float
    weights: dict[str, float]
    steps: dict[str, int]


def fit_pixels(
    part: PixelPart,
    train: LabelledPixels,
    val: LabelledPixels | None,
    seed: int,
    steps: int,
    hide: Hide | None = None,
    names: Sequence[str] = NETWORKS,
) -> PixelFit:
    """Fit the networks and their weights; the same pixels, seed and steps give the same networks.

    Args:
        part: fitted in place.
        train: pixels to fit on, drawn in batches of :data:`BATCH`.
        val: pixels that choose each network's best step and the weights; None: the last step, and the plain mean of
            :data:`FIRST`, which alone are fitted.
        seed: of the order and of dropout.
        steps: at most so many; a network stops whose validation loss has not fallen for :data:`PATIENCE` looks, or
            which the mean is better without.
        hide: what perturbs a batch.
        names: the networks that are fitted and weighed.
    """
    began = time.monotonic()
    names = [name for name in names if val is not None or name in FIRST]
    bands = train.planes[:, : part.bands]
    part.code.fit(bands[:: max(1, len(bands) // PIXELS_OF_QUANTILES)])
    part.windows.fit(train.planes[:, : part.bands * PLANES])
    if "wide" in names:
        part.surroundings.fit(train.planes)
    outputs = {"linear": fit_linear(part, train, val, seed, hide)} if val is not None and "linear" in names else {}
    networks = [PixelNetwork(part, name, seed, train.planes) for name in names if name != "linear"]
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
            _look(networks, outputs, val, step)
    for network in networks:
        network.keep_best()
    return _weigh(part, networks, outputs, val, time.monotonic() - began)


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
    labels = train.labels.index_select(0, picks)
    hidden = None if hide is None else hide(train.planes.index_select(0, picks), generator)
    for network in networks:
        if (number - 1) % EVERY[network.name] == 0:
            rows = network.rows.index_select(0, picks) if hidden is None else network.inputs(hidden)
            network.step(rows, labels, number - 1, steps)


def _look(networks: Sequence[PixelNetwork], outputs: dict[str, Tensor], val: LabelledPixels, step: int) -> None:
    """Score all that still run on validation pixels, and stop those that the mean is better without."""
    for network in networks:
        if not network.stopped:
            network.look(val, step)
            outputs[network.name] = network.best_logits
    if step >= PATIENCE * LOOK_STEPS:
        weights = dict(zip(outputs, best_set(list(outputs.values()), val.labels), strict=True))
        for network in networks:
            network.stopped |= not weights[network.name]


def _weigh(
    part: PixelPart,
    networks: Sequence[PixelNetwork],
    outputs: Mapping[str, Tensor],
    val: LabelledPixels | None,
    seconds: float,
) -> PixelFit:
    """Set the part's weights, and say how it was fitted."""
    weights, loss = {network.name: 1 / len(networks) for network in networks}, 0.0
    if val is None:
        loss = sum(network.last_loss for network in networks) / len(networks)
    else:
        shares, loss = weigh(list(outputs.values()), val.labels, val.blocks)
        weights = dict(zip(outputs, shares, strict=True))
    weights = {name: weights.get(name, 0.0) for name in NETWORKS}
    part.weigh(list(weights.values()))
    steps = {network.name: network.best_step for network in networks}
    fit = PixelFit(loss, round(seconds, 1), weights, steps)
    said = [f"{name} {weight:.2f} (step {steps.get(name, 0)})" for name, weight in weights.items() if weight]
    logger.info("single pixels: fitted in %.0f s; weights of the networks: %s", seconds, ", ".join(said))
    return fit
