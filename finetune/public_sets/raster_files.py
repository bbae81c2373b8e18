"""Rasters of published sets as arrays: pixels as they are stored, and their place where it is one in metres."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from bandloom.errors import LabelError, SceneError
from bandloom.shards.scenes.grid import is_utm, open_raster, read_raster

_SQUARE = 0.01  # pixels may differ from the nominal size by this share


@dataclass(frozen=True)
class Stored:
    """``(C, H, W)`` values in their own type, and where they lie; no place where the file has none in UTM."""

    values: np.ndarray
    crs: CRS | None = None
    transform: Affine | None = None


def read_stored(path: Path, pixel_m: float = 10.0) -> Stored:
    """Read a raster whole.

    Args:
        path: the file.
        pixel_m: side of its pixels; a file in UTM whose pixels differ by a hundredth is refused.

    Raises:
        SceneError: it cannot be read, or its pixels have another size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some sets have no place, as their records say
        opened = open_raster(path)
    with opened as raster:
        values = read_raster(raster, path)
        if raster.crs is None or not is_utm(raster.crs):
            return Stored(values)
        t = raster.transform
        if t.b or t.d or abs(t.a - pixel_m) > _SQUARE * pixel_m or abs(-t.e - pixel_m) > _SQUARE * pixel_m:
            raise SceneError(f"{path} has pixels of {t.a:g} x {-t.e:g} m; expected {pixel_m:g} m.")
        return Stored(values, raster.crs, Affine(pixel_m, 0, t.c, 0, -pixel_m, t.f))


def whole_codes(values: np.ndarray, path: Path) -> np.ndarray:
    """Return codes as integers, which some sets store as floats; NaN is no code.

    Raises:
        LabelError: there are fractions or NaN among them.
    """
    if values.dtype.kind != "f":
        return values
    if not np.array_equal(values, np.rint(values)):
        raise LabelError(f"{path} holds labels that are no whole numbers; it was resampled: fetch it again.")
    return values.astype(np.int64)


def same_size(values: Sequence[np.ndarray], where: object) -> np.ndarray:
    """Return planes as one stack.

    Raises:
        SceneError: they differ in size.
    """
    shapes = {plane.shape for plane in values}
    if len(shapes) > 1:
        raise SceneError(f"{where} holds bands of the sizes {sorted(shapes)}; expected one grid for all of them.")
    return np.stack(values)
