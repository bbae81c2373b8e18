"""Geometries as flat arrays of coordinates: checked, brought to another coordinate system, and put together again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.crs import CRS

from bandloom.errors import LabelError
from bandloom.rasters.projected import projected

# how deep coordinates lie in one another, and how many places a point, a line and a ring have at least
_DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "Polygon": 2, "MultiLineString": 2, "MultiPolygon": 3}
_FEWEST = {"Point": 1, "MultiPoint": 1, "LineString": 2, "Polygon": 4, "MultiLineString": 2, "MultiPolygon": 4}


@dataclass(frozen=True)
class FlatGeometries:
    """The coordinates of many geometries in one array.

    Args:
        xy: ``(N, 2)`` float64, all coordinates in order.
        starts: ``(F + 1,)`` where each geometry's begin in ``xy``; one without coordinates has none.
        lengths: of each geometry, the lengths of its runs: a ring, a line or some points each.
        bounds: ``(F, 4)`` lowest x and y, highest x and y; NaN where there is no place.
        missing: numbers of the geometries that are null or empty.
        refused: by number, why a geometry cannot be used.
    """

    xy: np.ndarray
    starts: np.ndarray
    lengths: list[list[int]]
    bounds: np.ndarray
    missing: list[int]
    refused: dict[int, str]


def flatten(geometries: Sequence[Any], crs: CRS) -> FlatGeometries:
    """Return the coordinates of GeoJSON geometries, and what is wrong with each that cannot be used."""
    runs: list[list[np.ndarray]] = []
    missing, refused = [], {}
    for number, geometry in enumerate(geometries):
        runs.append([])
        if geometry is None or _is_empty(geometry):
            missing.append(number)
            continue
        try:
            runs[-1] = _checked_runs(geometry)
        except LabelError as error:
            refused[number] = str(error)
    lengths = [[len(run) for run in chain] for chain in runs]
    starts = np.concatenate([[0], np.cumsum([sum(length) for length in lengths])]).astype(int)
    xy = np.concatenate([np.zeros((0, 2)), *(run for chain in runs for run in chain)])
    bounds = bounds_of(xy, starts)
    for number in np.flatnonzero(~_usable(bounds, crs) & (np.diff(starts) > 0)):
        refused[int(number)] = _why(bounds[number])
        bounds[number] = np.nan
    return FlatGeometries(xy, starts, lengths, bounds, missing, refused)


def rebuilt(geometry: Any, runs: Iterator[list[list[float]]]) -> list[Any]:
    """Return simple parts of a geometry with other coordinates, taken from ``runs`` in the order that they lay in."""
    if geometry["type"] == "GeometryCollection":
        return [piece for part in geometry["geometries"] for piece in rebuilt(part, runs)]
    coordinates = _nested(geometry["coordinates"], _DEPTH[geometry["type"]], runs)
    if geometry["type"] == "MultiPolygon":
        return [{"type": "Polygon", "coordinates": coordinate} for coordinate in coordinates]
    return [{"type": geometry["type"], "coordinates": coordinates}]


def densified(geometry: Any, step: float) -> dict[str, Any]:
    """Return a polygon, or several, with places along edges longer than ``step``: they stay straight where they lie.

    Args:
        geometry: GeoJSON, a Polygon or MultiPolygon that :func:`flatten` found usable.
        step: in the units of its coordinate system.
    """
    runs = (_in_steps(run, step).tolist() for run in _runs_of(geometry))
    return {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in rebuilt(geometry, runs)]}


def _in_steps(run: np.ndarray, step: float) -> np.ndarray:
    edges = np.diff(run, axis=0)
    counts = np.maximum(np.ceil(np.abs(edges).max(axis=1) / step), 1).astype(int)
    first = np.repeat(np.arange(len(edges)), counts)
    share = (np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[first]
    return np.concatenate([run[first] + edges[first] * share[:, None], run[-1:]])


def moved(xy: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """Return ``(N, 2)`` coordinates in another coordinate system, in one call; infinite where it does not reach.

    Raises:
        LabelError: no way leads from one to the other, as from a drawing's own.
    """
    if source == target or not len(xy):
        return xy
    looked_at = xy[:: max(1, len(xy) // 8)]
    if not np.isfinite(projected(source, target, *looked_at.T)).any() and np.isfinite(looked_at).all():
        raise LabelError(
            f"nothing leads from the coordinate system {source} to {target} where these labels lie; write that of the"
            " labels."
        )
    return np.column_stack(projected(source, target, *xy.T))


def _checked_runs(geometry: Any) -> list[np.ndarray]:
    try:
        return list(_runs_of(geometry))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as cause:
        raise LabelError(f"has no valid geometry ({cause!r}); mend or remove it.") from cause


def _runs_of(geometry: Any) -> Iterator[np.ndarray]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _runs_of(part)
        return
    yield from _runs(geometry["coordinates"], _DEPTH[kind], _FEWEST[kind])


def _runs(coordinates: Any, depth: int, fewest: int) -> Iterator[np.ndarray]:
    if depth > 1:
        if not coordinates:
            raise ValueError("a part is empty")
        for part in coordinates:
            yield from _runs(part, depth - 1, fewest)
        return
    run = np.array([coordinates] if depth == 0 else coordinates)
    if run.dtype.kind not in "iuf":
        raise ValueError(f"coordinates {run.ravel()[:2].tolist()} are no numbers")
    if run.ndim != 2 or run.shape[1] < 2 or len(run) < fewest:
        raise ValueError(f"expected {fewest} places or more of two numbers, got an array of {run.shape}")
    yield run[:, :2]


def _nested(coordinates: Any, depth: int, runs: Iterator[list[list[float]]]) -> Any:
    if depth <= 1:
        run = next(runs)
        return run[0] if depth == 0 else run
    return [_nested(part, depth - 1, runs) for part in coordinates]


def _is_empty(geometry: Any) -> bool:
    inner = geometry.get("coordinates", geometry.get("geometries")) if isinstance(geometry, dict) else None
    return inner == [] and geometry.get("type") is not None


def bounds_of(xy: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return ``(F, 4)`` lowest x and y, highest x and y of pieces of ``xy``; NaN for those without coordinates."""
    out = np.full((len(starts) - 1, 4), np.nan)
    there = np.flatnonzero(np.diff(starts))
    if len(there):
        out[there, :2] = np.minimum.reduceat(xy, starts[there])
        out[there, 2:] = np.maximum.reduceat(xy, starts[there])
    return out


def _usable(bounds: np.ndarray, crs: CRS) -> np.ndarray:
    finite: np.ndarray = np.asarray(np.isfinite(bounds).all(1))
    if not crs.is_geographic:
        return finite
    return np.logical_and(finite, (np.abs(bounds) <= (180, 90, 180, 90)).all(1))


def _why(bounds: np.ndarray) -> str:
    low, high = bounds[:2], bounds[2:]
    x, y = high if np.isfinite(bounds).all() and (np.abs(high) > (180, 90)).any() else low
    if not np.isfinite(bounds).all():
        return f"has the coordinates {x}, {y}, which are no numbers."
    return (
        f"has the coordinates {x}, {y}, which are no degrees: longitude comes first, and metres need a coordinate"
        " system in the file."
    )
