"""The ground of a raster as GeoJSON: densified edges, cut at the antimeridian (RFC 7946, 3.1.9), closed over a pole."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

_POINTS_A_SIDE = 20  # a straight edge of 110 km in UTM then stays within a metre of its place
_DIGITS = 7  # of a degree: a centimetre
Point = tuple[float, float]


def footprint(crs: CRS, transform: Affine, shape: Sequence[int]) -> dict[str, Any]:
    """Return the GeoJSON geometry of a raster's ground: a Polygon, or a MultiPolygon where it crosses 180 degrees.

    Rings run counter-clockwise, and no edge crosses the antimeridian; ground that holds a pole reaches it.

    Args:
        crs: the raster's coordinate system.
        transform: from pixels to it; turned or upside down will do.
        shape: ``(H, W)`` in pixels.
    """
    ring = _unwrapped(_edge(crs, transform, shape))
    turns = round((ring[-1][0] - ring[0][0]) / 360)
    if turns:
        ring = _over_the_pole(ring, turns)
    polygons = [[_counter_clockwise(part)] for part in _cut(ring[:-1])]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def bbox_of(geometry: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a :func:`footprint`; west is greater than east across the antimeridian."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    boxes = [_box(polygon[0]) for polygon in polygons]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    before = [box[0] for box in boxes if box[2] == 180 and box[0] > -180]  # parts on either side of the antimeridian
    after = [box[2] for box in boxes if box[0] == -180 and box[2] < 180]
    if before and after:
        return min(before), south, max(after), north
    return min(box[0] for box in boxes), south, max(box[2] for box in boxes), north


def _box(ring: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    longitudes, latitudes = [point[0] for point in ring], [point[1] for point in ring]
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def _edge(crs: CRS, transform: Affine, shape: Sequence[int]) -> list[Point]:
    """Return the raster's outline in degrees, closed, every side in steps."""
    height, width = shape[:2]
    steps = np.linspace(0, 1, _POINTS_A_SIDE, endpoint=False)
    corners = [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]
    pixels = [
        (a[0] + (b[0] - a[0]) * step, a[1] + (b[1] - a[1]) * step)
        for a, b in itertools.pairwise(corners)
        for step in steps
    ]
    pixels.append((0, 0))
    xs, ys = zip(*((transform @ pixel) for pixel in pixels), strict=True)
    longitudes, latitudes, *_ = transform_points(crs, "EPSG:4326", xs, ys)
    return list(zip(longitudes, latitudes, strict=True))


def _unwrapped(ring: Sequence[Point]) -> list[Point]:
    """Return the same ring without jumps of longitude: each point lies within half a turn of the one before."""
    points = [ring[0]]
    for longitude, latitude in ring[1:]:
        before = points[-1][0]
        points.append((before + (longitude - before + 180) % 360 - 180, latitude))
    return points


def _over_the_pole(ring: list[Point], turns: int) -> list[Point]:
    """Close a ring that runs once around the earth over the pole that it holds."""
    pole = math.copysign(90.0, sum(latitude for _, latitude in ring))
    start = next(i for i in range(1, len(ring)) if math.floor(_turns(ring[i])) != math.floor(_turns(ring[i - 1])))
    (x0, y0), (x1, y1) = ring[start - 1], ring[start]
    at = 360.0 * max(math.floor(_turns(ring[start - 1])), math.floor(_turns(ring[start]))) - 180.0
    latitude = y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    around = [*ring[start:-1], *((x + 360 * turns, y) for x, y in ring[:start])]
    first, last = (at, latitude), (at + 360 * turns, latitude)
    return [first, *around, last, (last[0], pole), (at, pole), first]


def _turns(point: Point) -> float:
    return (point[0] + 180) / 360


def _cut(ring: Sequence[Point]) -> list[list[Point]]:
    """Cut an open ring at every odd multiple of 180 degrees; each part is moved to -180 to 180."""
    first = math.floor(min(_turns(point) for point in ring) + 1e-12)
    last = math.ceil(max(_turns(point) for point in ring) - 1e-12)
    parts = []
    for turn in range(first, max(last, first + 1)):
        part = _half(_half(ring, 360.0 * turn - 180, 1), 360.0 * turn + 180, -1)
        if len(part) > 2:
            parts.append([(x - 360.0 * turn, y) for x, y in part])
    return sorted(parts, reverse=True)


def _half(ring: Sequence[Point], edge: float, side: int) -> list[Point]:
    """Return the part of an open ring east (1) or west (-1) of a meridian (Sutherland and Hodgman, 1974)."""
    kept: list[Point] = []
    for (x0, y0), (x1, y1) in zip([ring[-1], *ring[:-1]] if ring else [], ring, strict=False):
        inside0, inside1 = (x0 - edge) * side >= 0, (x1 - edge) * side >= 0
        if inside0 != inside1:
            kept.append((edge, y0 + (y1 - y0) * (edge - x0) / (x1 - x0)))
        if inside1:
            kept.append((x1, y1))
    return kept


def _counter_clockwise(ring: Sequence[Point]) -> list[list[float]]:
    """Return a closed ring, rounded, without repeated points, that keeps its ground on the left."""
    points = [[round(x, _DIGITS), round(y, _DIGITS)] for x, y in ring]
    kept = [point for i, point in enumerate(points) if point != points[i - 1]]
    twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(kept, [*kept[1:], kept[0]], strict=True))
    kept = kept if twice_area > 0 else kept[::-1]
    return [*kept, kept[0]]
