"""Class codes of a raster as class indices, by a scene's windows: unknown codes are refused, no label is counted."""

from collections import Counter
from pathlib import Path

import numpy as np

from bandloom.errors import LabelError
from bandloom.label_set import IGNORE_INDEX
from bandloom.shards.labels.label_raster import MASKED, NODATA, OUTSIDE, PRESENT, LabelRaster
from bandloom.shards.labels.reading import Ground, LabelReading, is_nan
from bandloom.shards.scenes import WindowM
from bandloom.taxonomy import Taxonomy

_SHOWN = 8  # unknown codes in a message
_UNKNOWN = 254  # no class has this index: a label set has at most 250


class LabelMask:
    """A raster of class codes, or of the ids of a label set such as CORINE's 111, on a scene's ground."""

    def __init__(self, path: Path, ground: Ground, taxonomy: Taxonomy, reading: LabelReading) -> None:
        """Open ``path``; a pixel takes the class at its centre.

        Raises:
            LabelError: it cannot be a mask, lies elsewhere, or declares the code of a class as nodata.
            SceneError: it cannot be opened.
        """
        self._raster, self._taxonomy, self._ground = LabelRaster(path, ground, reading), taxonomy, ground
        self.unlabelled: Counter[str] = Counter()
        self._numbers = taxonomy.words.numbers
        nodata = self._raster.nodata
        index = IGNORE_INDEX if nodata is None or is_nan(nodata) else self._numbers.get(nodata, IGNORE_INDEX)
        if index != IGNORE_INDEX and reading.nodata is None:
            self._raster.close()
            name = taxonomy.classes[index].name
            raise LabelError(
                f"{path} declares nodata {_shown(nodata)}, which is the code of class {name!r} in label"
                f" set {taxonomy.id!r}; say --label-nodata {_shown(nodata)} if those pixels have no label, or"
                " --label-nodata none if they are that class."
            )

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
        there = why == PRESENT
        out = np.full(values.shape, IGNORE_INDEX, np.uint8)
        out[there] = self._indices(values[there])
        (left, top, right, bottom), (row, column), _ = self._ground.clip(window_m)
        inside = np.s_[row : row + bottom - top, column : column + right - left]
        self._count(values[inside], why[inside], out[inside])
        return out

    def warnings(self) -> list[str]:
        """Return what a person should know of the windows read so far."""
        found = self.unlabelled[f"the value {IGNORE_INDEX}"]
        if not found or IGNORE_INDEX in self._taxonomy.ignore:
            return []
        return [
            f"{found} pixels hold {IGNORE_INDEX}, which means no label; if it is a class, such as the foreground of a"
            f" binary mask, give that class another code and id: {IGNORE_INDEX} in the label set."
        ]

    def close(self) -> None:
        """Close the raster."""
        self._raster.close()

    def _indices(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
            lowest = int(np.iinfo(values.dtype).min)
            table = np.full(2 ** (8 * values.dtype.itemsize), _UNKNOWN, np.uint8)
            for number, index in self._numbers.items():
                if lowest <= number < lowest + len(table):
                    table[number - lowest] = index
            indices = table[values.astype(np.int32) - lowest]
        else:
            found, places = np.unique(values, return_inverse=True)
            table = np.array([self._numbers.get(each, _UNKNOWN) for each in found.tolist()], np.uint8)
            indices = table[places.reshape(values.shape)]
        if (indices == _UNKNOWN).any():
            raise LabelError(self._refusal(np.unique(values[indices == _UNKNOWN])))
        return indices

    def _refusal(self, unknown: np.ndarray) -> str:
        listed = ", ".join(map(_shown, unknown[:_SHOWN].tolist()))
        name = f"label set {self._taxonomy.id!r}"
        if np.isnan(unknown.astype(float)).any():
            mend = "say --label-nodata nan if such pixels have no label"
        elif (unknown % 1 != 0).any():
            mend = "codes are whole numbers: was it resampled by averaging? warp it by nearest neighbour"
        else:
            mend = "add the class, list the code under ignore, or say --label-nodata if it means no label"
        codes = ", ".join(map(str, self._taxonomy.label_set.codes))
        return f"{self._raster.path} holds {listed}, not in {name} (codes {codes}); {mend}."

    def _count(self, values: np.ndarray, why: np.ndarray, out: np.ndarray) -> None:
        names = {NODATA: f"nodata {self._raster.nodata}", MASKED: "masked", OUTSIDE: "outside the mask"}
        for reason, count in zip(*np.unique(why[why != PRESENT], return_counts=True), strict=True):
            self.unlabelled[names[int(reason)]] += int(count)
        ignored, counts = np.unique(values[(why == PRESENT) & (out == IGNORE_INDEX)], return_counts=True)
        for value, count in zip(ignored.tolist(), counts.tolist(), strict=True):
            self.unlabelled[f"the value {_shown(value)}"] += count


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)
