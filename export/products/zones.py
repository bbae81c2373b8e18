"""Hectares and shares of the classes of a map in each of some zones."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio import features
from rasterio.windows import Window

from bandloom.errors import LabelError
from bandloom.export.maps.class_grid import EQUAL_AREA, ClassGrid
from bandloom.shards.labels.geometry import moved, rebuilt
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import Drawing, read_drawing

WINDOW_PIXELS = 1 << 22  # of a zone in memory at a time
PARTLY = 0.95  # of a zone mapped, below which it is said


@dataclass(frozen=True)
class ZoneAreas:
    """Areas by zone and class.

    Args:
        drawing: the zones as their file holds them.
        codes: of the classes that the map shows.
        names: of these classes.
        zone_ha: ``(Z,)`` area of each zone, on the ellipsoid.
        class_ha: ``(Z, K)`` area of the pixels of each class whose centre lies in the zone.
    """

    drawing: Drawing
    codes: list[int]
    names: list[str]
    zone_ha: np.ndarray
    class_ha: np.ndarray

    @property
    def mapped_ha(self) -> np.ndarray:
        """The area of each zone that has a class, ``(Z,)``."""
        return self.class_ha.sum(axis=1)

    @property
    def shares(self) -> np.ndarray:
        """The share of each class in what is mapped of a zone, ``(Z, K)``; NaN where nothing is."""
        mapped = self.mapped_ha[:, None]
        return np.divide(self.class_ha, mapped, out=np.full(self.class_ha.shape, np.nan), where=mapped > 0)

    def warnings(self) -> list[str]:
        """Return what a reader must know, a sentence each."""
        partly = np.flatnonzero(self.mapped_ha < PARTLY * self.zone_ha)
        if not len(partly):
            return []
        first = int(partly[0])
        share = self.mapped_ha[first] / self.zone_ha[first]
        return [
            f"{len(partly)} of {len(self.zone_ha)} zones are mapped in part only (the first, {self.called(first)}, to"
            f" {share:.0%}): their shares are of what is mapped."
        ]

    def called(self, number: int) -> str:
        """Return what a zone is called: its name, or else its place in the file, from 1."""
        name = self.drawing.values[number]
        return str(number + 1) if name is None else str(name)


def zone_areas(map_path: Path, zones: Path, reading: LabelReading) -> ZoneAreas:
    """Add up the areas of the classes in each zone; a pixel belongs to every zone that holds its centre.

    Args:
        map_path: the map.
        zones: polygons, in any coordinate system.
        reading: ``field`` is the attribute that names a zone, empty: none does.

    Raises:
        SceneError: the map cannot be read, or its pixels have no known area.
        LabelError: the zones cannot be read, one is no polygon, or none lies on the map.
    """
    grid, drawing = ClassGrid(map_path), read_drawing(zones, reading)
    _check(drawing)
    codes = np.array([land_class.code for land_class in grid.classes])
    shapes, ground = _placed(drawing, grid), _shapes(drawing, moved(drawing.flat.xy, drawing.crs, EQUAL_AREA))
    class_ha = np.zeros((len(shapes), len(codes)))
    boxes = [(number, box) for number, parts in enumerate(shapes) for box in _boxes(parts, grid.shape)]
    if not boxes:
        raise LabelError(f"no zone of {zones} lies on the map {map_path}; name zones of its ground.")
    with grid.reading() as read:
        for number, box in boxes:
            held, valid = read(box)
            inside = _inside(shapes[number], box) & valid
            row_ha = np.broadcast_to(grid.row_ha[box.row_off : box.row_off + box.height, None], held.shape)
            class_ha[number] += np.bincount(np.searchsorted(codes, held[inside]), row_ha[inside], len(codes))
    zone_ha = np.array([sum(map(_plane_ha, parts)) for parts in ground])
    return ZoneAreas(drawing, codes.tolist(), [land_class.name for land_class in grid.classes], zone_ha, class_ha)


def _check(drawing: Drawing) -> None:
    for number, why in sorted(drawing.flat.refused.items()):
        raise LabelError(f"{drawing.where(number)} {why}")
    for number, geometry in enumerate(drawing.geometries):
        kind = geometry["type"] if geometry else "nothing"
        if kind not in ("Polygon", "MultiPolygon"):
            raise LabelError(f"{drawing.where(number)} is {kind}; a zone is a polygon.")


def _placed(drawing: Drawing, grid: ClassGrid) -> list[list[Any]]:
    """Return the polygons of each zone in the map's pixels, a pixel's centre at half."""
    xy = moved(drawing.flat.xy, drawing.crs, grid.crs)
    if not np.isfinite(xy).all():
        number = int(np.searchsorted(drawing.flat.starts, np.flatnonzero(~np.isfinite(xy).all(1))[0], "right")) - 1
        raise LabelError(f"{drawing.where(number)} cannot be brought to {grid.crs}; mend or remove it.")
    columns, rows = ~grid.transform * (xy[:, 0], xy[:, 1])
    return _shapes(drawing, np.stack([columns, rows], axis=1))


def _shapes(drawing: Drawing, xy: np.ndarray) -> list[list[Any]]:
    """Return the polygons of each zone with other coordinates."""
    pairs, flat, shapes = xy.tolist(), drawing.flat, []
    for geometry, lengths, start in zip(drawing.geometries, flat.lengths, flat.starts.tolist(), strict=False):
        ends = itertools.accumulate(lengths, initial=start)
        shapes.append(rebuilt(geometry, (pairs[a:b] for a, b in itertools.pairwise(ends))))
    return shapes


def _boxes(parts: Sequence[Any], shape: tuple[int, int]) -> Iterator[Window]:
    """Yield windows of the map that cover what a zone may hold of it."""
    corners = np.array([place for part in parts for place in part["coordinates"][0]])
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)), shape[::-1]).astype(int)
    if left >= right:
        return
    step = max(1, WINDOW_PIXELS // (right - left))
    for row in range(top, bottom, step):
        yield Window(left, row, right - left, min(step, bottom - row))  # type: ignore[call-arg]


def _inside(parts: Sequence[Any], box: Window) -> np.ndarray:
    """Tell which pixels of a window have their centre in a zone."""
    place: Any = Affine.translation(box.col_off, box.row_off)  # coordinates are the map's pixels
    burnt = features.rasterize(parts, (box.height, box.width), transform=place, dtype="uint8")
    return np.asarray(burnt) == 1


def _plane_ha(polygon: Any) -> float:
    """Return the area of a polygon in metres, without its holes."""
    outer, *holes = (abs(_signed(np.array(ring))) for ring in polygon["coordinates"])
    return (outer - sum(holes)) / 1e4


def _signed(ring: np.ndarray) -> float:
    xs, ys = (ring - ring[0]).T
    return float(xs @ np.roll(ys, -1) - ys @ np.roll(xs, -1)) / 2
