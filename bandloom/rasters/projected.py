"""Reprojection of points to another coordinate system; infinite where that system does not reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.warp import transform


def projected(
    source: Any, target: Any, xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y ``(N,)`` float64 of points in another coordinate system.

    GDAL refuses a whole list for one point that its projection cannot show, by errors that have no public class; here
    that point alone is infinite.

    Args:
        source: the coordinate system of the points, anything that rasterio takes for one.
        target: the one wanted.
        xs: ``(N,)``.
        ys: ``(N,)``.
    """
    places = np.column_stack([np.asarray(xs, float), np.asarray(ys, float)])
    try:
        return _moved(source, target, places)
    except Exception:  # GDAL's errors
        pass
    if len(places) <= 1:
        return np.full(len(places), np.inf), np.full(len(places), np.inf)
    middle = len(places) // 2  # few points fail, as a rule: halves that are fine cost one call each
    halves = [projected(source, target, *part.T) for part in (places[:middle], places[middle:])]
    return np.concatenate([x for x, _ in halves]), np.concatenate([y for _, y in halves])


def _moved(source: Any, target: Any, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(places):
        return np.zeros(0), np.zeros(0)
    new_xs, new_ys = transform(source, target, places[:, 0].tolist(), places[:, 1].tolist())[:2]
    return np.array(new_xs, float), np.array(new_ys, float)
