"""Web map tiles (XYZ scheme): which ground a tile covers, and how a page counts the bounds of a raster."""

import math
from typing import Any

from rasterio.crs import CRS

from bandloom.rasters.footprint import bbox_of

TILE_PX = 256
HALF_WORLD_M = math.pi * 6378137.0  # half the circumference of web Mercator's sphere
MOST_NORTH = math.degrees(math.atan(math.sinh(math.pi)))  # 85.05: where web Mercator's square ends
Degrees = tuple[float, float, float, float]


def tile_bounds(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a tile in metres of web Mercator; y grows to the south."""
    side = 2 * HALF_WORLD_M / 2**zoom
    left, top = x * side - HALF_WORLD_M, HALF_WORLD_M - y * side
    return left, top - side, left + side, top


def mercator_of(degrees: Degrees) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top in metres of web Mercator; east above 180 lies right of the world's edge.

    Args:
        degrees: west, south, east, north.
    """
    west, south, east, north = degrees
    (left, bottom), (right, top) = _metres(west, south), _metres(east, north)
    return left, bottom, right, top


def _metres(longitude: float, latitude: float) -> tuple[float, float]:
    latitude = max(-MOST_NORTH, min(MOST_NORTH, latitude))
    return (
        longitude / 180 * HALF_WORLD_M,
        math.asinh(math.tan(math.radians(latitude))) / math.pi * HALF_WORLD_M,
    )


def view_bounds(geometry: dict[str, Any]) -> Degrees:
    """Return west, south, east, north of a :func:`bandloom.rasters.footprint.footprint` as a page shows it.

    West is less than east, which is above 180 across the antimeridian; latitudes end where web Mercator does.
    """
    west, south, east, north = bbox_of(geometry)
    south, north = (max(-MOST_NORTH, min(MOST_NORTH, latitude)) for latitude in (south, north))
    return west, south, east if east > west else east + 360, north


def beside(bounds: Degrees, other: Degrees) -> Degrees:
    """Return ``other`` moved by whole turns to where its middle is nearest to that of ``bounds``."""
    turns = round((bounds[0] + bounds[2] - other[0] - other[2]) / 720)
    return other[0] + 360 * turns, other[1], other[2] + 360 * turns, other[3]


def warped_crs(raster: Any) -> CRS:
    """Return the coordinate system that a raster is warped from.

    It is the raster's own; of one in degrees that goes beyond 180 (0 to 360, say) longitudes are counted about its own
    middle, or the ground on one side of the antimeridian would not be found.
    """
    west, _, east, _ = raster.bounds
    if not raster.crs.is_geographic or (west >= -180 and east <= 180):
        return raster.crs
    return CRS.from_string(f"{raster.crs.to_proj4()} +lon_wrap={(west + east) / 2}")
