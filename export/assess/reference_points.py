"""Reference points of an assessment: place, class, and the record of the sample that they were drawn in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.class_words import whole_number
from bandloom.errors import LabelError
from bandloom.files.points_file import UNSURE, is_marked
from bandloom.shards.labels.geometry import moved
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import Drawing, read_drawing

# what `assess sample` writes of each point beside its place
RECORD = ("stratum", "stratum_pixels", "stratum_ha", "stratum_points", "total_pixels")

BEFORE = "class_before"  # the attribute of the class before a change


@dataclass(frozen=True)
class ReferencePoints:
    """Points as a file holds them.

    Args:
        path: the file.
        drawing: its geometries and the value of the class of each.
        values: of each point the value of its class; of a change, those before and after.
        record: by column of :data:`RECORD`, ``(P,)`` numbers; None where the points come with no record of a sample.
        unsure: ``(P,)`` whether the labeller marked the point as unsure.
    """

    path: Path
    drawing: Drawing
    values: list[tuple[Any, ...]]
    record: dict[str, np.ndarray] | None
    unsure: np.ndarray

    def where(self, number: int) -> str:
        """Return how a person finds a point."""
        return self.drawing.where(number)

    def xy(self, crs: Any) -> np.ndarray:
        """Return ``(P, 2)`` places in a coordinate system."""
        return moved(self.drawing.flat.xy, self.drawing.crs, crs)


def read_points(path: Path, reading: LabelReading, before: str | None = None) -> ReferencePoints:
    """Read GeoPackage, GeoJSON, shapefile, or a CSV with the columns lon and lat.

    Args:
        path: the file.
        reading: names the attribute of the class.
        before: the attribute of the class before a change, which the other is then the one after.

    Raises:
        LabelError: it cannot be read, holds what is no point, or its record of a sample is damaged.
    """
    drawing = read_drawing(path, reading)
    flat = drawing.flat
    for number, why in sorted(flat.refused.items()):
        raise LabelError(f"{drawing.where(number)} {why}")
    for number, places in enumerate(np.diff(flat.starts).tolist()):
        if places != 1 or not drawing.geometries[number]["type"].endswith("Point"):
            raise LabelError(f"{drawing.where(number)} is no single point; an assessment reads one place a feature.")
    values = [(value,) for value in drawing.values]
    if before is not None:
        earlier = read_drawing(path, LabelReading(before, reading.layer, reading.encoding)).values
        values = list(zip(earlier, drawing.values, strict=True))
    marks = _column(path, UNSURE, reading) or [None] * len(values)
    unsure = np.array([is_marked(mark) for mark in marks], bool)
    columns = {name: _column(path, name, reading) for name in RECORD}
    absent = [name for name, values in columns.items() if values is None]
    if len(absent) == len(RECORD):
        return ReferencePoints(path, drawing, values, None, unsure)
    if absent:
        raise LabelError(
            f"{path} has lost the column {absent[0]!r} of its sample; take it back from the file that"
            " bandloom assess sample wrote."
        )
    held = {name: _numbers(drawing, name, values or []) for name, values in columns.items()}
    _check_strata(path, held)
    return ReferencePoints(path, drawing, values, held, unsure)


def _column(path: Path, name: str, reading: LabelReading) -> list[Any] | None:
    """Return a column of a file whose column of classes could be read: what fails here is that it has no other."""
    try:
        return read_drawing(path, LabelReading(name, reading.layer, reading.encoding)).values
    except LabelError:
        return None


def _numbers(drawing: Drawing, name: str, values: list[Any]) -> np.ndarray:
    numbers = np.empty(len(values))
    for number, value in enumerate(values):
        try:
            numbers[number] = float(value)
        except (TypeError, ValueError):
            numbers[number] = np.nan
        fits = numbers[number] > 0 if name != "stratum" else whole_number(numbers[number]) is not None
        if not (fits and np.isfinite(numbers[number])):
            raise LabelError(
                f"{drawing.where(number)} has {value!r} as {name} of its sample; take it back from the file that"
                " bandloom assess sample wrote."
            )
    return numbers


def _check_strata(path: Path, record: dict[str, np.ndarray]) -> None:
    """Refuse a record that says two things of one stratum, or that misses a stratum.

    Raises:
        LabelError: so it is.
    """
    strata, first, places = np.unique(record["stratum"], return_index=True, return_inverse=True)
    for name in RECORD[1:]:
        expected = record[name][first][places] if name != "total_pixels" else record[name][0]
        if not np.array_equal(record[name], np.broadcast_to(expected, record[name].shape)):
            raise LabelError(f"{path} gives {name} two values where the sample had one; are two samples in one file?")
    held = record["stratum_pixels"][first].sum()
    if held != record["total_pixels"][0]:
        raise LabelError(
            f"{path} holds points of {len(strata)} strata with {held:.0f} pixels, but the sample covered"
            f" {record['total_pixels'][0]:.0f}; put the points of the missing strata back."
        )
