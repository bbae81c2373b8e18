"""Masking of tokens and of whole bands; every draw is keyed by its sample, never by rank or worker."""

import numpy as np
import torch
from torch import Tensor

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.draws.sample_draws import uniforms
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import to_device

CPU = torch.device("cpu")
_MASK, _BANDS = 1, 2  # purposes of a sample's random draws
_OUTSIDE = np.array(
    [[slot not in BAND_SUBSETS[name] for slot in SLOTS] for name in ("L2A-12", "RGB", "10m", "Landsat")]
)  # the order is frozen


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
    order = _noise_of(draws, objective, grid, measured.device) + (~measured) * 2.0  # noise lies in 0..1
    ids_shuffle = order.argsort(dim=1, stable=True)
    ids_restore = ids_shuffle.argsort(dim=1)
    mask = torch.ones(b, t, dtype=torch.bool, device=measured.device)
    mask.scatter_(1, ids_shuffle[:, :visible], False)
    return ids_shuffle[:, :visible], ids_restore, mask


@torch.compiler.disable()  # drawn on the host by numpy: no compiler should look into it
def _noise_of(draws: np.ndarray, objective: ObjectiveConfig, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return ``(B, T)`` float32 noise in 0..1, shared by blocks of tokens where the objective hides blocks."""
    (rows, columns), block = grid, objective.mask_block
    down, across = -(-rows // block), -(-columns // block)
    noise = uniforms(draws, _MASK, rows * columns + (down * across if block > 1 else 0))
    fine, coarse = noise[:, : rows * columns], noise[:, rows * columns :]
    if block == 1:
        return to_device(fine, device)
    shared = coarse.reshape(-1, down, across).repeat(block, 1).repeat(block, 2)[:, :rows, :columns]
    # the fine part cuts the last block to the exact count
    return to_device(shared.reshape(len(draws), -1) * np.float32(0.999) + fine * np.float32(0.001), device)


@torch.compiler.disable()
def dropped_slots(draws: np.ndarray, sensor: Sensor, objective: ObjectiveConfig, device: torch.device = CPU) -> Tensor:
    """Choose the bands that the encoder does not see, ``(B, 13)`` bool on ``device``, True removed.

    A sample keeps all bands with probability ``1 - band_dropout``; otherwise, in equal parts, single bands fall out at
    a rate drawn from 0 to 0.5, or those of a real sensor or product alone remain. At least one band always remains.
    """
    at = uniforms(draws, _BANDS, 3 + len(SLOTS))
    by_rate = at[:, 3:] < at[:, 2:3] * 0.5
    alone = _OUTSIDE[(at[:, 2] * len(_OUTSIDE)).astype(int)]
    dropped = np.where(at[:, 1:2] < 0.5, by_rate, alone) & (at[:, :1] < objective.band_dropout)
    own = [SLOTS.index(slot) for slot in sensor.slots]
    return to_device(dropped & ~dropped[:, own].all(1, keepdims=True), device)
