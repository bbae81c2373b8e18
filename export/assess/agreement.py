"""Agreement of two labellers of the same points: observed agreement, Cohen's kappa, and where they differ."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.errors import LabelError
from bandloom.points_file import PointsFile

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
    words = [[_word(value) for value in points.columns["class"]] for points in (one, other)]
    both = [number for number, pair in enumerate(zip(*words, strict=True)) if all(pair)]
    return Agreement(len(one), both, [(words[0][number], words[1][number]) for number in both])


def merged(one: PointsFile, other: PointsFile) -> PointsFile:
    """Return the points with the class on which both agree, and none where they differ, which are then to be discussed.

    A point is unsure where either labeller was; comments of both are kept.
    """
    words = [[_word(value) for value in points.columns["class"]] for points in (one, other)]
    columns = {**one.columns, "class": [a if a and a == b else None for a, b in zip(*words, strict=True)]}
    unsure = [points.columns.get("unsure", [0] * len(points)) for points in (one, other)]
    columns["unsure"] = [int(_is_true(a) or _is_true(b)) for a, b in zip(*unsure, strict=True)]
    comments = [points.columns.get("comment", [""] * len(points)) for points in (one, other)]
    pairs = [dict.fromkeys(filter(None, map(_word, pair))) for pair in zip(*comments, strict=True)]
    columns["comment"] = ["; ".join(pair) for pair in pairs]
    return PointsFile(one.path, one.places, columns, one.source)


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _is_true(value: Any) -> bool:
    return _word(value) in ("1", "1.0", "True")
