"""A map of classes: the names of its classes, its valid pixels by strips, and the area of its pixels on the ground."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform
from rasterio.windows import Window

from bandloom.command_line.console import track
from bandloom.errors import SceneError
from bandloom.rasters.cut_short import open_whole
from bandloom.rasters.lossy import loss_of, refusal
from bandloom.rasters.projected import projected

EQUAL_AREA = CRS.from_epsg(6933)  # cylindrical equal-area on WGS 84: plane areas in it are areas on the ellipsoid
MOST_DISTORTION = 0.01  # UTM stays within 0.2 % in its zone
STRIP_PIXELS = 1 << 22
MOST_CLASSES = 250  # as a label set
Reader = Callable[[Window], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class GridClass:
    """A class of a map, with the ground that the map gives it."""

    code: int
    name: str
    pixels: int
    hectares: float


class ClassGrid:
    """A raster whose one band holds class codes, and whose pixels' areas are known.

    Attributes:
        parts: the maps that a code speaks of: this one, or an earlier and a later one.
        most_classes: more values than these are no classes.
    """

    most_classes = MOST_CLASSES

    def __init__(self, path: Path) -> None:
        """Open the map at ``path``.

        Raises:
            SceneError: it is missing or no raster of whole numbers, was compressed with loss, has no coordinate system,
                lies rotated in degrees, or its coordinate system distorts areas.
        """
        self.path = path
        try:
            with open_whole(path) as source:
                self.crs, self.transform, self.shape = source.crs, source.transform, source.shape
                self.names = _names(source.tags())
                held = f"{source.count} band(s) of {source.dtypes[0]}"
                fits = source.count == 1 and np.dtype(source.dtypes[0]).kind in "iu"
                self._block_rows = source.block_shapes[0][0]
                loss = loss_of(source)
        except (RasterioError, TypeError) as cause:
            raise SceneError(f"the map {path} cannot be read as a raster ({cause}); name a GeoTIFF.") from cause
        if not fits:
            raise SceneError(f"the map {path} has {held}; a map of classes has one band of whole numbers.")
        if loss is not None:
            raise SceneError(f"the map {refusal(path, loss)}")
        if self.crs is None:
            raise SceneError(
                f"the map {path} has no coordinate system; give it one with gdal_edit -a_srs, or write it again if it"
                " was cut short."
            )
        self.parts: tuple[ClassGrid, ...] = (self,)
        self.row_ha = self._row_ha()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open the map; what is given takes a window and returns ``(h, w)`` codes, and where they are valid.

        Raises:
            SceneError: the map cannot be read.
        """
        try:
            with rasterio.open(self.path) as source:
                yield lambda window: (source.read(1, window=window), source.read_masks(1, window=window) != 0)
        except RasterioError as cause:
            raise SceneError(f"the map {self.path} cannot be read to its end ({cause}); write it again.") from cause

    def strips(self, rows: int | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the map from the top: the first row, ``(H, W)`` codes, and where they are valid."""
        height, width = self.shape
        fitting = max(1, STRIP_PIXELS // width)
        step = rows or fitting // self._block_rows * self._block_rows or fitting
        with self.reading() as read:
            for top in track(range(0, height, step), f"strips of {self.path.name}"):
                window: Any = Window(0, top, width, min(step, height - top))  # type: ignore[call-arg]
                yield top, *read(window)

    @cached_property
    def classes(self) -> list[GridClass]:
        """The classes that the map shows somewhere, by code.

        Raises:
            SceneError: no pixel is valid, there are too many values for classes, or the map cannot be read.
        """
        pixels: dict[int, int] = {}
        hectares: dict[int, float] = {}
        for top, codes, valid in self.strips():
            area = np.broadcast_to(self.row_ha[top : top + len(codes), None], codes.shape)[valid]
            values, places = np.unique(codes[valid], return_inverse=True)
            counts, areas = np.bincount(places, minlength=len(values)), np.bincount(places, area, len(values))
            for code, count, ha in zip(values.tolist(), counts.tolist(), areas.tolist(), strict=True):
                pixels[code] = pixels.get(code, 0) + count
                hectares[code] = hectares.get(code, 0.0) + ha
            if len(pixels) > self.most_classes:
                raise SceneError(f"{self.path} holds more than {self.most_classes} values; name a map of classes.")
        if not pixels:
            raise SceneError(self.empty())
        return [GridClass(code, self.name_of(code), pixels[code], hectares[code]) for code in sorted(pixels)]

    def empty(self) -> str:
        """Return the sentence for a map without a valid pixel."""
        return f"the map {self.path} holds no valid pixel; check its no-data value."

    def name_of(self, code: int) -> str:
        """Return a class's name as the map gives it."""
        return self.names.get(code, f"class {code}")

    def code_of(self, codes: Sequence[int | None]) -> int:
        """Return the code of a pixel that has these codes in :attr:`parts`."""
        (code,) = codes
        return code or 0

    def codes_at(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(P,)`` codes of pixels, and whether each lies on the map and is valid."""
        codes, valid = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        inside = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.shape[1])
        with self.reading() as read:
            for number in np.flatnonzero(inside):
                window: Any = Window(int(columns[number]), int(rows[number]), 1, 1)  # type: ignore[call-arg]
                code, known = read(window)
                codes[number], valid[number] = code[0, 0], known[0, 0]
        return codes, valid

    def _row_ha(self) -> np.ndarray:
        """Return ``(H,)`` the area of one pixel of each row, in hectares."""
        height = self.shape[0]
        if self.crs.is_projected:
            side = self.crs.linear_units_factor[1]
            plane_ha = abs(self.transform.determinant) * side**2 / 1e4
            self._refuse_distortion(plane_ha)
            return np.full(height, plane_ha)
        if not self.crs.is_geographic or self.transform.b or self.transform.d:
            raise SceneError(
                f"the map {self.path} lies on a grid whose pixels have no known area ({self.crs.to_string()});"
                " bring it to UTM with gdalwarp -t_srs."
            )
        left, tops = self.transform.c, self.transform.f + self.transform.e * np.arange(height + 1)
        within = tops.clip(-90, 90)  # the outer half of a global map's first row lies beyond the pole
        northings = transform(self.crs, EQUAL_AREA, [left] * (height + 1), within.tolist())[1]
        wide = transform(self.crs, EQUAL_AREA, [0.0, min(1.0, abs(self.transform.a))], [0.0, 0.0])[0]
        east_m = (wide[1] - wide[0]) * abs(self.transform.a) / min(1.0, abs(self.transform.a))
        return np.abs(np.diff(northings)) * east_m / 1e4

    def _refuse_distortion(self, plane_ha: float) -> None:
        height, width = self.shape
        corners = np.array(
            [(0, 0), (0, height - 1), (width - 1, 0), (width - 1, height - 1), (width // 2, height // 2)]
        )
        for column, row in corners.tolist():
            true_ha = self._true_ha(column, row)
            if not abs(plane_ha / true_ha - 1) <= MOST_DISTORTION:
                raise SceneError(
                    f"the map {self.path} is in {self.crs.to_string()}, which makes a pixel of {true_ha * 1e4:.4g} m2"
                    f" look like {plane_ha * 1e4:.4g} m2; bring it to UTM or to an equal-area system with"
                    " gdalwarp -r near -t_srs."
                )

    def _true_ha(self, column: int, row: int) -> float:
        """Return the area of a pixel on the ellipsoid, in hectares."""
        ring = [self.transform * (column + right, row + down) for right, down in ((0, 0), (1, 0), (1, 1), (0, 1))]
        xs, ys = projected(self.crs, EQUAL_AREA, *np.array(ring).T)
        if not np.isfinite([xs, ys]).all():
            return float("nan")  # beyond what its projection can show
        xs, ys = xs - xs.mean(), ys - ys.mean()
        return abs(float(xs @ np.roll(ys, -1) - ys @ np.roll(xs, -1))) / 2 / 1e4


def _names(tags: dict[str, str]) -> dict[int, str]:
    """Return the names that a map of ours carries in its tags, by code."""
    try:
        return {int(told["value"]): str(told["name"]) for told in json.loads(tags.get("CLASSES", "[]"))}
    except (ValueError, TypeError, KeyError):
        return {}
