"""The context objective: pixels of hidden tokens, and of every token what its surroundings and textures are like.

Surroundings are mean and deviation of each slot over 3 x 3 and 5 x 5 tokens; textures are log power of windows twice a
token's side about it, by radius and direction, in red and near infrared. Of visible tokens they are read by a linear
map of the encoder's own output, so that a token has to know its surroundings; of hidden ones the decoder says them.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bandloom.model.embedding import unpatchify
from bandloom.model.token_layout import TokenLayout, area_overlap, token_layout
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.beside_pixels import BesidePixels
from bandloom.pretrain.objectives.objective import Decoded, token_rows
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import constant

SIDES = (3, 5)  # tokens
POWER_SLOTS = ("B04", "B08")
# cycles a sample from, to, and directions: what a window of 12 samples can tell apart
RINGS = ((0.06, 0.15, 2), (0.15, 0.25, 4), (0.25, 0.34, 6), (0.34, 0.43, 6), (0.43, 0.75, 4))
SURROUNDINGS = len(SIDES) * 2 * len(SLOTS)
POWERS = len(POWER_SLOTS) * sum(directions for *_, directions in RINGS)
BETA = 0.5  # where SmoothL1 on targets of about unit deviation turns straight


class ContextTarget(BesidePixels):
    """The pixel objective with two terms more: what visible and what hidden tokens say of their surroundings."""

    def __init__(self, config: ObjectiveConfig, token_m: int) -> None:
        super().__init__(config, token_m, SURROUNDINGS + (POWERS if config.textures else 0), config.context_weight)
        self.textures = config.textures

    def token_error(self, said: Tensor, decoded: Decoded) -> Tensor:
        """Return SmoothL1 over what is known of a token's surroundings."""
        rows = token_rows(decoded, self.token_m)
        target, known = self.target(decoded.samples.float(), decoded.valid, decoded.sensor, rows)
        error = F.smooth_l1_loss(said, target, beta=BETA, reduction="none")
        return torch.where(known, error, 0.0).sum(-1) / known.sum(-1).clamp(min=1)

    @torch.compiler.disable()
    @torch.no_grad()
    def target(self, samples: Tensor, valid: Tensor, sensor: Sensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return what tokens ``(B, T, S)`` in ``rows`` rows should say, ``(B, T, Q)``, and where it is known."""
        parts = [surroundings(samples, valid, token_layout(sensor, self.token_m), rows)]
        if self.textures:
            parts.append(log_powers(samples, valid, token_layout(sensor, self.token_m), rows))
        target, known = zip(*parts, strict=True)
        return torch.cat(target, -1), torch.cat(known, -1)


def surroundings(samples: Tensor, valid: Tensor, layout: TokenLayout, rows: int) -> tuple[Tensor, Tensor]:
    """Return mean and log deviation of each slot's valid samples over squares of tokens, about unit deviation.

    Args:
        samples: ``(B, T, S)``, normalised reflectance.
        valid: ``(B, T, S)`` bool.
        layout: which sample is which.
        rows: of tokens.

    Returns:
        ``(B, T, 2 * 2 * 13)``: by side, then means and deviations by slot; and where a sample was there.
    """
    b, t, _ = samples.shape
    moments = samples.new_zeros(3, b, len(SLOTS), t)  # count, sum, sum of squares
    for slot in layout.slots:
        part, there = samples[..., slot.start : slot.stop], valid[..., slot.start : slot.stop].to(samples)
        own = torch.stack([there, part * there, part.square() * there]).sum(-1)
        moments[:, :, SLOTS.index(slot.slot)] = own
    planes = moments.reshape(3 * b, len(SLOTS), rows, t // rows)
    targets, known = [], []
    for side in SIDES:
        pooled = F.avg_pool2d(planes, side, 1, side // 2) * side**2
        count, total, squares = pooled.reshape(3, b, len(SLOTS), t).transpose(2, 3)  # (B, T, 13) each
        mean = total / count.clamp(min=1)
        deviation = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
        # samples normalised by two deviations have one of 1/2
        targets += [2 * mean, 1 + (2 * deviation + 0.01).log()]
        known += [count > 0.5] * 2
    return torch.cat(targets, -1), torch.cat(known, -1)


def log_powers(samples: Tensor, valid: Tensor, layout: TokenLayout, rows: int) -> tuple[Tensor, Tensor]:
    """Return log power of Hann windows about tokens by radius and direction, ``(B, T, POWERS)``, and where it is known.

    A slot that the sensor lacks or samples more coarsely than Sentinel-2 has none, nor has a window with a gap.
    """
    slots, side = {slot.slot: slot for slot in layout.slots}, layout.token_m // 10
    bins, window = (constant(samples.device, make, 2 * side).to(samples) for make in (_bins, _hann))
    targets, known = [], []
    for name in POWER_SLOTS:
        own = slots.get(name)
        if own is None or own.side < side:
            targets.append(samples.new_zeros(*samples.shape[:2], len(bins)))
            known.append(torch.zeros_like(targets[-1], dtype=torch.bool))
            continue
        part, there = samples[..., own.start : own.stop], valid[..., own.start : own.stop].to(samples)
        cut = _windows(_on_side(part, own.side, side), side, rows)
        cut = (cut - cut.mean((-2, -1), keepdim=True)) * window
        power = torch.fft.rfft2(cut).abs().square().flatten(-2) @ bins.T / window.square().sum()  # (B, T, bins)
        targets.append(2 + (power + 1e-4).log() / 2)
        complete = _windows(_on_side(there, own.side, side), side, rows).amin((-2, -1)) > 1 - 1e-4
        known.append(complete[..., None].expand_as(power))
    return torch.cat(targets, -1), torch.cat(known, -1)


def _on_side(samples: Tensor, given: int, wanted: int) -> Tensor:
    """Resample squares ``(B, T, given * given)`` by area."""
    if given == wanted:
        return samples
    overlap = constant(samples.device, area_overlap, wanted, given).to(samples)
    return (overlap @ samples.unflatten(-1, (given, given)) @ overlap.T).flatten(-2)


def _windows(samples: Tensor, side: int, rows: int) -> Tensor:
    """Return the square of two tokens' side about each token, mirrored at edges: ``(B, T, 2 side, 2 side)``."""
    image = unpatchify(samples, side, rows)  # (B, 1, H, W)
    padded = F.pad(image, (side // 2,) * 4, mode="reflect")
    return padded.unfold(2, 2 * side, side).unfold(3, 2 * side, side)[:, 0].flatten(1, 2)


def _hann(side: int) -> np.ndarray:
    line = np.sin(np.pi * (np.arange(side) + 1) / (side + 1)) ** 2
    return np.outer(line, line).astype(np.float32)


def _bins(side: int) -> np.ndarray:
    """Return the share of each frequency of ``rfft2`` in each ring and direction; rows sum to 1."""
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    radius, angle = np.hypot(down, across), np.arctan2(down, across) % math.pi
    rows = []
    for low, high, directions in RINGS:
        for index in range(directions):
            away = np.abs((angle - index * math.pi / directions + math.pi / 2) % math.pi - math.pi / 2)
            inside = (radius >= low) & (radius < high) & (away <= math.pi / directions / 2 + 1e-6)
            rows.append(inside.ravel() / inside.sum())
    return np.array(rows, np.float32)
