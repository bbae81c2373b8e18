"""Agreement of two labellers of the same points: observed agreement, Cohen's kappa, and where they differ."""

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.classes.class_words import whole_number
from bandloom.errors import LabelError
from bandloom.export.assess.reference_points import BEFORE
from bandloom.files.points_file import UNSURE, PointsFile, is_marked

SAME_PLACE = 1e-6  # degrees: a tenth of a metre


@dataclass(frozen=True)
class Agreement:
    """What two labellers said.

    Args:
        points: how many there are.
        both: ``(n,)`` numbers of points that both gave a class.
        said: the classes of these, one labeller's and the other's.
    """

    points: int
    both: list[int]
    said: list[tuple[str, str]]

    @property
    def observed(self) -> float:
        """The share of points with the same class; NaN where no point has two."""
        return float(np.mean([one == other for one, other in self.said])) if self.said else math.nan

    @property
    def expected(self) -> float:
        """The share that chance would give labellers who use the classes as often as these two do."""
        names = sorted({name for pair in self.said for name in pair})
        one, other = (
            np.array([[name == told for name in names] for told in held]).mean(0)
            for held in zip(*self.said, strict=True)
        )
        return float(one @ other)

    @property
    def kappa(self) -> float:
        """Cohen's kappa (1960, https://doi.org/10.1177/001316446002000104); NaN where only one class was used."""
        if not self.said or self.expected == 1:
            return math.nan
        return (self.observed - self.expected) / (1 - self.expected)

    @property
    def differing(self) -> list[tuple[int, str, str]]:
        """Number in the file, and the two classes, of each point about which they differ."""
        return [(number, *pair) for number, pair in zip(self.both, self.said, strict=True) if pair[0] != pair[1]]


def agreement(one: PointsFile, other: PointsFile) -> Agreement:
    """Compare two files of the same points.

    Raises:
        LabelError: they hold other points, or a file has no column ``class``.
    """
    if len(one) != len(other) or (np.abs(one.places - other.places) > SAME_PLACE).any():
        raise LabelError(
            f"{one.path} and {other.path} hold different points; give two labellers copies of one file, in one order."
        )
    for points in (one, other):
        if "class" not in points.columns:
            raise LabelError(f"{points.path} has no column 'class'; label its points with bandloom view MAP --label.")
    words = _classes(one, other)
    both = [number for number, pair in enumerate(zip(*words, strict=True)) if all(pair)]
    return Agreement(len(one), both, [(words[0][number], words[1][number]) for number in both])


def merged(one: PointsFile, other: PointsFile) -> PointsFile:
    """Return the points with the class on which both agree, and none where they differ, which are then to be discussed.

    A point is unsure where either labeller was; comments of both are kept.
    """
    same = [bool(a) and a == b for a, b in zip(*_classes(one, other), strict=True)]
    held = {name: one.columns[name] for name in _named(one)}
    columns = {**one.columns, **{n: [v if s else None for v, s in zip(h, same, strict=True)] for n, h in held.items()}}
    unsure = [points.columns.get(UNSURE, [0] * len(points)) for points in (one, other)]
    columns[UNSURE] = [int(is_marked(a) or is_marked(b)) for a, b in zip(*unsure, strict=True)]
    comments = [points.columns.get("comment", [""] * len(points)) for points in (one, other)]
    pairs = [dict.fromkeys(filter(None, map(_word, pair))) for pair in zip(*comments, strict=True)]
    columns["comment"] = ["; ".join(pair) for pair in pairs]
    return PointsFile(one.path, one.places, columns, one.source)


def _named(points: PointsFile) -> list[str]:
    """Return the columns of classes: that of the map, and that before a change where there is one."""
    return [name for name in (BEFORE, "class") if name in points.columns]


def _classes(one: PointsFile, other: PointsFile) -> list[list[str]]:
    """Return what each labeller says of each point, empty where a class is missing; of a change, both its classes.

    Raises:
        LabelError: one file tells what was there before a change, the other does not.
    """
    if _named(one) != _named(other):
        raise LabelError(f"of {one.path} and {other.path} one has no column {BEFORE!r}; give both labellers one file.")
    columns = [[[_class(value) for value in points.columns[name]] for name in _named(one)] for points in (one, other)]
    return [[" to ".join(words) if all(words) else "" for words in zip(*held, strict=True)] for held in columns]


def _class(value: Any) -> str:
    """Return a class as it is compared: words in any case and Unicode form, codes as numbers."""
    number = whole_number(value) if isinstance(value, str | int | float | np.number) else None
    return str(number) if number is not None else unicodedata.normalize("NFC", _word(value)).casefold()


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()
