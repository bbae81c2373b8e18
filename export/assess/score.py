"""Scores a map on reference points: error matrix, accuracies and areas, as a record."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.export.assess.change import AreaChange, area_change
from bandloom.export.assess.estimates import (
    ClassEstimates,
    Estimate,
    class_estimates,
    error_matrix,
    overall_accuracy,
)
from bandloom.export.assess.matched_points import MatchedPoints, match_points
from bandloom.export.assess.reference_points import BEFORE, read_points
from bandloom.export.maps.change_grid import ChangeGrid
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.shards.labels.reading import LabelReading

FORMAT = 1


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
        change: area change of the classes, where the map is two maps.
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
    change: AreaChange | None = None

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
            **({"change": self.change.record()} if self.change else {}),
        }


def assess_map(
    map_path: Path, points_path: Path, reading: LabelReading, before: Path | None = None, field_before: str = BEFORE
) -> Assessment:
    """Estimate a map's accuracy and the area of its classes from reference points.

    With an earlier map ``before``, what is scored is what became what between the two, from points whose attribute
    ``field_before`` holds the class before.

    Points with the record of ``bandloom assess sample`` are scored by that sample's strata, whichever map they were
    drawn of; others as if drawn at random in each class of this map.

    Raises:
        SceneError: the map cannot be read, or its pixels have no known area.
        LabelError: the points cannot be read, name another class, or are too few in a stratum.
    """
    grid = ClassGrid(map_path) if before is None else ChangeGrid(before, map_path)
    points = read_points(points_path, reading, None if before is None else field_before)
    warnings: list[str] = []
    matched = match_points(grid, points, warnings)
    change = None if before is None else area_change(grid, matched)
    return replace(_assessment(grid, matched, points.record is not None, warnings), change=change)


def _assessment(grid: ClassGrid, matched: MatchedPoints, recorded: bool, warnings: list[str]) -> Assessment:
    known, sample = matched.codes, matched.sample
    names, mapped = (
        [grid.name_of(code) for code in known],
        {land_class.code: land_class.hectares for land_class in grid.classes},
    )
    pixels = {land_class.code: land_class.pixels for land_class in grid.classes}
    counts = np.zeros((len(known), len(known)), np.int64)
    np.add.at(counts, (sample.mapped, sample.reference), 1)
    by_class = [class_estimates(sample, index) for index in range(len(known))]
    warnings += _no_error_seen(names, counts, [pixels.get(code, 0) for code in known])
    return Assessment(
        names,
        [mapped.get(code, 0.0) for code in known],
        counts,
        error_matrix(sample, len(known)),
        overall_accuracy(sample),
        by_class,
        sample.total_ha,
        recorded,
        matched.same_strata,
        warnings,
    )


def _no_error_seen(names: list[str], counts: np.ndarray, pixels: list[int]) -> list[str]:
    """Say which accuracies have a standard error of 0 because no point shows an error, which proves little."""
    sentences = []
    for index, name in enumerate(names):
        mapped, there, right = counts[index].sum(), counts[:, index].sum(), counts[index, index]
        if mapped and right == mapped < pixels[index]:  # with every pixel seen, no error is left
            sentences.append(
                f"{_all_points(mapped, f'mapped as {name!r}')} right: its user's accuracy has a standard error of 0;"
                f" so many points still leave room for an error of {min(1.0, 3 / mapped):.0%} (rule of three)."
            )
        if there and right == there:
            sentences.append(
                f"{_all_points(there, f'of {name!r}')} mapped so, and its producer's accuracy has a standard error"
                " of 0; what was missed elsewhere on the map may be too rare for this sample."
            )
    return sentences


def _all_points(count: int, which: str) -> str:
    return f"all {count} points {which} are" if count > 1 else f"the one point {which} is"
