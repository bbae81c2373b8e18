"""Band selection from samples: a subset of a sensor, a square of it, every band at 10 m, and where any was measured."""

from collections.abc import Mapping

import numpy as np

from bandloom.finetune.data.splits import PIXEL_M
from bandloom.rasters.values import dn_to_reflectance, valid
from bandloom.sensors import Sensor


def to_pixels(group: np.ndarray, gsd_m: int) -> np.ndarray:
    """Repeat a native group ``(..., H, W)`` onto the 10 m grid: every pixel takes the sample it lies in."""
    if gsd_m == PIXEL_M:
        return group
    rows, columns = (
        ((np.arange(side * gsd_m // PIXEL_M) + 0.5) * PIXEL_M // gsd_m).astype(int) for side in group.shape[-2:]
    )
    return group[..., rows[:, None], columns]


def measured(groups: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return ``(..., H, W)`` bool of 10 m pixels, True where the finest group holds a sample of any band.

    A label on ground that was not measured teaches a model that black is a class.
    """
    gsd_m = min(groups)
    return to_pixels(np.any(valid(groups[gsd_m]), axis=-3), gsd_m)


def own_bands(groups: Mapping[int, np.ndarray], stored: Sensor, sensor: Sensor) -> Mapping[int, np.ndarray]:
    """Return the native groups ``(..., C, H, W)`` of a sensor that is a stored one with fewer bands, at every date.

    Args:
        groups: what the shards hold, one date or several stacked.
        stored: whose groups they are.
        sensor: the same, or a subset of its bands.
    """
    if sensor.slots == stored.slots:
        return groups
    kept = {}
    for group in stored.groups:
        index = [place for place, slot in enumerate(group.slots) if slot in sensor.slots]
        dates = groups[group.gsd_m].shape[-3] // len(group.slots)
        places = [date * len(group.slots) + band for date in range(dates) for band in index]
        if places:
            kept[group.gsd_m] = groups[group.gsd_m][..., places, :, :]
    return kept


def cut(groups: Mapping[int, np.ndarray], y_px: int, x_px: int, side_px: int) -> dict[int, np.ndarray]:
    """Cut a square chip at a 10 m pixel that lies on the 60 m grid; what lies outside is absent."""
    chip = {}
    for gsd, group in groups.items():
        y, x, side = (value * PIXEL_M // gsd for value in (y_px, x_px, side_px))
        part = group[:, y : y + side, x : x + side]
        chip[gsd] = np.pad(part, ((0, 0), (0, side - part.shape[1]), (0, side - part.shape[2])))
    return chip


def pixel_bands(groups: Mapping[int, np.ndarray], sensor: Sensor) -> np.ndarray:
    """Return all bands on the 10 m grid as reflectance ``(C, H, W)`` float32, NaN where absent."""
    return np.concatenate([dn_to_reflectance(to_pixels(groups[g.gsd_m], g.gsd_m)) for g in sensor.groups])
