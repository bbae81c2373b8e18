"""What the encoder does not see: tokens and whole bands. Every draw is keyed by its sample, never by rank or worker."""

import numpy as np
import torch
from torch import Tensor

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.device_batch import rng_of
from bandloom.sensors import SLOTS, Sensor
from pretrain.config import ObjectiveConfig

_MASK, _BANDS = 1, 2  # purposes of a sample's random draws
_SUBSETS = tuple(frozenset(BAND_SUBSETS[name]) for name in ("L2A-12", "RGB", "10m", "Landsat"))  # the order is frozen


def random_masking(
    draws: np.ndarray, measured: Tensor, objective: ObjectiveConfig, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the tokens to keep, the same number in every sample; tokens without a measured sample go first.

    Args:
        draws: one random key a sample, ``(B,)`` uint64.
        measured: ``(B, T)`` bool, True where a token holds at least one valid sample.
        objective: mask ratio, and the side of masked blocks in tokens.
        grid: token rows and columns.

    Returns:
        ``ids_keep`` ``(B, V)``, ``ids_restore`` ``(B, T)`` and ``mask`` ``(B, T)`` bool, True removed.
    """
    b, t = measured.shape
    visible = max(1, round(t * (1 - objective.mask_ratio)))
    order = _noise_of(draws, objective, grid).to(measured.device) + (~measured) * 2.0  # noise lies in 0..1
    ids_shuffle = order.argsort(dim=1, stable=True)
    ids_restore = ids_shuffle.argsort(dim=1)
    mask = torch.ones(b, t, dtype=torch.bool, device=measured.device)
    mask.scatter_(1, ids_shuffle[:, :visible], False)
    return ids_shuffle[:, :visible], ids_restore, mask


@torch.compiler.disable  # drawn on the host by numpy: no compiler should look into it
def _noise_of(draws: np.ndarray, objective: ObjectiveConfig, grid: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.stack([_noise(rng_of(draw, _MASK), grid, objective.mask_block) for draw in draws]))


def _noise(rng: np.random.Generator, grid: tuple[int, int], block: int) -> np.ndarray:
    """Return ``(T,)`` float32 noise, shared by blocks of ``block * block`` tokens when block is over 1."""
    rows, columns = grid
    fine = rng.random((rows, columns), np.float32)
    if block == 1:
        return fine.ravel()
    coarse = rng.random((-(-rows // block), -(-columns // block)), np.float32)
    shared = coarse.repeat(block, 0).repeat(block, 1)[:rows, :columns]
    return (shared * 0.999 + fine * 0.001).ravel()  # the fine part cuts the last block to the exact count


@torch.compiler.disable
def dropped_slots(draws: np.ndarray, sensor: Sensor, objective: ObjectiveConfig) -> Tensor:
    """Choose the bands that the encoder does not see, ``(B, 13)`` bool, True removed.

    A sample keeps all bands with probability ``1 - band_dropout``; otherwise, in equal parts, single bands fall out at
    a rate drawn from 0 to 0.5, or those of a real sensor or product alone remain. At least one band always remains.
    """
    dropped = np.zeros((len(draws), len(SLOTS)), bool)
    for row, draw in zip(dropped, draws, strict=True):
        rng = rng_of(draw, _BANDS)
        if rng.random() >= objective.band_dropout:
            continue
        if rng.random() < 0.5:
            row[:] = rng.random(len(SLOTS)) < rng.uniform(0, 0.5)
        else:
            subset = _SUBSETS[rng.integers(len(_SUBSETS))]
            row[:] = [slot not in subset for slot in SLOTS]
        if all(row[SLOTS.index(slot)] for slot in sensor.slots):
            row[:] = False
    return torch.from_numpy(dropped)
