"""Augmentation on the device, keyed by sample: the same draw on any rank, machine and number of workers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bandloom.device_batch import DeviceBatch, rng_of

PURPOSE_D4 = 101  # masks and other augmentations draw from streams of their own


def d4(batch: DeviceBatch) -> DeviceBatch:
    """Turn and mirror every chip, image and mask together, by one of the eight symmetries of the square.

    Land cover has no up: the sun does, and eight suns are what the model should not care about.
    """
    turns = turns_of(batch.draws)
    groups = {gsd: _each(group, turns) for gsd, group in batch.groups.items()}
    label = None if batch.label is None else _each(batch.label, turns)
    return replace(batch, groups=groups, label=label)


def turns_of(draws: np.ndarray) -> list[int]:
    """Return which symmetry each sample of draws ``(B,)`` gets, 0 to 7."""
    return [int(rng_of(draw, PURPOSE_D4).integers(8)) for draw in draws]


def _each(pixels: Tensor, turns: list[int]) -> Tensor:
    """Apply symmetry ``turns[b]`` to sample b of ``(B, ..., H, W)``, H equal to W."""
    moved = pixels.view(torch.int16) if pixels.dtype == torch.uint16 else pixels  # torch cannot flip uint16 on a CPU
    turned = torch.stack([_turn(turn)(sample) for turn, sample in zip(turns, moved, strict=True)])
    return turned.view(pixels.dtype)


def _turn(index: int) -> Callable[[Tensor], Tensor]:
    def apply(sample: Tensor) -> Tensor:
        turned = torch.rot90(sample, index % 4, (-2, -1))
        return turned.flip(-1) if index >= 4 else turned

    return apply
