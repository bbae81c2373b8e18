"""Scores a map on reference points: error matrix, accuracies and areas, as a record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.class_words import ClassWords, Words
from bandloom.errors import LabelError
from bandloom.export.assess.allocation import FEWEST
from bandloom.export.assess.class_grid import ClassGrid
from bandloom.export.assess.estimates import (
    ClassEstimates,
    Estimate,
    Sample,
    class_estimates,
    error_matrix,
    overall_accuracy,
)
from bandloom.export.assess.reference_points import ReferencePoints, read_points
from bandloom.label_set import IGNORE_INDEX
from bandloom.shards.labels.reading import LabelReading

FORMAT = 1
SAME_AREA = 0.005


@dataclass(frozen=True)
class Assessment:
    """What a sample of reference points says of a map.

    Args:
        classes: names, by index.
        mapped_ha: ``(K,)`` area that the map shows of each class.
        counts: ``(K, K)`` points by class of the map (rows) and of the reference (columns).
        shares: ``(K, K)`` the same as estimated shares of the area.
        overall: overall accuracy.
        by_class: what is estimated of each class.
        total_ha: the area that the sample stands for.
        recorded: whether the points bring the record of a probability sample.
        same_strata: whether the strata are the classes of this map.
        warnings: what a reader must know, a sentence each.
    """

    classes: list[str]
    mapped_ha: list[float]
    counts: np.ndarray
    shares: np.ndarray
    overall: Estimate
    by_class: list[ClassEstimates]
    total_ha: float
    recorded: bool
    same_strata: bool
    warnings: list[str]

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "format": FORMAT,
            "points": int(self.counts.sum()),
            "probability_sample": self.recorded,
            "strata_are_the_maps_classes": self.same_strata,
            "total_ha": self.total_ha,
            "overall_accuracy": self.overall.record(),
            "classes": [
                {"name": name, "mapped_ha": mapped, **estimates.record()}
                for name, mapped, estimates in zip(self.classes, self.mapped_ha, self.by_class, strict=True)
            ],
            "error_matrix": {
                "rows": "map",
                "columns": "reference",
                "points": self.counts.tolist(),
                "area_shares": self.shares.tolist(),
            },
            "warnings": self.warnings,
        }


def assess_map(map_path: Path, points_path: Path, reading: LabelReading) -> Assessment:
    """Estimate a map's accuracy and the area of its classes from reference points.

    Points with the record of ``bandloom assess sample`` are scored by that sample's strata, whichever map they were
    drawn of; others as if drawn at random in each class of this map.

    Raises:
        SceneError: the map cannot be read, or its pixels have no known area.
        LabelError: the points cannot be read, name another class, or are too few in a stratum.
    """
    grid, points = ClassGrid(map_path), read_points(points_path, reading)
    warnings: list[str] = []
    codes = _codes(grid, points, warnings)
    rows, map_codes, valid = _pixels(grid, points)
    kept = _kept(points, codes, valid, warnings)
    known = sorted({*(each.code for each in grid.classes), *codes[kept].tolist()})
    stratum, strata_names, strata_ha, strata_pixels, same = _strata(grid, points, map_codes, kept, warnings)
    sample = Sample(
        stratum,
        np.searchsorted(known, map_codes[kept]),
        np.searchsorted(known, codes[kept]),
        grid.row_ha[rows[kept]],
        strata_ha,
        strata_pixels,
    )
    _refuse_few(points.path, sample, strata_names)
    return _assessment(grid, known, sample, points.record is not None, same, warnings)


def _assessment(
    grid: ClassGrid, known: list[int], sample: Sample, recorded: bool, same: bool, warnings: list[str]
) -> Assessment:
    names, mapped = [grid.name_of(code) for code in known], {each.code: each.hectares for each in grid.classes}
    counts = np.zeros((len(known), len(known)), np.int64)
    np.add.at(counts, (sample.mapped, sample.reference), 1)
    by_class = [class_estimates(sample, index) for index in range(len(known))]
    warnings += _no_error_seen(names, counts)
    return Assessment(
        names,
        [mapped.get(code, 0.0) for code in known],
        counts,
        error_matrix(sample, len(known)),
        overall_accuracy(sample),
        by_class,
        sample.total_ha,
        recorded,
        same,
        warnings,
    )


def _no_error_seen(names: list[str], counts: np.ndarray) -> list[str]:
    """Say which accuracies have a standard error of 0 because no point shows an error, which proves little."""
    sentences = []
    for index, name in enumerate(names):
        mapped, there, right = counts[index].sum(), counts[:, index].sum(), counts[index, index]
        if mapped and right == mapped:
            sentences.append(
                f"all {mapped} points mapped as {name!r} are right: its user's accuracy has a standard error of 0;"
                f" so many points still leave room for an error of {min(1.0, 3 / mapped):.0%} (rule of three)."
            )
        if there and right == there:
            sentences.append(
                f"all {there} points that are {name!r} are mapped so, and its producer's accuracy has a standard error"
                " of 0; what was missed elsewhere on the map may be too rare for this sample."
            )
    return sentences


def _codes(grid: ClassGrid, points: ReferencePoints, warnings: list[str]) -> np.ndarray:
    """Return ``(P,)`` the class of each point as the map codes it, -1 where it has none."""
    codes = sorted({*grid.names, *(each.code for each in grid.classes)})
    described = [Words(code, grid.name_of(code), grid.name_of(code)) for code in codes]
    words = ClassWords(grid.path.name, described, ())
    answers = np.full(len(points.drawing.values), -1, np.int64)
    for number, value in enumerate(points.drawing.values):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            continue
        try:
            index = words.find(value)
        except LabelError as cause:
            raise LabelError(f"{points.where(number)}: {cause}") from cause
        answers[number] = -1 if index == IGNORE_INDEX else codes[index]
    unanswered = int((answers < 0).sum())
    if unanswered:
        warnings.append(
            f"{unanswered} of {len(answers)} points have no class and are left out; the result holds if they are like"
            " the others of their stratum."
        )
    return answers


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
        codes = np.array([each.code for each in grid.classes])
        sizes = np.array([(each.hectares, each.pixels) for each in grid.classes])
        names = [each.name for each in grid.classes]
        return np.searchsorted(codes, map_codes[kept]), names, sizes[:, 0], sizes[:, 1], True
    record = points.record
    codes, first, places = np.unique(record["stratum"], return_index=True, return_inverse=True)
    drawn = int(record["stratum_points"][first].sum())
    if drawn != len(places):
        warnings.append(f"the sample had {drawn} points and the file holds {len(places)}.")
    mapped_ha = sum(each.hectares for each in grid.classes)
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
