"""Matches reference points to the pixels of a map and to the strata that they were drawn from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.class_words import ClassWords, Words
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import LabelError
from bandloom.export.assess.allocation import FEWEST
from bandloom.export.assess.estimates import Sample
from bandloom.export.assess.reference_points import ReferencePoints
from bandloom.export.maps.class_grid import ClassGrid

SAME_AREA = 0.005


@dataclass(frozen=True)
class MatchedPoints:
    """Points that have a class and lie on the map.

    Args:
        sample: what is estimated from, with classes as indices of ``codes``.
        codes: of the classes that the map or a point shows.
        same_strata: whether the strata are the classes of this map.
    """

    sample: Sample
    codes: list[int]
    same_strata: bool


def match_points(grid: ClassGrid, points: ReferencePoints, warnings: list[str]) -> MatchedPoints:
    """Look up class and stratum of each point, and add to ``warnings`` what a reader must know.

    Raises:
        LabelError: a class is not the map's, or points are too few in a stratum.
    """
    codes = _codes(grid, points, warnings)
    rows, map_codes, valid = _pixels(grid, points)
    kept = _kept(points, codes, valid, warnings)
    if unsure := int(points.unsure[kept].sum()):
        right = (map_codes == codes)[kept][~points.unsure[kept]]
        told = f", of which the map gives {right.mean():.1%} their class" if len(right) else ""
        warnings.append(
            f"{unsure} of {len(kept)} points are marked unsure and count like the others; {len(right)} are sure{told}."
        )
    known = sorted({*(land_class.code for land_class in grid.classes), *codes[kept].tolist()})
    stratum, names, hectares, pixels, same = _strata(grid, points, map_codes, kept, warnings)
    mapped, reference = np.searchsorted(known, map_codes[kept]), np.searchsorted(known, codes[kept])
    sample = Sample(stratum, mapped, reference, grid.row_ha[rows[kept]], hectares, pixels)
    _refuse_few(points.path, sample, names)
    return MatchedPoints(sample, known, same)


def _codes(grid: ClassGrid, points: ReferencePoints, warnings: list[str]) -> np.ndarray:
    """Return ``(P,)`` the class of each point as the map codes it, -1 where it has none."""
    finders = [_Finder(part) for part in grid.parts]
    answers = np.full(len(points.values), -1, np.int64)
    for number, values in enumerate(points.values):
        if any(_is_empty(value) for value in values):
            continue
        try:
            by_grid = [finder.code(value) for finder, value in zip(finders, values, strict=True)]
        except LabelError as cause:
            raise LabelError(f"{points.where(number)}: {cause}") from cause
        answers[number] = -1 if None in by_grid else grid.code_of(by_grid)
    unanswered = int((answers < 0).sum())
    if unanswered:
        warnings.append(
            f"{unanswered} of {len(answers)} points have no class and are left out; the result holds if they are like"
            " the others of their stratum."
        )
    return answers


class _Finder:
    """Finds the code that a value means on a map."""

    def __init__(self, grid: ClassGrid) -> None:
        self._codes = sorted({*grid.names, *(land_class.code for land_class in grid.classes)})
        described = [Words(code, grid.name_of(code), grid.name_of(code)) for code in self._codes]
        self._words = ClassWords(grid.path.name, described, ())

    def code(self, value: Any) -> int | None:
        """Return the code, None for one that means no label.

        Raises:
            LabelError: no class is meant.
        """
        index = self._words.find(value)
        return None if index == IGNORE_INDEX else self._codes[index]


def _is_empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _pixels(grid: ClassGrid, points: ReferencePoints) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each point the row, the map's code, and whether the map is valid there."""
    xy = points.xy(grid.crs)
    columns, rows = ~grid.transform * (xy[:, 0], xy[:, 1])
    places = [
        np.where(np.isfinite(axis), np.floor(axis), -1).clip(-1, 1 << 40).astype(np.int64) for axis in (rows, columns)
    ]
    return places[0], *grid.codes_at(*places)


def _kept(points: ReferencePoints, codes: np.ndarray, valid: np.ndarray, warnings: list[str]) -> np.ndarray:
    outside = int((~valid).sum())
    if outside and points.record is not None:
        raise LabelError(
            f"{points.where(int(np.argmin(valid)))} lies off the map or on its no-data, but the sample's estimates need"
            " all of its ground; name a map that covers it."
        )
    if outside:
        warnings.append(f"{outside} of {len(valid)} points lie off the map or on its no-data and are left out.")
    kept = np.flatnonzero(valid & (codes >= 0))
    if not len(kept):
        raise LabelError(f"{points.path} has no point with a class on valid ground of the map; label its points first.")
    return kept


def _strata(
    grid: ClassGrid, points: ReferencePoints, map_codes: np.ndarray, kept: np.ndarray, warnings: list[str]
) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray, bool]:
    """Return the stratum of each kept point, and name, hectares and pixels of strata, and if they are the map's."""
    if points.record is None:
        warnings.append(
            "the points bring no record of a sample and are taken as drawn at random in each class of the map; if they"
            " were chosen otherwise they are no probability sample, and the errors given may be far too small."
        )
        codes = np.array([land_class.code for land_class in grid.classes])
        sizes = np.array([(land_class.hectares, land_class.pixels) for land_class in grid.classes])
        names = [land_class.name for land_class in grid.classes]
        return np.searchsorted(codes, map_codes[kept]), names, sizes[:, 0], sizes[:, 1], True
    record = points.record
    codes, first, places = np.unique(record["stratum"], return_index=True, return_inverse=True)
    drawn = int(record["stratum_points"][first].sum())
    if drawn != len(places):
        warnings.append(f"the sample had {drawn} points and the file holds {len(places)}.")
    mapped_ha = sum(land_class.hectares for land_class in grid.classes)
    sampled_ha = float(record["stratum_ha"][first].sum())
    if abs(mapped_ha / sampled_ha - 1) > SAME_AREA:
        warnings.append(f"the map covers {mapped_ha:,.1f} ha, the sample {sampled_ha:,.1f} ha: areas are the sample's.")
    same = bool(np.array_equal(record["stratum"], map_codes))
    names = [grid.name_of(int(code)) for code in codes]
    return places[kept], names, record["stratum_ha"][first], record["stratum_pixels"][first], same


def _refuse_few(path: Path, sample: Sample, names: list[str]) -> None:
    for name, count, pixels in zip(names, sample.counts.tolist(), sample.stratum_pixels.tolist(), strict=True):
        if count < min(FEWEST, pixels):
            raise LabelError(
                f"{path} has {count} labelled point(s) in the stratum {name!r}, and an estimate needs {FEWEST}; label"
                " more there, or draw a sample with bandloom assess sample."
            )
