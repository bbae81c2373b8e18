"""From the values of a raster to class indices: by codes and ids of a label set; what is neither is refused."""

from collections import Counter
from pathlib import Path
from typing import Protocol

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.shards.labels.reading import is_nan
from bandloom.shards.labels.stored_raster import MASKED, NODATA, OUTSIDE, PRESENT

_SHOWN = 8  # unknown codes in a message
_UNKNOWN = 254  # no class has this index: a label set has at most 250


class StoredCodes(Protocol):
    """Where codes are stored, and which value is declared to mean "no label"."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def nodata(self) -> float | None: ...  # noqa: D102


class CodeTable:
    """Translates the values of one raster, and counts what has no label by its reason."""

    def __init__(self, stored: StoredCodes, taxonomy: Taxonomy, *, asked: bool) -> None:
        """Look at what the raster declares.

        Args:
            stored: the raster.
            taxonomy: the meaning of its values.
            asked: the user said which value means "no label", so what the file declares needs no question.

        Raises:
            LabelError: the raster declares the code of a class as nodata, and nobody said which of both it is.
        """
        self._path: Path = stored.path
        self._nodata, self._taxonomy, self._numbers = stored.nodata, taxonomy, taxonomy.words.numbers
        self.unlabelled: Counter[str] = Counter()
        nodata = stored.nodata
        index = IGNORE_INDEX if nodata is None or is_nan(nodata) else self._numbers.get(nodata, IGNORE_INDEX)  # pyright: ignore
        if index != IGNORE_INDEX and not asked:
            name, value = taxonomy.classes[index].name, _shown(nodata)
            raise LabelError(
                f"{stored.path} declares nodata {value}, which is the code of class {name!r} in label set"
                f" {taxonomy.id!r}; say --label-nodata {value} if those pixels have no label, or --label-nodata none if"
                " they are that class."
            )

    def indices(self, values: np.ndarray, why: np.ndarray) -> np.ndarray:
        """Return uint8 class indices, 255 where there is no label.

        Args:
            values: of the raster, in its own type.
            why: what hides each, as :class:`StoredRaster` gives it.

        Raises:
            LabelError: a value is neither a class nor ignored.
        """
        there = why == PRESENT
        out = np.full(values.shape, IGNORE_INDEX, np.uint8)
        out[there] = self._known(values[there])
        return out

    def count(self, values: np.ndarray, why: np.ndarray, indices: np.ndarray) -> None:
        """Count pixels without a label by the reason."""
        names = {NODATA: f"nodata {_shown(self._nodata)}", MASKED: "masked", OUTSIDE: "outside the mask"}
        for reason, count in zip(*np.unique(why[why != PRESENT], return_counts=True), strict=True):
            self.unlabelled[names[int(reason)]] += int(count)
        ignored, counts = np.unique(values[(why == PRESENT) & (indices == IGNORE_INDEX)], return_counts=True)
        for value, count in zip(ignored.tolist(), counts.tolist(), strict=True):
            self.unlabelled[f"the value {_shown(value)}"] += count

    def warnings(self) -> list[str]:
        """Return what a person should know of the pixels counted so far."""
        count = self.unlabelled[f"the value {IGNORE_INDEX}"]
        if not count or IGNORE_INDEX in self._taxonomy.ignore:
            return []
        return [
            f"{count} pixels hold {IGNORE_INDEX}, which means no label; if it is a class, such as the foreground of a"
            f" binary mask, give that class another code and id: {IGNORE_INDEX} in the label set."
        ]

    def _known(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
            lowest = int(np.iinfo(values.dtype).min)
            table = np.full(2 ** (8 * values.dtype.itemsize), _UNKNOWN, np.uint8)
            for number, index in self._numbers.items():
                if lowest <= number < lowest + len(table):
                    table[number - lowest] = index
            indices = table[values.astype(np.int32) - lowest]
        else:
            codes, places = np.unique(values, return_inverse=True)
            table = np.array([self._numbers.get(number, _UNKNOWN) for number in codes.tolist()], np.uint8)
            indices = table[places.reshape(values.shape)]
        if (indices == _UNKNOWN).any():
            raise LabelError(self._refusal(np.unique(values[indices == _UNKNOWN])))
        return indices

    def _refusal(self, unknown: np.ndarray) -> str:
        listed = ", ".join(map(_shown, unknown[:_SHOWN].tolist()))
        if np.isnan(unknown.astype(float)).any():
            mend = "say --label-nodata nan if such pixels have no label"
        elif not all(float(value).is_integer() for value in unknown.tolist()):
            mend = "codes are whole numbers: was it resampled by averaging? warp it by nearest neighbour"
        else:
            mend = "add the class, list the code under ignore, or say --label-nodata if it means no label"
        codes = ", ".join(map(str, self._taxonomy.label_set.codes))
        return f"{self._path} holds {listed}, not in label set {self._taxonomy.id!r} (codes {codes}); {mend}."


def _shown(value: float | None) -> str:
    return str(int(value)) if value is not None and float(value).is_integer() else str(value)
