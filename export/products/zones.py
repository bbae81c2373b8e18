"""Hectares and shares of the classes of a map in each of some zones."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio import features
from rasterio.windows import Window

from bandloom.command_line.console import track
from bandloom.errors import LabelError
from bandloom.export.maps.class_grid import EQUAL_AREA, ClassGrid
from bandloom.shards.labels.geometry import densified, moved, rebuilt
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import Drawing, read_drawing

WINDOW_PIXELS = 1 << 22  # of a zone in memory at a time
PARTLY, TOO_MUCH = 0.95, 0.02  # of a zone mapped, below which it is said, and beyond its area, above which it is
STEP_DEGREES, STEP_M = 0.02, 2000.0  # of an edge between places that are brought to another coordinate system


@dataclass(frozen=True)
class ZoneAreas:
    """Areas by zone and class.

    Args:
        drawing: the zones as their file holds them.
        codes: of the classes that the map shows.
        names: of these classes.
        zone_ha: ``(Z,)`` area of each zone, on the ellipsoid.
        class_ha: ``(Z, K)`` area of the pixels of each class whose centre lies in the zone.
        pixels: ``(Z,)`` how many these are.
    """

    drawing: Drawing
    codes: list[int]
    names: list[str]
    zone_ha: np.ndarray
    class_ha: np.ndarray
    pixels: np.ndarray

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
        pixel_ha = self.mapped_ha / np.maximum(self.pixels, 1)
        by_chance = np.sqrt(self.pixels)  # pixels at the edge, whose centres lie inside or outside
        over = np.flatnonzero(self.mapped_ha - self.zone_ha > (TOO_MUCH * self.pixels + by_chance) * pixel_ha)
        told = []
        if len(partly):
            first = int(partly[0])
            told.append(
                f"{len(partly)} of {len(self.zone_ha)} zones are mapped in part only (the first, {self.called(first)},"
                f" to {self.mapped_ha[first] / self.zone_ha[first]:.0%}): their shares are of what is mapped."
            )
        if len(over):
            first = int(over[0])
            told.append(
                f"{len(over)} of {len(self.zone_ha)} zones have pixels of more ground than their outline holds (the"
                f" first, {self.called(first)}, {self.mapped_ha[first]:.2f} of {self.zone_ha[first]:.2f} ha): outlines"
                " that cross themselves are to be mended (in QGIS: Fix geometries)."
            )
        return told

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
    step = STEP_DEGREES if drawing.crs.is_geographic else STEP_M / drawing.crs.linear_units_factor[1]
    dense = replace(drawing, geometries=[densified(geometry, step) for geometry in drawing.geometries])
    shapes, ground = _placed(dense, grid), _shapes(dense, moved(dense.flat.xy, dense.crs, EQUAL_AREA))
    class_ha, pixels = np.zeros((len(shapes), len(codes))), np.zeros(len(shapes), np.int64)
    boxes = [(number, box) for number, parts in enumerate(shapes) for box in _boxes(parts, grid.shape)]
    if not boxes:
        raise LabelError(f"no zone of {zones} lies on the map {map_path}; name zones of its ground.")
    with grid.reading() as read:
        for number, box in track(boxes, "zones"):
            held, valid = read(box)
            inside = _inside(shapes[number], box) & valid
            row_ha = np.broadcast_to(grid.row_ha[box.row_off : box.row_off + box.height, None], held.shape)
            pixels[number] += int(inside.sum())
            class_ha[number] += np.bincount(np.searchsorted(codes, held[inside]), row_ha[inside], len(codes))
    zone_ha = np.array([sum(map(_plane_ha, parts)) for parts in ground])
    names = [land_class.name for land_class in grid.classes]
    return ZoneAreas(drawing, codes.tolist(), names, zone_ha, class_ha, pixels)


def _check(drawing: Drawing) -> None:
    for number, why in sorted(drawing.flat.refused.items()):
        raise LabelError(f"{drawing.where(number)} {why}")
    for number, geometry in enumerate(drawing.geometries):
        kind = geometry["type"] if geometry else "nothing"
        if kind not in ("Polygon", "MultiPolygon"):
            raise LabelError(f"{drawing.where(number)} is {kind}; a zone is a polygon.")
    try:
        import shapely  # pyright: ignore[reportMissingImports]
        from shapely.geometry import shape  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return  # what crosses itself is then warned of by its areas
    for number, geometry in enumerate(drawing.geometries):
        why = shapely.is_valid_reason(shape(geometry))
        if why != "Valid Geometry":
            raise LabelError(f"{drawing.where(number)} is no valid polygon ({why}); mend it (in QGIS: Fix geometries).")


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
