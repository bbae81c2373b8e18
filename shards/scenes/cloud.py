"""Cloud masks by windows: from a mask raster on any grid, or from polygons."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from affine import Affine

from bandloom.shards.scenes.grid import Frame, GridReader, nominal_gsd_m
from bandloom.shards.scenes.readers.outlines import Outline, burn
from bandloom.shards.scenes.scene import WindowM

_GRID_M = 10
_SCL_CLOUD = (8, 9, 10)  # medium and high probability, thin cirrus


class CloudLayer(Protocol):
    """A cloud mask that can be laid on a scene."""

    def place(self, frame: Frame, warp: bool) -> None:
        """Lay the mask on the scene's frame, before the first window is read."""
        ...

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        ...

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` bool, True under cloud."""
        ...


class RasterCloud:
    """A mask raster and the test that tells cloud: ``(C, H, W) -> (H, W)`` bool."""

    def __init__(
        self, raster: Any, path: str, test: Callable[[np.ndarray], np.ndarray], indexes: Sequence[int] | None = None
    ) -> None:
        self._raster, self._path, self._test = raster, path, test
        self._indexes = list(raster.indexes if indexes is None else indexes)
        self._grid: GridReader | None = None

    def place(self, frame: Frame, warp: bool) -> None:
        """Lay the mask on the scene's frame."""
        gsd_m = _GRID_M if warp else round(nominal_gsd_m(self._raster.transform.a, self._path))
        self._grid = GridReader(self._raster, self._path, self._indexes, gsd_m, frame, warp, nearest=True)

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        if self._grid is not None:
            self._grid.keeps_rows = True

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` bool, True under cloud."""
        if self._grid is None:
            raise RuntimeError("a cloud layer is read before it is placed")
        cloud = self._test(self._grid.read(window_m))
        factor = max(1, self._grid.gsd_m // _GRID_M)
        return cloud.repeat(factor, 0).repeat(factor, 1)


class OutlineCloud:
    """Cloud outlines in the scene's own coordinates."""

    def __init__(self, outlines: Sequence[Outline]) -> None:
        self._outlines = outlines
        self._corner = (0.0, 0.0)

    def place(self, frame: Frame, warp: bool) -> None:
        """Remember where the scene's windows start."""
        self._corner = (frame.x_m, frame.y_m)

    def walk_down(self) -> None:
        """Nothing to prepare: outlines are drawn window by window."""

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` bool, True under cloud."""
        x, y, width, height = window_m
        transform = Affine(_GRID_M, 0, self._corner[0] + x, 0, -_GRID_M, self._corner[1] - y)
        return burn(self._outlines, (round(height / _GRID_M), round(width / _GRID_M)), transform, touched=False)


def scl_cloud(codes: np.ndarray) -> np.ndarray:
    """Tell cloud in Sentinel-2's scene classification, ``(1, H, W)``."""
    return np.isin(codes[0], _SCL_CLOUD)
