"""Class codes of an array as class indices, by a scene's windows: labels that lie beside their pixels in one file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.shards.labels.code_table import CodeTable
from bandloom.shards.labels.reading import LABEL_GSD_M, Ground
from bandloom.shards.labels.stored_raster import NODATA, OUTSIDE, PRESENT
from bandloom.shards.scenes import WindowM


@dataclass(frozen=True)
class _Stored:
    path: Path
    nodata: float | None


class LabelArray:
    """Codes ``(H, W)`` whose upper-left corner is the scene's own.

    Args:
        codes: class codes, or ids of the label set, a number a pixel.
        ground: the scene's 10 m grid.
        taxonomy: what the codes mean.
        where: the file, for messages.
        pixel_m: side of a pixel of ``codes``, a multiple of 10.
        nodata: the code that means "no label", beside those that the label set ignores.

    Raises:
        LabelError: the array does not cover the scene pixel for pixel, or ``nodata`` is the code of a class.
    """

    meets_scene = True

    def __init__(
        self,
        codes: np.ndarray,
        ground: Ground,
        taxonomy: Taxonomy,
        where: Path,
        *,
        pixel_m: int = LABEL_GSD_M,
        nodata: float | None = None,
    ) -> None:
        times = pixel_m // LABEL_GSD_M
        if codes.ndim != 2 or (codes.shape[0] * times, codes.shape[1] * times) != (ground.height, ground.width):
            raise LabelError(
                f"{where} holds labels of the shape {codes.shape} at {pixel_m} m for a scene of {ground.height} x"
                f" {ground.width} pixels of 10 m; they belong to other pixels: fetch both again."
            )
        self._codes = codes.repeat(times, 0).repeat(times, 1) if times > 1 else codes
        self._ground = ground
        self._table = CodeTable(_Stored(where, nodata), taxonomy, asked=False)
        self._nodata = nodata

    @property
    def unlabelled(self) -> Counter[str]:
        """Pixels read so far without a label, by the reason."""
        return self._table.unlabelled

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window, 255 where there is no label.

        Raises:
            LabelError: a value is neither a class nor ignored.
        """
        (left, top, right, bottom), (row, column), shape = self._ground.clip(window_m)
        values, why = np.zeros(shape, self._codes.dtype), np.full(shape, OUTSIDE, np.uint8)
        inside = np.s_[row : row + bottom - top, column : column + right - left]
        values[inside], why[inside] = self._codes[top:bottom, left:right], PRESENT
        if self._nodata is not None:
            why[(why == PRESENT) & (values == self._nodata)] = NODATA
        out = self._table.indices(values, why)
        self._table.count(values[inside], why[inside], out[inside])
        return out

    def warnings(self) -> list[str]:
        """Return what a person should know of the windows read so far."""
        return self._table.warnings()

    def close(self) -> None:
        """Keep the array: it is the caller's."""
