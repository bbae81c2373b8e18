"""A raster of one band on a scene's 10 m grid, in which every pixel has the value at its centre."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from rasterio.windows import Window

from bandloom.errors import LabelError
from bandloom.shards.labels.geometry import moved
from bandloom.shards.labels.reading import LABEL_GSD_M, Ground, LabelReading
from bandloom.shards.labels.stored_raster import OUTSIDE, StoredRaster
from bandloom.shards.scenes import WindowM

_BLOCK_PX = 1024  # pixels a side that are looked up at once
_STEP_PX = 16  # scene pixels between places that are brought to another coordinate system exactly
_TIE_PX = 1e-9  # a centre on the line between two pixels belongs to the right and lower one, whatever the rounding
_MOST_SOURCE_PX = 2**24  # pixels of the raster that are read at once for it
_SQUARE = 0.01  # pixels may differ from the nominal size by this share, as a scene's own may


class LabelRaster:
    """Values of a raster by the windows of a scene: pixel for pixel on its grid, else by nearest neighbour.

    The dtype is the file's own, so that codes stay codes and measured targets stay what they are.
    """

    def __init__(self, path: Path, ground: Ground, reading: LabelReading, *, scaled: bool = False) -> None:
        """Open ``path``; ``scaled`` ones hold values, whose scale and offset are those of :attr:`stored`.

        Raises:
            LabelError: it has several bands, no coordinate system, a scale, complex values, or lies elsewhere.
            SceneError: it cannot be opened.
        """
        self.stored, self._ground = StoredRaster(path, reading, scaled=scaled), ground
        self._raster: Any = self.stored.raster
        try:
            self._check_place()
            self._pixel_px = self._aligned()
        except BaseException:
            self.close()
            raise

    def read(self, window_m: WindowM) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(H10, W10)`` values of a window, and uint8 why each has none (0: it has one).

        Raises:
            SceneError: the file is damaged.
        """
        (left, top, right, bottom), (row, column), shape = self._ground.clip(window_m)
        values, why = np.zeros(shape, self.stored.dtype), np.full(shape, OUTSIDE, np.uint8)
        place = np.s_[row : row + bottom - top, column : column + right - left]
        if self._pixel_px:
            values[place], why[place] = self._copied(left, top, right, bottom)
            return values, why
        for box in _blocks(left, top, right, bottom, _BLOCK_PX):
            part = np.s_[box[1] - top + row : box[3] - top + row, box[0] - left + column : box[2] - left + column]
            self._looked_up(box, values[part], why[part])
        return values, why

    def close(self) -> None:
        """Close the file."""
        self.stored.close()

    def _check_place(self) -> None:
        raster, path = self._raster, self.stored.path
        if raster.crs is None:
            points = raster.gcps[0]
            mend = "warp it with gdalwarp first" if points else "write one (gdal_edit.py -a_srs EPSG:... FILE)"
            raise LabelError(f"{path} has {'control points alone and ' if points else ''}no coordinate system; {mend}.")
        try:
            meets = self._meets()
        except LabelError as cause:
            raise LabelError(f"{path}: {cause}") from cause
        if not meets:
            raise LabelError(self._elsewhere())

    def _aligned(self) -> int:
        """Return how many scene pixels a side one pixel of a raster on the scene's own grid covers, else 0."""
        t, ground = self._raster.transform, self._ground
        pixel_px = round(t.a / LABEL_GSD_M)
        if self._raster.crs != ground.crs or t.b or t.d or pixel_px < 1:
            return 0
        sizes = [abs(side - pixel_px * LABEL_GSD_M) <= _SQUARE * pixel_px * LABEL_GSD_M for side in (t.a, -t.e)]
        off_m = max(abs(t.c - ground.x_m), abs(t.f - ground.y_m))
        whole = (self._raster.height * pixel_px, self._raster.width * pixel_px) == (ground.height, ground.width)
        return pixel_px if all(sizes) and whole and off_m <= LABEL_GSD_M / 2 else 0

    def _copied(self, left: int, top: int, right: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        size = self._pixel_px
        box = left // size, top // size, -(-right // size), -(-bottom // size)
        inner = np.s_[top - box[1] * size : bottom - box[1] * size, left - box[0] * size : right - box[0] * size]
        stored = self.stored.read(Window.from_slices((box[1], box[3]), (box[0], box[2])))
        values, why = (array if size == 1 else array.repeat(size, 0).repeat(size, 1) for array in stored)
        return values[inner], why[inner]

    def _looked_up(self, box: tuple[int, int, int, int], values: np.ndarray, why: np.ndarray) -> None:
        """Fill the pixels of a box with those of the raster in which their centres lie."""
        rows, columns = (np.floor(centre + _TIE_PX) for centre in self._centres(box))
        inside = (rows >= 0) & (rows < self._raster.height) & (columns >= 0) & (columns < self._raster.width)
        if not inside.any():
            return
        rows, columns = rows[inside].astype(np.int64), columns[inside].astype(np.int64)
        (top, bottom), (left, right) = ((indices.min(), indices.max() + 1) for indices in (rows, columns))
        if (bottom - top) * (right - left) > _MOST_SOURCE_PX and values.size > 1:
            for part in _blocks(*box, max(1, max(values.shape) // 2)):
                inner = np.s_[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]
                self._looked_up(part, values[inner], why[inner])
            return
        stored, reasons = self.stored.read(Window.from_slices((int(top), int(bottom)), (int(left), int(right))))
        values[inside], why[inside] = stored[rows - top, columns - left], reasons[rows - top, columns - left]

    def _centres(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return where the centres of a box of scene pixels lie, in rows and columns of the raster, NaN for nowhere.

        In another coordinate system, by straight lines between exact places 160 m apart, which is true to a millimetre.
        The places count from the scene's corner, so that it does not matter by which windows a scene is read.
        """
        left, top, right, bottom = box
        x, y = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
        if self._raster.crs == self._ground.crs:
            to_ground, to_raster = (
                cast(Any, self._ground.transform),
                cast(Any, ~self._raster.transform),
            )  # of arrays too
            columns, rows = to_raster * (to_ground * (x[None, :], y[:, None]))
            shape = len(y), len(x)
            return np.broadcast_to(rows, shape), np.broadcast_to(columns, shape)
        knots_x, knots_y = (np.arange(a // _STEP_PX, -(-b // _STEP_PX) + 1) for a, b in ((left, right), (top, bottom)))
        knots = self._placed(*np.meshgrid(knots_x * _STEP_PX, knots_y * _STEP_PX))
        rows, columns = (_between(knot, x / _STEP_PX - knots_x[0], y / _STEP_PX - knots_y[0]) for knot in knots)
        return rows, columns

    def _placed(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where scene pixels lie, in rows and columns of the raster; NaN where its projection does not reach."""
        raster = self._raster
        xs, ys = cast(Any, self._ground.transform) * (columns.ravel(), rows.ravel())
        placed = moved(np.column_stack([xs, ys]), self._ground.crs, raster.crs)
        x, y = np.where(np.isfinite(placed), placed, np.nan).T
        if raster.crs.is_geographic:  # on the raster's own side of the antimeridian
            middle, _ = raster.transform * (raster.width / 2, raster.height / 2)
            x = x - 360 * np.clip(np.round((x - middle) / 360), -1, 1)
        found_columns, found_rows = ~raster.transform * (x, y)
        return found_rows.reshape(rows.shape), found_columns.reshape(rows.shape)

    def _meets(self) -> bool:
        """Tell whether the raster's pixels, as a box, meet the scene's ground."""
        ground = self._ground
        spread = np.meshgrid(np.linspace(0, ground.width, 9), np.linspace(0, ground.height, 9))
        sides = zip(self._placed(*spread), (self._raster.height, self._raster.width), strict=True)
        return all(np.isfinite(at).any() and np.nanmin(at) < size and np.nanmax(at) > 0 for at, size in sides)

    def _elsewhere(self) -> str:
        raster, ground = self._raster, self._ground
        corner = f"corner {raster.transform.c:g}, {raster.transform.f:g}"
        extent = f"{ground.width * LABEL_GSD_M} x {ground.height * LABEL_GSD_M} m"
        return (
            f"{self.stored.path} ({raster.width} x {raster.height} pixels in {raster.crs}, {corner}) does not lie on"
            f" scene {ground.name} ({extent} in {ground.crs}, corner {ground.x_m:g}, {ground.y_m:g}); check that both"
            " show the same ground."
        )


def _blocks(left: int, top: int, right: int, bottom: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    for y in range(top, bottom, side):
        for x in range(left, right, side):
            yield x, y, min(x + side, right), min(y + side, bottom)


def _between(knots: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return values at ``y`` by ``x`` by bilinear interpolation of knots ``(H, W)`` that lie at whole numbers."""
    left, top = x.astype(int), y.astype(int)
    u, v = x - left, (y - top)[:, None]
    upper = knots[top][:, left] * (1 - u) + knots[top][:, left + 1] * u
    lower = knots[top + 1][:, left] * (1 - u) + knots[top + 1][:, left + 1] * u
    return upper * (1 - v) + lower * v
