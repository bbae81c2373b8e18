"""Recovers a sensor's own samples from a stack that was put on another grid by nearest neighbour.

Such an export (Earth Engine's, and much that is published as GeoTIFF in degrees) changes no value: it copies each
measured sample to the pixels that lie in it. On the grid the sensor measured on, all pixels of one sample are equal and
its neighbours differ, so the grid gives itself away, and the samples can be taken back as they were measured, where a
resampling would mix them again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rasterio.crs import CRS

from bandloom.rasters.projected import projected
from bandloom.rasters.validity import measured
from bandloom.rasters.values import valid
from bandloom.shards.scenes.grid import read_raster, utm_anchor_m

SQUARE_PX, SQUARES = 64, 3  # looked at: squares of this side, this many along each side of the raster
EQUAL_WITHIN, EQUAL_ACROSS = 0.9, 0.5  # shares of neighbouring pixels: at least in one sample, at most between two
_FEWEST = 200  # pairs of either kind that tell


def copied_groups(bands: Mapping[int, tuple[Any, str, int]], crs: CRS) -> tuple[int, ...]:
    """Return the sampling distances whose bands are copies of samples on ``crs``'s grid; none where nothing tells.

    Args:
        bands: ``{gsd_m: (open raster, its path, band index)}``, one band for each group. The finest cannot tell, since
            its samples are seldom copied twice: it is taken to share the fate of the others.
        crs: a UTM zone that the samples may have been measured in.
    """
    finest, *coarser = sorted(bands)
    copied = tuple(gsd_m for gsd_m in coarser if _copied(*bands[gsd_m], crs, gsd_m))
    return (finest, *copied) if copied else ()


def _copied(raster: Any, path: str, index: int, crs: CRS, gsd_m: int) -> bool:
    within, across = [], []
    for top, left, height, width in _squares(*raster.shape):
        window = ((top, top + height), (left, left + width))
        values = read_raster(raster, path, indexes=index, window=window)
        known = valid(values) & measured(raster, values[None], [index], window)[0]
        cells = _cells(raster, crs, (top, left), values.shape, gsd_m)
        for axis in (0, 1):
            one, two = _neighbours(known, axis)
            same_cell = np.logical_and.reduce([a == b for a, b in (_neighbours(cell, axis) for cell in cells)])
            a, b = _neighbours(values, axis)
            within.append((a == b)[one & two & same_cell])
            across.append((a == b)[one & two & ~same_cell])
    inner, outer = np.concatenate(within), np.concatenate(across)
    if min(len(inner), len(outer)) < _FEWEST:
        return False
    return bool(inner.mean() >= EQUAL_WITHIN and outer.mean() <= EQUAL_ACROSS)


def _squares(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return (top, left, height, width) of squares spread over a raster."""
    high, wide = min(SQUARE_PX, height), min(SQUARE_PX, width)
    tops, lefts = (
        sorted({round(at) for at in np.linspace(0, length - side, SQUARES)})
        for length, side in ((height, high), (width, wide))
    )
    return [(top, left, high, wide) for top in tops for left in lefts]


def _cells(raster: Any, crs: CRS, corner: tuple[int, int], shape: Sequence[int], gsd_m: int) -> list[np.ndarray]:
    """Return the column and the row, on the sensor's grid, of the sample in which each pixel's centre lies."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + np.array(corner)[:, None, None] + 0.5
    x, y = raster.transform @ (columns.ravel(), rows.ravel())
    eastings, northings = projected(raster.crs, crs, x, y)
    across, down = np.floor(eastings / gsd_m), np.floor((utm_anchor_m(crs) - northings) / gsd_m)
    return [across.reshape(shape), down.reshape(shape)]


def _neighbours(plane: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each value but the last along an axis, and the one after it."""
    return np.delete(plane, -1, axis), np.delete(plane, 0, axis)
