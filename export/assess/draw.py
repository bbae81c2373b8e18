"""Draws a stratified random sample of a map's pixels, a strip of the map in memory at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.export.assess.allocation import allocate
from bandloom.export.assess.reference_points import BEFORE
from bandloom.export.maps.change_grid import ChangeGrid
from bandloom.export.maps.class_grid import ClassGrid, GridClass


@dataclass(frozen=True)
class Drawn:
    """A sample of a map's pixels.

    Args:
        grid: the map.
        strata: its classes.
        allocated: points of each stratum.
        stratum: ``(P,)`` index of each point's stratum, in random order.
        xy: ``(P, 2)`` centres of the pixels, in the map's coordinates.
    """

    grid: ClassGrid
    strata: list[GridClass]
    allocated: list[int]
    stratum: np.ndarray
    xy: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return what is written of each point; the class is empty, to be filled in by who labels it."""
        drawn = [self.strata[index] for index in self.stratum]
        points = np.array([self.allocated[index] for index in self.stratum])
        pixels = np.array([stratum.pixels for stratum in drawn])
        return {
            "id": np.arange(1, len(drawn) + 1),
            **{name: np.full(len(drawn), None, object) for name in (BEFORE, "class")[2 - len(self.grid.parts) :]},
            "stratum": np.array([stratum.code for stratum in drawn]),
            "stratum_pixels": pixels,
            "stratum_ha": np.array([stratum.hectares for stratum in drawn]),
            "stratum_points": points,
            "total_pixels": np.full(len(drawn), sum(stratum.pixels for stratum in self.strata)),
            "inclusion_probability": points / pixels,
        }


def draw_sample(
    map_path: Path, per_class: int | None, total: int | None, seed: int, before: Path | None = None
) -> Drawn:
    """Draw pixels of each class at random, each with the same probability, no pixel twice.

    With an earlier map ``before``, the classes are what became what between the two.

    Raises:
        SceneError: the map cannot be read, or its pixels have no known area.
        ConfigError: the numbers of points do not fit.
    """
    grid = ClassGrid(map_path) if before is None else ChangeGrid(before, map_path)
    allocated = allocate([stratum.pixels for stratum in grid.classes], per_class, total)
    wanted = {
        stratum.code: (stratum.pixels, count) for stratum, count in zip(grid.classes, allocated, strict=True) if count
    }
    places = pick_pixels(grid, wanted, seed)
    stratum = np.repeat(np.arange(len(allocated)), allocated)
    cells = np.concatenate([places[code] for code in wanted])
    order = np.random.default_rng(seed).permutation(len(stratum))
    rows, columns = cells[order].T
    xs, ys = grid.transform * (columns + 0.5, rows + 0.5)
    return Drawn(grid, grid.classes, allocated, stratum[order], np.stack([xs, ys], axis=1))


def pick_pixels(
    grid: ClassGrid, wanted: Mapping[int, tuple[int, int]], seed: int, rows: int | None = None
) -> dict[int, np.ndarray]:
    """Return by class the ``(n, 2)`` row and column of pixels picked at random.

    The pixels of a class are numbered row by row, and numbers are drawn: how the file is cut into blocks, or the map
    into strips, changes nothing.

    Args:
        grid: the map.
        wanted: by code, how many valid pixels there are and how many to pick.
        seed: of the draw; a class's picks depend on it and the class alone.
        rows: of the map in memory at a time; None: as many as are quick to read.
    """
    numbers = {
        code: np.sort(np.random.default_rng([seed, code % 2**32]).choice(pixels, count, replace=False, shuffle=False))
        for code, (pixels, count) in wanted.items()
    }
    picked: dict[int, list[np.ndarray]] = {code: [] for code in wanted}
    passed = dict.fromkeys(wanted, 0)
    for top, codes, valid in grid.strips(rows):
        for code, numbers_of_class in numbers.items():
            places = np.flatnonzero((codes == code) & valid)
            first, last = np.searchsorted(numbers_of_class, (passed[code], passed[code] + len(places)))
            chosen = places[numbers_of_class[first:last] - passed[code]]
            picked[code].append(np.stack([top + chosen // codes.shape[1], chosen % codes.shape[1]], axis=1))
            passed[code] += len(places)
    return {code: np.concatenate(parts) for code, parts in picked.items()}
