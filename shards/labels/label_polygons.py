"""Polygons and points with classes, burnt to a scene's 10 m pixels by windows."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio import features

from bandloom.classes.class_words import whole_number
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.shards.labels.geometry import bounds_of, moved, rebuilt
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import LABEL_GSD_M, Ground, LabelReading
from bandloom.shards.labels.vector_file import Drawing, read_drawing
from bandloom.shards.scenes import WindowM

_ROWS = 256  # counted at once, in the processor's cache
_BESIDE = 0.1  # of a scene's extent: read around it, for what transforms round


class LabelPolygons:
    """Geometries with classes on a scene's ground; a pixel has the class of the geometry that holds its centre."""

    def __init__(
        self, path: Path, ground: Ground, taxonomy: Taxonomy, reading: LabelReading, problems: Problems
    ) -> None:
        """Read ``path`` and bring what lies near the scene to its pixels.

        Args:
            path: the file; a GeoJSON without a coordinate system, and a CSV, are in degrees.
            ground: the scene's grid.
            taxonomy: finds the class of a value.
            reading: attribute, layer, encoding, overlap, all touched.
            problems: receives unknown classes and invalid geometries, a place each; geometries that are missing are
                left out and counted there.

        Raises:
            LabelError: it cannot be read.
            MissingExtraError: what reads it is not installed.
        """
        self._path, self._ground, self._reading = path, ground, reading
        self.unlabelled: Counter[str] = Counter()
        drawing = read_drawing(path, reading)
        self._names = taxonomy.label_set.names
        classes = _classes(drawing, taxonomy, problems)
        _say_255(drawing, classes, taxonomy, problems)
        _say_unusable(drawing, problems)
        bounds = drawing.flat.bounds
        self._numbers = np.flatnonzero((classes >= 0) & np.isfinite(bounds[:, 0]) & _near(bounds, drawing, ground))
        self._classes, self._where = classes[self._numbers], drawing.where
        self._shapes, self._bounds_px = _placed(drawing, self._numbers, ground, problems)

    @property
    def meets_scene(self) -> bool:
        """Whether the bounds of any geometry lie on the scene."""
        return bool(len(self._meeting(0, 0, self._ground.width, self._ground.height)))

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window, 255 where there is no label.

        Raises:
            LabelError: geometries of different classes overlap, and that is an error.
        """
        (left, top, right, bottom), (row, column), shape = self._ground.clip(window_m)
        if right == left or bottom == top:
            return np.full(shape, IGNORE_INDEX, np.uint8)
        labels = self._burnt(left, top, right, bottom)
        self.unlabelled["no label drawn"] += sum(
            int(np.count_nonzero(labels[y : y + _ROWS] == IGNORE_INDEX)) for y in range(0, len(labels), _ROWS)
        )
        if labels.shape == shape:
            return labels
        out = np.full(shape, IGNORE_INDEX, np.uint8)
        out[row : row + bottom - top, column : column + right - left] = labels
        return out

    def warnings(self) -> list[str]:
        """Return nothing: what is wrong with a geometry was said when it was read."""
        return []

    def close(self) -> None:
        """Keep nothing open."""

    def _burnt(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        chosen = self._meeting(left, top, right, bottom)
        box = left, top, right, bottom
        if self._reading.overlap == "error":
            self._check_overlap(chosen, box)
        order = chosen[::-1] if self._reading.overlap == "first" else chosen
        return self._rasterize(order, self._classes, IGNORE_INDEX, box, "uint8")

    def _meeting(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        b = self._bounds_px
        return np.flatnonzero((b[:, 0] <= right) & (b[:, 2] >= left) & (b[:, 1] <= bottom) & (b[:, 3] >= top))

    def _check_overlap(self, chosen: np.ndarray, box: tuple[int, int, int, int]) -> None:
        """Refuse pixels of several classes: there the highest class of all geometries is not the lowest."""
        by_class = chosen[np.argsort(self._classes[chosen], kind="stable")]
        places = np.arange(len(self._classes))
        highest, lowest = (self._rasterize(order, places, -1, box, "int32") for order in (by_class, by_class[::-1]))
        clash = (highest >= 0) & (self._classes[highest] != self._classes[lowest]) if len(places) else highest >= 0
        if clash.any():
            row, column = np.argwhere(clash)[0]
            one, two = sorted((highest[row, column], lowest[row, column]))
            raise LabelError(
                f"{self._where(int(self._numbers[two]))} overlaps another class (feature {self._numbers[one]});"
                f" {int(clash.sum())} pixels have two: choose --overlap last or first."
            )

    def _rasterize(
        self, order: np.ndarray, values: np.ndarray, fill: int, box: tuple[int, int, int, int], dtype: str
    ) -> np.ndarray:
        left, top, right, bottom = box
        shapes = [(piece, int(values[k])) for k in order for piece in self._shapes[k]]
        if not shapes:
            return np.full((bottom - top, right - left), fill, dtype)
        touched = self._reading.all_touched
        window: Any = Affine.translation(left, top)  # in whole pixels: every window sees the same edges
        burnt = features.rasterize(
            shapes, (bottom - top, right - left), fill, transform=window, all_touched=touched, dtype=dtype
        )
        return np.asarray(burnt)


def _classes(drawing: Drawing, taxonomy: Taxonomy, problems: Problems) -> np.ndarray:
    """Return the class index of each feature, 255 for a code without a label, -1 where none is meant."""
    known: dict[Any, int] = {}
    out = np.full(len(drawing.values), -1)
    for number, value in enumerate(drawing.values):
        key = (type(value), value) if isinstance(value, str | int | float | np.generic) else None
        if key is not None and key in known:
            out[number] = known[key]
            continue
        try:
            out[number] = taxonomy.words.find(value)
        except LabelError as error:
            problems.add(drawing.where(number), f"{error}{_encoding_hint(drawing.path, value)}")
            continue
        if key is not None:
            known[key] = int(out[number])
    return out


def _say_255(drawing: Drawing, classes: np.ndarray, taxonomy: Taxonomy, problems: Problems) -> None:
    """Count features of 255 that a label set does not speak of: they may be meant as a class."""
    if IGNORE_INDEX in taxonomy.ignore:
        return
    rows = [k for k in np.flatnonzero(classes == IGNORE_INDEX) if whole_number(drawing.values[k]) == IGNORE_INDEX]
    if rows:
        first = drawing.where(int(rows[0]))
        what = f"{len(rows)} features hold {IGNORE_INDEX}, which means no label (the first: {first})"
        mend = f"if it is a class, give that class another code and id: {IGNORE_INDEX} in the label set."
        problems.add(str(drawing.path), f"{what}; {mend}", "warning")


def _encoding_hint(path: Path, value: Any) -> str:
    if not isinstance(value, str) or value.isascii() or path.suffix.lower() not in (".shp", ".csv"):
        return ""
    return " If these are not its letters, name the file's encoding with --label-encoding, such as gbk or cp1252."


def _say_unusable(drawing: Drawing, problems: Problems) -> None:
    """Note geometries that cannot be used, and count those that are missing."""
    missing, total = drawing.flat.missing, len(drawing.geometries)
    for number, why in drawing.flat.refused.items():
        problems.add(drawing.where(number), why)
    if len(missing) == total:
        problems.add(str(drawing.path), f"has {total} features and no geometry in any of them; draw them.")
    elif missing:
        what = f"{len(missing)} of {total} features have no geometry and are left out"
        problems.add(str(drawing.path), f"{what} (the first: {drawing.where(missing[0])}).", "warning")


def _near(bounds: np.ndarray, drawing: Drawing, ground: Ground) -> np.ndarray:
    """Return which bounds may meet the scene, judged in the file's coordinates so that the rest need not be moved."""
    wide, high = ground.width * _BESIDE, ground.height * _BESIDE
    probes = np.column_stack(ground.probes(-wide, -high, ground.width + wide, ground.height + high))
    placed = moved(probes, ground.crs, drawing.crs)
    across = drawing.crs.is_geographic and np.ptp(placed[:, 0]) > 180  # the antimeridian runs through the scene
    if across or not np.isfinite(placed).all():
        return np.ones(len(bounds), bool)
    (west, south), (east, north) = placed.min(0), placed.max(0)
    return (bounds[:, 0] <= east) & (bounds[:, 2] >= west) & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)


def _placed(
    drawing: Drawing, numbers: np.ndarray, ground: Ground, problems: Problems
) -> tuple[list[list[Any]], np.ndarray]:
    """Return each chosen feature's simple geometries in the scene's pixels, and its bounds ``(N, 4)`` there."""
    flat, ground_px = drawing.flat, (LABEL_GSD_M, -LABEL_GSD_M)
    counts = np.diff(flat.starts)[numbers]
    chosen = np.repeat(flat.starts[numbers] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    pixels = (moved(flat.xy[chosen], drawing.crs, ground.crs) - (ground.x_m, ground.y_m)) / ground_px
    points = np.repeat([drawing.geometries[k]["type"] in ("Point", "MultiPoint") for k in numbers], counts).astype(bool)
    pixels[points] = np.floor(pixels[points]) + 0.5  # the middle of the pixel that a point lies in
    starts = np.concatenate([[0], np.cumsum(counts)])
    bounds = bounds_of(pixels, starts)
    bounds[~np.isfinite(bounds).all(1)] = np.nan  # meets no window
    for k in np.flatnonzero(np.isnan(bounds[:, 0])):
        problems.add(drawing.where(int(numbers[k])), f"cannot be brought to {ground.crs}; mend or remove it.")
    pairs, shapes = pixels.tolist(), []
    for k, start in zip(numbers.tolist(), starts.tolist(), strict=False):
        ends = itertools.accumulate(flat.lengths[k], initial=start)
        shapes.append(rebuilt(drawing.geometries[k], (pairs[a:b] for a, b in itertools.pairwise(ends))))
    return shapes, bounds
