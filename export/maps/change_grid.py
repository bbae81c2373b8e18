"""Two maps of classes of the same ground seen as one, whose classes say what became what."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from bandloom.errors import SceneError
from bandloom.export.maps.class_grid import ClassGrid, Reader

PAIR = 100_000  # codes of a pair: 300002 is class 3 before and class 2 after


class ChangeGrid(ClassGrid):
    """An earlier and a later map on the grid of the later one; a pixel is valid where both are."""

    def __init__(self, before: Path, after: Path) -> None:
        """Open both maps.

        Raises:
            SceneError: one of them cannot be used, a code means two classes, or they share no ground.
        """
        super().__init__(after)
        self.parts = earlier, later = ClassGrid(before), ClassGrid(after)
        for code in sorted(earlier.names.keys() & later.names.keys()):
            if earlier.names[code] != later.names[code]:
                raise SceneError(
                    f"the code {code} is {earlier.names[code]!r} in {before} and {later.names[code]!r} in {after};"
                    " bring both maps to one label set with bandloom labels map."
                )
        known = {name.casefold(): code for code, name in earlier.names.items()}
        for code, name in sorted(later.names.items()):
            old = known.get(name.casefold(), code)
            if old != code:
                raise SceneError(
                    f"the class {name!r} has the code {old} in {before} and {code} in {after}; bring both maps to one"
                    " label set with bandloom labels map."
                )
        for part in self.parts:
            outside = [land_class.code for land_class in part.classes if not 0 <= land_class.code < PAIR]
            if outside:
                raise SceneError(f"{part.path} holds the code {outside[0]}; change needs codes of 0 to {PAIR - 1}.")
        codes = [sorted({*part.names, *(land_class.code for land_class in part.classes)}) for part in self.parts]
        self.most_classes = len(codes[0]) * len(codes[1])
        self.names = {old * PAIR + new: self._pair_name(old, new) for old in codes[0] for new in codes[1]}

    def code_of(self, codes: Sequence[int | None]) -> int:
        """Return the code of a class before and one after."""
        old, new = codes
        return (old or 0) * PAIR + (new or 0)

    def empty(self) -> str:
        """Return the sentence for maps that share no valid pixel."""
        before, after = self.parts
        return f"the maps {before.path} and {after.path} share no ground with a class; name two maps of one place."

    def _pair_name(self, old: int, new: int) -> str:
        before, after = self.parts[0].name_of(old), self.parts[1].name_of(new)
        return f"{after} stays" if old == new else f"{before} to {after}"

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open both maps; what is given takes a window and returns ``(h, w)`` codes of pairs, and where they are valid.

        Raises:
            SceneError: one of them cannot be read.
        """
        earlier, later = self.parts
        try:
            with later.reading() as read, rasterio.open(earlier.path) as source, self._onto(source) as moved:

                def both(window: Window) -> tuple[np.ndarray, np.ndarray]:
                    new, valid = read(window)
                    old, known = moved.read(1, window=window), moved.read_masks(1, window=window) != 0
                    valid &= known
                    return np.where(valid, old.astype(np.int64) * PAIR + new, 0), valid

                yield both
        except RasterioError as cause:
            raise SceneError(f"the map {earlier.path} cannot be read to its end ({cause}); write it again.") from cause

    def _onto(self, source: rasterio.DatasetReader) -> WarpedVRT:
        height, width = self.shape
        return WarpedVRT(
            source,
            crs=self.crs,
            transform=self.transform,
            width=width,
            height=height,
            resampling=Resampling.nearest,
            add_alpha=source.nodata is None,  # beyond the earlier map nothing is known
        )
