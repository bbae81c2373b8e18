"""What a classic classifier sees: every band of a pixel on the 10 m grid, its surroundings, or statistics of a chip."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.sensors import Sensor
from bandloom.values import dn_to_reflectance, valid
from finetune.splits import PIXEL_M


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
        places = [date * len(group.slots) + each for date in range(dates) for each in index]
        if places:
            kept[group.gsd_m] = groups[group.gsd_m][..., places, :, :]
    return kept


def pixel_bands(groups: Mapping[int, np.ndarray], sensor: Sensor) -> np.ndarray:
    """Return all bands on the 10 m grid as reflectance ``(C, H, W)`` float32, NaN where absent."""
    return np.concatenate([dn_to_reflectance(to_pixels(groups[g.gsd_m], g.gsd_m)) for g in sensor.groups])


def context_bands(bands: np.ndarray, radii_px: tuple[int, ...] = (1, 4)) -> np.ndarray:
    """Add each band's mean and deviation over square windows: ``(C, H, W)`` gives ``(C * (1 + 2 R), H, W)``."""
    from scipy import ndimage

    uniform_filter: Any = ndimage.uniform_filter  # its stubs know no size by axis
    filled = np.nan_to_num(bands, nan=float(np.nanmean(bands)) if np.isfinite(bands).any() else 0.0)
    layers = [bands]
    for radius in radii_px:
        size = (0, 2 * radius + 1, 2 * radius + 1)
        mean = uniform_filter(filled, size, mode="nearest")
        square = uniform_filter(filled**2, size, mode="nearest")
        layers += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return np.concatenate(layers).astype(np.float32)


def chip_statistics(groups: Mapping[int, np.ndarray], sensor: Sensor) -> np.ndarray:
    """Return mean, deviation, least and greatest reflectance of each band, ``(4 C,)`` (Corley 2023, image statistics).

    They are taken on the native samples; a band that is absent everywhere gives NaN.
    """
    rows = []
    for group in sensor.groups:
        for band in dn_to_reflectance(groups[group.gsd_m]):
            seen = band[np.isfinite(band)]
            rows.append([seen.mean(), seen.std(), seen.min(), seen.max()] if seen.size else [np.nan] * 4)
    return np.array(rows, np.float32).ravel()


def random_conv(bands: np.ndarray, mean: np.ndarray, std: np.ndarray, filters: int = 64) -> np.ndarray:
    """Return random convolutional features ``(2 F, H, W)``: what a network gives that has learnt nothing.

    Random 3 x 3 filters over all bands, rectified with both signs (Rolf et al. 2021, MOSAIKS; Coates and Ng 2012).

    Args:
        bands: reflectance ``(C, H, W)``, NaN where absent.
        mean: of the bands, ``(C,)``.
        std: of the bands, ``(C,)``.
        filters: F; the same filters for the same number of bands, always.
    """
    import torch

    rng = np.random.default_rng(len(bands))
    weight = rng.standard_normal((filters, len(bands), 3, 3)) / np.sqrt(9 * len(bands))
    bias = 0.5 * rng.standard_normal(filters)
    scaled = np.nan_to_num((bands - mean[:, None, None]) / std[:, None, None])
    given = (torch.from_numpy(each.astype(np.float32)) for each in (scaled, weight, bias))
    pixels, kernel, shift = given
    padded = torch.nn.functional.pad(pixels[None], (1, 1, 1, 1), mode="replicate")
    response = torch.nn.functional.conv2d(padded, kernel, shift)[0]
    return torch.cat([response.relu(), (-response).relu()]).numpy()
