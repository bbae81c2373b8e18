"""Quality masks of Sentinel-2 products: samples lost, degraded, without data or saturated, band by band.

A raster of eight layers a band since baseline 04.00 (MSK_QUALIT), outlines before it (MSK_TECQUA, MSK_NODATA and
MSK_SATURA). Samples whose packets were lost or degraded become absent, as in NASA's HLS, and so do those without data;
saturated ones become saturated. Columns of defective detectors and partly corrected cross-talk stay: ESA has filled
them in.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from xml.etree.ElementTree import Element

import numpy as np
from affine import Affine
from rasterio.windows import Window

from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, SATURATED
from bandloom.shards.scenes.grid import Frame, GridReader, nominal_gsd_m, read_raster
from bandloom.shards.scenes.jp2_tiles import Tile
from bandloom.shards.scenes.readers.outlines import Outline, burn, outlines
from bandloom.shards.scenes.scene import WindowM

_LAYERS = [3, 4, 6, 8]  # MSI packets lost, degraded; no data; saturated
_ABSENT_TYPES = ("MSI_LOST", "MSI_DEG", "QT_NODATA_PIXELS")
_SATURATED_TYPES = ("QT_SATURATED_PIXELS",)  # _L1A and _L1B


class Quality(Protocol):
    """What is said of one band."""

    def place(self, frame: Frame, warp: bool) -> None:
        """Lay it on the scene's frame, before the first window is marked."""
        ...

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        ...

    def mark(self, dn: np.ndarray, window_m: WindowM) -> None:
        """Write absent and saturated into ``(H, W)`` uint16 DN of a window."""
        ...


class RasterQuality:
    """A MSK_QUALIT raster on its band's grid."""

    def __init__(self, raster: Any, path: str) -> None:
        if raster.count < max(_LAYERS):
            raise SceneError(f"{path} has {raster.count} layers where a quality mask has 8; fetch the product again.")
        self._raster, self._path = raster, path
        self._grid: GridReader | None = None

    def is_clean(self, tiles: Sequence[Tile] | None) -> bool:
        """Tell whether nothing is marked, by one tile of every kind; without these, it is not known."""
        return tiles is not None and not any(self._marks(tile) for tile in tiles)

    def place(self, frame: Frame, warp: bool) -> None:
        """Lay the mask on the scene's frame."""
        gsd_m = round(nominal_gsd_m(self._raster.transform.a, self._path))
        self._grid = GridReader(self._raster, self._path, _LAYERS, gsd_m, frame, warp)

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        if self._grid is not None:
            self._grid.keeps_rows = True

    def mark(self, dn: np.ndarray, window_m: WindowM) -> None:
        """Write absent and saturated into ``(H, W)`` uint16 DN of a window."""
        if self._grid is None:
            raise RuntimeError("a quality mask is read before it is placed")
        *absent, saturated = self._grid.read(window_m) != 0
        _write(dn, np.any(absent, 0), saturated)

    def _marks(self, tile: Tile) -> bool:
        window = Window(tile.left, tile.top, tile.width, tile.height)  # pyright: ignore[reportCallIssue]
        return bool(read_raster(self._raster, self._path, indexes=_LAYERS, window=window).any())


class OutlineQuality:
    """Outlines of absent and of saturated samples; all that they touch is marked."""

    def __init__(self, absent: Sequence[Outline], saturated: Sequence[Outline]) -> None:
        self._absent, self._saturated = absent, saturated
        self._corner = (0.0, 0.0)

    def place(self, frame: Frame, warp: bool) -> None:
        """Remember where the scene's windows start."""
        self._corner = (frame.x_m, frame.y_m)

    def walk_down(self) -> None:
        """Nothing to prepare: outlines are drawn window by window."""

    def mark(self, dn: np.ndarray, window_m: WindowM) -> None:
        """Write absent and saturated into ``(H, W)`` uint16 DN of a window."""
        gsd_m = window_m[2] / dn.shape[1]
        transform = Affine(gsd_m, 0, self._corner[0] + window_m[0], 0, -gsd_m, self._corner[1] - window_m[1])
        absent, saturated = (
            burn(rings, dn.shape, transform, touched=True) for rings in (self._absent, self._saturated)
        )
        _write(dn, absent, saturated)


def outline_quality(masks: Iterable[Element]) -> OutlineQuality | None:
    """Return what the masks of one band mark, or None when that is nothing."""
    absent, saturated = [], []
    for mask in masks:
        absent += outlines(mask, _ABSENT_TYPES)
        saturated += outlines(mask, _SATURATED_TYPES)
    return OutlineQuality(absent, saturated) if absent or saturated else None


def _write(dn: np.ndarray, absent: np.ndarray, saturated: np.ndarray) -> None:
    dn[saturated & (dn != NODATA)] = SATURATED
    dn[absent] = NODATA
