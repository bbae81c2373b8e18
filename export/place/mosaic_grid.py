"""The grid of a mosaic: the coordinate system in which most of its ground was mapped, and how each map lies on it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from bandloom.errors import SceneError
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.rasters.cut_short import open_whole

ALIGNED = 1e-3  # of a pixel
EXACT = 1e-7  # of a pixel: how far GDAL may stray from where a pixel lies; 0 is not to be had
Rows = Callable[[int, int], np.ndarray]  # from first and last row of the grid to ``(h, W)`` codes


@dataclass(frozen=True)
class Grid:
    """A grid on the ground."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    def offset_of(self, raster: Any) -> tuple[int, int] | None:
        """Return the row and column at which a raster's pixels lie on this grid; None where they do not."""
        own, step = np.array(raster.transform), np.array(self.transform)
        column, row = ~self.transform * (raster.transform.c, raster.transform.f)
        size = max(raster.shape)
        same = raster.crs == self.crs and np.allclose(own[[0, 1, 3, 4]], step[[0, 1, 3, 4]], 0, ALIGNED / size)
        near = abs(column - round(column)) <= ALIGNED and abs(row - round(row)) <= ALIGNED
        return (round(row), round(column)) if same and near else None


def grid_of(maps: Sequence[Path]) -> Grid:
    """Return the grid that holds all of some maps.

    Its coordinate system is the one in which most valid pixels were mapped, on a tie the earlier map's; its pixels
    are those of the first map in it.

    Raises:
        SceneError: a map cannot be read, or is no map of classes with areas.
    """
    grids = [ClassGrid(path) for path in maps]
    systems: dict[CRS, int] = {}
    for grid in grids:
        known = sum(int(valid.sum()) for _, _, valid in grid.strips())
        systems[grid.crs] = systems.get(grid.crs, 0) + known
    crs = max(systems, key=lambda system: systems[system])
    pixels = next(grid.transform for grid in grids if grid.crs == crs)
    corners = np.array([_corners(grid, crs, pixels) for grid in grids])
    left, top = np.floor(corners[:, :2].min(0) + ALIGNED).astype(int).tolist()
    right, bottom = np.ceil(corners[:, 2:].max(0) - ALIGNED).astype(int).tolist()
    return Grid(crs, pixels * Affine.translation(left, top), (bottom - top, right - left))


def _corners(grid: ClassGrid, crs: CRS, pixels: Affine) -> tuple[float, float, float, float]:
    """Return first column and row, and the ends of columns and rows, that a map takes on a grid of pixels."""
    height, width = grid.shape
    places = np.array([grid.transform * place for place in ((0, 0), (width, 0), (0, height), (width, height))])
    bounds = (*places.min(0).tolist(), *places.max(0).tolist())
    west, south, east, north = bounds if grid.crs == crs else transform_bounds(grid.crs, crs, *bounds)
    spots = np.array([~pixels * place for place in ((west, south), (west, north), (east, south), (east, north))])
    return (*spots.min(0).tolist(), *spots.max(0).tolist())


@contextmanager
def rows_on(grid: Grid, path: Path, nodata: int) -> Iterator[Rows]:
    """Open one band of bytes as rows of a grid, ``nodata`` beyond it: its own pixels, or else the nearest ones.

    Raises:
        SceneError: it cannot be read.
    """
    try:
        with open_whole(path) as raster:
            offset = grid.offset_of(raster)
            if offset is not None:
                yield lambda top, end: _placed(raster, offset, (top, end), grid.shape[1], nodata)
                return
            height, width = grid.shape
            place = {"crs": grid.crs, "transform": grid.transform, "width": width, "height": height}
            with WarpedVRT(raster, **place, resampling=Resampling.nearest, nodata=nodata, tolerance=EXACT) as moved:
                yield lambda top, end: moved.read(1, window=((top, end), (0, width)))
    except RasterioError as cause:
        raise SceneError(f"the map {path} cannot be read to its end ({cause}); remove it and run it again.") from cause


def _placed(raster: Any, offset: tuple[int, int], rows: tuple[int, int], width: int, nodata: int) -> np.ndarray:
    """Return rows of the grid with a raster's own pixels where they lie."""
    row, column = offset
    out = np.full((rows[1] - rows[0], width), nodata, np.uint8)
    first, last = max(rows[0], row), min(rows[1], row + raster.height)
    if first < last:
        window = (first - row, last - row), (0, raster.width)
        out[first - rows[0] : last - rows[0], column : column + raster.width] = raster.read(1, window=window)
    return out
