"""Geometries as flat arrays of coordinates: checked, brought to another coordinate system, and put together again."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rasterio import features
from rasterio.crs import CRS
from rasterio.warp import transform

from bandloom.errors import LabelError

Bounds = tuple[float, float, float, float]  # left, lowest, right, highest, in the coordinates' own directions
_DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "Polygon": 2, "MultiLineString": 2, "MultiPolygon": 3}


def check_geometry(geometry: Any, crs: CRS) -> Bounds:
    """Return a geometry's bounds.

    Raises:
        LabelError: it is no valid GeoJSON geometry, or a coordinate is no number, or not in degrees where it should be.
    """
    try:
        if not features.is_valid_geom(geometry):
            raise LabelError("has no valid geometry; mend or remove it.")
        runs = list(runs_of(geometry))
        if any(run.shape[1] < 2 or not len(run) for run in runs):
            raise LabelError("has no valid geometry: a coordinate has less than two numbers; mend or remove it.")
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as cause:
        raise LabelError(f"has no valid geometry ({cause!r}); mend or remove it.") from cause
    low, high = np.min([run[:, :2].min(0) for run in runs], 0), np.max([run[:, :2].max(0) for run in runs], 0)
    for x, y in (low, high):
        if not (np.isfinite(x) and np.isfinite(y)):
            raise LabelError(f"has the coordinates {x}, {y}, which are no numbers.")
        if crs.is_geographic and not (-180 <= x <= 180 and -90 <= y <= 90):
            raise LabelError(
                f"has the coordinates {x}, {y}, which are no degrees: longitude comes first, and metres need a"
                " coordinate system in the file."
            )
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def runs_of(geometry: Any) -> Iterator[np.ndarray]:
    """Yield the coordinates of a geometry as ``(N, 2 or more)`` float64: a ring, a line or some points each."""
    if geometry["type"] == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from runs_of(part)
        return
    yield from _runs(geometry["coordinates"], _DEPTH[geometry["type"]])


def _runs(coordinates: Any, depth: int) -> Iterator[np.ndarray]:
    if depth <= 1:
        run = np.array([coordinates] if depth == 0 else coordinates)
        if run.dtype.kind not in "iuf":
            raise ValueError(f"coordinates {run.ravel()[:2].tolist()} are no numbers")
        yield run.astype(np.float64)
        return
    for part in coordinates:
        yield from _runs(part, depth - 1)


def rebuilt(geometry: Any, runs: Iterator[np.ndarray]) -> list[Any]:
    """Return simple parts of a geometry with other coordinates, taken from ``runs`` in :func:`runs_of`'s order."""
    if geometry["type"] == "GeometryCollection":
        return [piece for part in geometry["geometries"] for piece in rebuilt(part, runs)]
    coordinates = _nested(geometry["coordinates"], _DEPTH[geometry["type"]], runs)
    if geometry["type"] == "MultiPolygon":
        return [{"type": "Polygon", "coordinates": each} for each in coordinates]
    return [{"type": geometry["type"], "coordinates": coordinates}]


def _nested(coordinates: Any, depth: int, runs: Iterator[np.ndarray]) -> Any:
    if depth <= 1:
        found = next(runs).tolist()
        return found[0] if depth == 0 else found
    return [_nested(part, depth - 1, runs) for part in coordinates]


def moved(xy: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Return ``(N, 2)`` coordinates in another coordinate system, in one call; infinite where it does not reach."""
    if source == target or not len(xy):
        return xy
    xs, ys, *_ = transform(source, target, xy[:, 0].tolist(), xy[:, 1].tolist())
    return np.column_stack([xs, ys])
