"""Augmentation on the device, keyed by sample: the same draw on any rank, machine and number of workers."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bandloom.draws.sample_draws import uniforms
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import to_device

PURPOSE_D4 = 101  # masks and other augmentations draw from streams of their own


def d4(batch: DeviceBatch) -> DeviceBatch:
    """Turn and mirror every chip, image and mask together, by one of the eight symmetries of the square.

    Land cover has no up: the sun does, and eight suns are what the model should not care about.
    """
    rows = _rows_by_turn(turns_of(batch.draws), next(iter(batch.groups.values())).device)
    groups = {gsd: _turned(group, rows) for gsd, group in batch.groups.items()}
    label = None if batch.label is None else _turned(batch.label, rows)
    return replace(batch, groups=groups, label=label)


def turns_of(draws: np.ndarray) -> np.ndarray:
    """Return which symmetry each sample of draws ``(B,)`` gets, 0 to 7, ``(B,)``."""
    return (8 * uniforms(draws, PURPOSE_D4, 1)[:, 0]).astype(int)


def _rows_by_turn(turns: np.ndarray, device: torch.device) -> dict[int, Tensor]:
    """Return the samples of each symmetry that was drawn; one copy to the device."""
    order = to_device(np.argsort(turns, kind="stable"), device)
    present, counts = np.unique(turns, return_counts=True)
    return dict(zip(present.tolist(), order.split(counts.tolist()), strict=True))


def _turned(pixels: Tensor, rows: Mapping[int, Tensor]) -> Tensor:
    """Apply each symmetry to its samples of ``(B, ..., H, W)``, H equal to W; a symmetry's samples go at once."""
    moved = pixels.view(torch.int16) if pixels.dtype == torch.uint16 else pixels  # torch cannot flip uint16 on a CPU
    turned = torch.empty_like(moved)
    for index, own in rows.items():
        turned[own] = _turn(moved[own], index)
    return turned.view(pixels.dtype)


def _turn(samples: Tensor, index: int) -> Tensor:
    turned = torch.rot90(samples, index % 4, (-2, -1))
    return turned.flip(-1) if index >= 4 else turned
