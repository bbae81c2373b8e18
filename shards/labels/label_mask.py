"""Class codes of a raster as class indices, by a scene's windows."""

from collections import Counter
from pathlib import Path

import numpy as np

from bandloom.classes.taxonomy import Taxonomy
from bandloom.shards.labels.code_table import CodeTable
from bandloom.shards.labels.label_raster import LabelRaster
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.scenes import WindowM


class LabelMask:
    """A raster of class codes, or of the ids of a label set such as CORINE's 111, on a scene's ground."""

    def __init__(self, path: Path, ground: Ground, taxonomy: Taxonomy, reading: LabelReading) -> None:
        """Open ``path``; a pixel takes the class at its centre.

        Raises:
            LabelError: it cannot be a mask, lies elsewhere, or declares the code of a class as nodata.
            SceneError: it cannot be opened.
        """
        self._raster, self._ground = LabelRaster(path, ground, reading), ground
        try:
            self._table = CodeTable(self._raster.stored, taxonomy, asked=reading.nodata is not None)
        except BaseException:
            self._raster.close()
            raise

    @property
    def unlabelled(self) -> Counter[str]:
        """Pixels read so far without a label, by the reason."""
        return self._table.unlabelled

    @property
    def meets_scene(self) -> bool:
        """Whether the raster lies on the scene: else it is not opened."""
        return True

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window, 255 where there is no label.

        Raises:
            LabelError: a value is neither a class nor ignored.
            SceneError: the file is damaged.
        """
        values, why = self._raster.read(window_m)
        out = self._table.indices(values, why)
        (left, top, right, bottom), (row, column), _ = self._ground.clip(window_m)
        inside = np.s_[row : row + bottom - top, column : column + right - left]
        self._table.count(values[inside], why[inside], out[inside])
        return out

    def warnings(self) -> list[str]:
        """Return what a person should know of the windows read so far."""
        return [*self._raster.stored.warnings(), *self._table.warnings()]

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()
