"""Outlines of patches in a strip of a map, as polygons that share every corner, simplified without gaps or overlaps."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
from rasterio import features

OUTSIDE = -2  # beyond the map
SHAPES_AT_ONCE = 1 << 15  # as Python objects


def outlines(
    patches: np.ndarray, above: np.ndarray | None, below: np.ndarray | None, smooth_px: float, top: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return polygons of a strip in pixels ``(column, row)``, and the patch of each.

    Every place where three patches or more meet is a corner of all of them, so that the polygons are a coverage in the
    sense of GEOS: they can be simplified together. What lies on the strip's own edge stays, and fits the next strip.

    Args:
        patches: ``(h, W)`` int32, the patch of each pixel.
        above: ``(W,)`` the row above the strip; None at the map's edge.
        below: ``(W,)`` the row under it.
        smooth_px: corners whose triangle is smaller than this squared, in pixels, are cut off; 0 keeps all.
        top: the strip's first row on the map.
    """
    import shapely  # pyright: ignore[reportMissingImports]

    nodes = _nodes(patches, above, below)
    made, owners = [], []
    for shapes in _batched(features.shapes(patches, connectivity=4)):
        rings = [ring[:-1] for shape, _ in shapes for ring in shape["coordinates"]]
        lengths = np.fromiter(map(len, rings), np.int64, len(rings))
        corners, of_ring = _noded(np.array(list(chain.from_iterable(rings))).astype(np.int32), lengths, nodes)
        of_shape = np.repeat(np.arange(len(shapes)), [len(shape["coordinates"]) for shape, _ in shapes])
        closed: Any = shapely.linearrings((corners + np.array([0, top])).astype(np.float64), indices=of_ring)
        made.append(shapely.polygons(closed, indices=of_shape))
        owners.append(np.array([int(value) for _, value in shapes]))
    polygons, owner = np.concatenate(made), np.concatenate(owners)
    if smooth_px:
        polygons = shapely.coverage_simplify(polygons, smooth_px, simplify_boundary=False)
    return polygons, owner


def _batched(shapes: Iterator[tuple[Any, float]]) -> Iterator[list[tuple[Any, float]]]:
    while batch := list(islice(shapes, SHAPES_AT_ONCE)):
        yield batch


def _nodes(patches: np.ndarray, above: np.ndarray | None, below: np.ndarray | None) -> np.ndarray:
    """Return ``(h + 1, W + 1)`` bool: corners of pixels that must be corners of every polygon that passes them."""
    width = patches.shape[1]
    beyond = np.full(width, OUTSIDE, patches.dtype)
    held = np.vstack([beyond if above is None else above, patches, beyond if below is None else below])
    held = np.pad(held, ((0, 0), (1, 1)), constant_values=OUTSIDE)
    top, bottom = held[:-1, 1:] != held[:-1, :-1], held[1:, 1:] != held[1:, :-1]
    left, right = held[1:, :-1] != held[:-1, :-1], held[1:, 1:] != held[:-1, 1:]
    nodes = top.astype(np.int8) + bottom + left + right > 2
    nodes[0] |= top[0] | bottom[0]  # a strip's edge is cut by what changes on either side
    nodes[-1] |= top[-1] | bottom[-1]
    return nodes


def _noded(xy: np.ndarray, lengths: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of rings, ``(N, 2)``, nodes that lie on their straight sides among them, and each one's ring.

    Args:
        xy: ``(M, 2)`` corners of all rings, each ring open.
        lengths: ``(R,)`` corners of each ring.
        nodes: what :func:`_nodes` returned.
    """
    last = np.cumsum(lengths) - 1
    after, before = np.arange(len(xy)) + 1, np.arange(len(xy)) - 1
    after[last], before[last - lengths + 1] = last - lengths + 1, last
    step = xy[after] - xy
    sides, unit = np.abs(step).sum(axis=1), np.sign(step)
    turns = (unit != unit[before]).any(axis=1)
    along = np.arange(sides.sum()) - np.repeat(np.cumsum(sides) - sides, sides)
    places = np.repeat(xy, sides, axis=0) + along[:, None] * np.repeat(unit, sides, axis=0)
    kept = nodes[places[:, 1], places[:, 0]] | ((along == 0) & np.repeat(turns, sides))
    return places[kept], np.repeat(np.repeat(np.arange(len(lengths)), lengths), sides)[kept]
