"""A raster of one band on a scene's 10 m grid: its values as stored, and why a pixel has none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject, transform
from rasterio.windows import Window

from bandloom.errors import LabelError
from bandloom.shards.labels.reading import LABEL_GSD_M, Ground, LabelReading, is_nan
from bandloom.shards.scenes import WindowM
from bandloom.shards.scenes.grid import open_raster, read_raster
from bandloom.validity import NO_NODATA, Validity, alpha_bands

PRESENT, NODATA, MASKED, OUTSIDE = 0, 1, 2, 3  # why a pixel has no value
_BLOCK_PX = 1024  # pixels a side that are warped at once
_MOST_SOURCE_PX = 2**24  # pixels of the raster that are read at once for it
_SQUARE = 0.01  # pixels may differ from the nominal size by this share, as a scene's own may
_FEW_PX = 2  # read beside what is needed, for what transforms round


class LabelRaster:
    """Values of a raster by the windows of a scene: pixel for pixel on its grid, else by nearest neighbour.

    The dtype is the file's own, so that codes stay codes and measured targets stay what they are.
    """

    def __init__(self, path: Path, ground: Ground, reading: LabelReading) -> None:
        """Open ``path``.

        Raises:
            LabelError: it has several bands, no coordinate system, a scale, complex values, or lies elsewhere.
            SceneError: it cannot be opened.
        """
        self.path, self._ground = path, ground
        self._raster: Any = open_raster(path)
        try:
            self._band = _only_band(self._raster, path)
            _check(self._raster, path, reading)
            self.nodata = reading.nodata_value(self._raster.nodata)
            self._masks = Validity(self._raster, [self._band], NO_NODATA)
            self._pixel_px = self._aligned()
            everything = self._source_window(0, 0, ground.width, ground.height)
            if everything is None:
                raise LabelError(self._elsewhere())
        except BaseException:
            self._raster.close()
            raise

    @property
    def dtype(self) -> np.dtype:
        """The values' type, the file's own."""
        return np.dtype(self._raster.dtypes[self._band - 1])

    def read(self, window_m: WindowM) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(H10, W10)`` values of a window, and uint8 why each has none (0: it has one).

        Raises:
            SceneError: the file is damaged.
        """
        (left, top, right, bottom), (row, column), shape = self._ground.clip(window_m)
        values, why = np.zeros(shape, self.dtype), np.full(shape, OUTSIDE, np.uint8)
        place = np.s_[row : row + bottom - top, column : column + right - left]
        if self._pixel_px:
            values[place], why[place] = self._copied(left, top, right, bottom)
            return values, why
        for box in _blocks(left, top, right, bottom, _BLOCK_PX):
            part = np.s_[box[1] - top + row : box[3] - top + row, box[0] - left + column : box[2] - left + column]
            self._warp(box, values[part], why[part])
        return values, why

    def close(self) -> None:
        """Close the file."""
        self._raster.close()

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
        found = self._stored(Window.from_slices((box[1], box[3]), (box[0], box[2])))
        values, why = (each if size == 1 else each.repeat(size, 0).repeat(size, 1) for each in found)
        return values[inner], why[inner]

    def _warp(self, box: tuple[int, int, int, int], values: np.ndarray, why: np.ndarray) -> None:
        """Fill the pixels of a box with those of the raster in which their centres lie."""
        window = self._source_window(*box)
        if window is None:
            return
        if window.width * window.height > _MOST_SOURCE_PX and max(values.shape) > 1:
            half = max(1, max(values.shape) // 2)
            for part in _blocks(*box, half):
                inner = np.s_[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]
                self._warp(part, values[inner], why[inner])
            return
        stored, reasons = self._stored(window)
        index = np.full(values.shape, -1, np.int32)
        reproject(
            np.arange(stored.size, dtype=np.int32).reshape(stored.shape),
            index,
            src_transform=self._raster.transform * Affine.translation(window.col_off, window.row_off),
            src_crs=self._raster.crs,
            dst_transform=self._ground.transform * Affine.translation(box[0], box[1]),
            dst_crs=self._ground.crs,
            resampling=Resampling.nearest,
            init_dest_nodata=False,
            tolerance=0,  # exact for every pixel, so that it does not matter by which windows a scene is read
        )
        inside = index >= 0
        values[inside], why[inside] = stored.ravel()[index[inside]], reasons.ravel()[index[inside]]

    def _stored(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        values = read_raster(self._raster, self.path, indexes=self._band, window=window)
        why = np.zeros(values.shape, np.uint8)
        if not self._masks.by_values_alone:
            why[~self._shown(values.shape, window)] = MASKED
        if self.nodata is not None:
            why[np.isnan(values) if is_nan(self.nodata) else values == self.nodata] = NODATA
        return values, why

    def _shown(self, shape: tuple[int, ...], window: Window) -> np.ndarray:
        """Return ``(H, W)`` bool, False where a mask or an alpha band hides a pixel, whatever its value."""
        try:
            return self._masks.of(np.zeros((1, *shape), np.uint8), window)[0]
        except RasterioError as cause:
            raise LabelError(f"the mask of {self.path} cannot be read ({cause}); fetch it again.") from cause

    def _source_window(self, left: int, top: int, right: int, bottom: int) -> Window | None:
        """Return the pixels of the raster that a box of the scene's pixels can need, or None."""
        xs, ys, *_ = transform(self._ground.crs, self._raster.crs, *self._ground.probes(left, top, right, bottom))
        columns, rows = ~self._raster.transform * (np.array(xs), np.array(ys))
        known = np.isfinite(columns) & np.isfinite(rows)
        if not known.any():
            return None
        spans = []
        for values, size in ((rows[known], self._raster.height), (columns[known], self._raster.width)):
            beside = _FEW_PX + 0.02 * (values.max() - values.min())
            first, last = max(0, int(values.min() - beside)), min(size, int(values.max() + beside) + 1)
            if first >= last:
                return None
            spans.append((first, last))
        return Window.from_slices(*spans)

    def _elsewhere(self) -> str:
        raster, ground = self._raster, self._ground
        return (
            f"{self.path} ({raster.width} x {raster.height} pixels in {raster.crs}, corner {raster.transform.c:g},"
            f" {raster.transform.f:g}) does not lie on scene {ground.name} ({ground.width * LABEL_GSD_M} x"
            f" {ground.height * LABEL_GSD_M} m in {ground.crs}, corner {ground.x_m:g}, {ground.y_m:g}); check that both"
            " show the same ground."
        )


def _only_band(raster: Any, path: Path) -> int:
    bands = [index for index in raster.indexes if index not in alpha_bands(raster)]
    if len(bands) != 1:
        raise LabelError(
            f"{path} has {len(bands)} bands; a mask has one, of class codes: turn colours into codes, or take the band"
            " that holds the codes out of it (gdal_translate -b)."
        )
    return bands[0]


def _check(raster: Any, path: Path, reading: LabelReading) -> None:
    band = _only_band(raster, path) - 1
    if reading.layer is not None or reading.encoding is not None:
        option = "--label-layer" if reading.layer is not None else "--label-encoding"
        raise LabelError(f"{path} is a raster, which {option} is not for; leave it out.")
    if raster.crs is None:
        points = raster.gcps[0]
        mend = "warp it with gdalwarp first" if points else "write one (gdal_edit.py -a_srs EPSG:... FILE)"
        raise LabelError(f"{path} has {'control points alone and ' if points else ''}no coordinate system; {mend}.")
    if raster.dtypes[band].startswith("complex"):
        raise LabelError(f"{path} holds complex numbers ({raster.dtypes[band]}); expected one code a pixel.")
    if (raster.scales[band], raster.offsets[band]) != (1.0, 0.0):
        raise LabelError(
            f"{path} states a scale of {raster.scales[band]:g} and an offset of {raster.offsets[band]:g}, and codes"
            " have none; take them out (gdal_edit.py -scale 1 -offset 0 FILE)."
        )


def _blocks(left: int, top: int, right: int, bottom: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    for y in range(top, bottom, side):
        for x in range(left, right, side):
            yield x, y, min(x + side, right), min(y + side, bottom)
