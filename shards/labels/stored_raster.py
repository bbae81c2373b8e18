"""A raster of one band as it is stored: its values in their own type, and why a pixel has none."""

from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from bandloom.errors import LabelError
from bandloom.rasters.lossy import loss_of, refusal
from bandloom.rasters.validity import NO_NODATA, Validity, alpha_bands, can_hold
from bandloom.shards.labels.reading import LabelReading, is_nan
from bandloom.shards.scenes.grid import open_raster, read_raster

PRESENT, NODATA, MASKED, OUTSIDE = 0, 1, 2, 3  # why a pixel has no value


class StoredRaster:
    """Codes or measured targets by windows of the file's own pixels; bands of transparency are no bands of values."""

    def __init__(self, path: Path, reading: LabelReading, *, scaled: bool = False) -> None:
        """Open ``path``; ``scaled`` ones hold values, whose scale and offset are :attr:`scale`.

        Raises:
            LabelError: it has several bands, a scale, or complex values, codes that were compressed with loss, or an
                option is not for rasters.
            SceneError: it cannot be opened.
        """
        self.path = path
        self.raster: Any = open_raster(path)
        try:
            self._band = _only_band(self.raster, path)
            _check(self.raster, self._band, path, reading, scaled=scaled)
            self.nodata = reading.nodata_value(self.raster.nodata)
            self._masks = Validity(self.raster, [self._band], NO_NODATA)
            self._asked = reading.nodata is not None
        except BaseException:
            self.raster.close()
            raise

    @property
    def dtype(self) -> np.dtype:
        """The values' type, the file's own."""
        return np.dtype(self.raster.dtypes[self._band - 1])

    @property
    def scale(self) -> tuple[float, float]:
        """What stored values are multiplied by, and what is added then."""
        return float(self.raster.scales[self._band - 1]), float(self.raster.offsets[self._band - 1])

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(H, W)`` values of a window, and uint8 why each has none (0: it has one).

        Raises:
            LabelError: its mask is damaged.
            SceneError: the file is damaged.
        """
        values = read_raster(self.raster, self.path, indexes=self._band, window=window)
        why = np.zeros(values.shape, np.uint8)
        if not self._masks.by_values_alone:
            why[~self._shown(values.shape, window)] = MASKED
        if self.nodata is not None:
            why[np.isnan(values) if is_nan(self.nodata) else values == self.nodata] = NODATA
        return values, why

    def warnings(self) -> list[str]:
        """Return what a person should know of how the file is read."""
        if not self._asked or self.nodata is None or can_hold(self.dtype, self.nodata):
            return []
        return [f"{self.path} holds {self.dtype}, which cannot be --label-nodata {self.nodata:g}: it hides nothing."]

    def close(self) -> None:
        """Close the file."""
        self.raster.close()

    def _shown(self, shape: tuple[int, ...], window: Window | None) -> np.ndarray:
        """Return ``(H, W)`` bool, False where a mask or an alpha band hides a pixel, whatever its value."""
        try:
            return self._masks.of(np.zeros((1, *shape), np.uint8), window)[0]
        except RasterioError as cause:
            raise LabelError(f"the mask of {self.path} cannot be read ({cause}); fetch it again.") from cause


def _only_band(raster: Any, path: Path) -> int:
    bands = [index for index in raster.indexes if index not in alpha_bands(raster)]
    if len(bands) != 1:
        raise LabelError(
            f"{path} has {len(bands)} bands; a mask has one, of class codes: turn colours into codes, or take the band"
            " that holds the codes out of it (gdal_translate -b)."
        )
    return bands[0]


def _check(raster: Any, band: int, path: Path, reading: LabelReading, *, scaled: bool) -> None:
    dtype, scale, offset = (by_band[band - 1] for by_band in (raster.dtypes, raster.scales, raster.offsets))
    if reading.layer is not None or reading.encoding is not None:
        option = "--label-layer" if reading.layer is not None else "--label-encoding"
        raise LabelError(f"{path} is a raster, which {option} is not for; leave it out.")
    if dtype.startswith("complex"):
        raise LabelError(f"{path} holds complex numbers ({dtype}); expected one code a pixel.")
    if not scaled and (loss := loss_of(raster)) is not None:
        raise LabelError(refusal(path, loss))
    if not scaled and (scale, offset) != (1.0, 0.0):
        raise LabelError(
            f"{path} states a scale of {scale:g} and an offset of {offset:g}, and codes have none; take them out"
            " (gdal_edit.py -scale 1 -offset 0 FILE)."
        )
