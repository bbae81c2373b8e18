"""Features for classic classifiers: bands of a pixel at 10 m, of its neighbourhood, or statistics of a chip."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import Sensor


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


def random_conv(bands: np.ndarray, mean: np.ndarray, std: np.ndarray, filters: int = 64, seed: int = 0) -> np.ndarray:
    """Return random convolutional features ``(2 F, H, W)``: what a network gives that has learnt nothing.

    Random 3 x 3 filters over all bands, rectified with both signs (Rolf et al. 2021, MOSAIKS; Coates and Ng 2012).

    Args:
        bands: reflectance ``(C, H, W)``, NaN where absent.
        mean: of the bands, ``(C,)``.
        std: of the bands, ``(C,)``.
        filters: F; the same filters for the same number of bands and seed, always.
        seed: of the filters.
    """
    import torch

    rng = np.random.default_rng([len(bands), seed] if seed else len(bands))
    weight = rng.standard_normal((filters, len(bands), 3, 3)) / np.sqrt(9 * len(bands))
    bias = 0.5 * rng.standard_normal(filters)
    scaled = np.nan_to_num((bands - mean[:, None, None]) / std[:, None, None])
    given = (torch.from_numpy(array.astype(np.float32)) for array in (scaled, weight, bias))
    pixels, kernel, shift = given
    padded = torch.nn.functional.pad(pixels[None], (1, 1, 1, 1), mode="replicate")
    response = torch.nn.functional.conv2d(padded, kernel, shift)[0]
    return torch.cat([response.relu(), (-response).relu()]).numpy()
