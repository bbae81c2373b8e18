"""Normalised bands of a chip, each group on the grid that it was measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.rasters.values import NODATA, OFFSET, SATURATED, SCALE
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import constant

PIXEL_M = 10  # maps are made on the 10 m grid


@dataclass(frozen=True)
class BandGroup:
    """Normalised bands ``(B, C, H / factor, W / factor)``, 0 where absent; ``factor`` pixels of 10 m a sample."""

    values: Tensor
    factor: int = 1


def native_bands(groups: Mapping[int, Tensor], sensor: Sensor, mean: Tensor, std: Tensor) -> list[BandGroup]:
    """Return every band, normalised, on its own grid; one whose samples are no whole number of pixels on the 10 m grid.

    Args:
        groups: digital numbers ``{gsd_m: (B, C, H, W)}``.
        sensor: whose groups they are.
        mean: of reflectance by slot, ``(13,)``.
        std: likewise; values are divided by two of it.
    """
    bands = []
    for group in sensor.groups:
        dn = groups[group.gsd_m].float()
        slots = constant(mean.device, slot_indices, group.slots)
        of_mean, of_std = (statistic[slots][:, None, None] for statistic in (mean, std))
        value = ((dn - OFFSET) / SCALE - of_mean) / (2 * of_std)
        value = torch.where((dn > NODATA) & (dn < SATURATED), value, 0.0)
        factor, rest = divmod(group.gsd_m, PIXEL_M)
        if rest:
            side = (value.shape[-2] * group.gsd_m // PIXEL_M, value.shape[-1] * group.gsd_m // PIXEL_M)
            value, factor = functional.interpolate(value, side, mode="nearest"), 1
        bands.append(BandGroup(value, factor))
    return bands


def repeated(values: Tensor, factor: int) -> Tensor:
    """Return values on the 10 m grid: each sample copied to the ``factor * factor`` pixels that it covers."""
    return values if factor == 1 else functional.interpolate(values, scale_factor=float(factor), mode="nearest")


def stacked(bands: Sequence[BandGroup]) -> Tensor:
    """Return all bands on the 10 m grid, ``(B, C, H, W)``."""
    return torch.cat([repeated(group.values, group.factor) for group in bands], dim=1)


def slot_indices(slots: Sequence[str]) -> np.ndarray:
    """Return the place of each slot among the thirteen, ``(C,)`` int64."""
    return np.array([SLOTS.index(slot) for slot in slots], np.int64)
