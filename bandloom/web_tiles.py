"""Web map tiles (XYZ scheme): which ground a tile covers."""

import math

TILE_PX = 256
HALF_WORLD_M = math.pi * 6378137.0  # half the circumference of web Mercator's sphere


def tile_bounds(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a tile in metres of web Mercator; y grows to the south."""
    side = 2 * HALF_WORLD_M / 2**zoom
    left, top = x * side - HALF_WORLD_M, HALF_WORLD_M - y * side
    return left, top - side, left + side, top
