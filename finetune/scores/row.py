"""One row of a score table: what was scored, its kind, and how its scores and intervals are found."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bandloom.scores import RowKind


@dataclass(frozen=True, kw_only=True)
class Row(ABC):
    """One line of a score table; a class of its own for each kind of answer.

    Args:
        name: what was scored.
        kind: the model itself, or what kind of baseline it is.
        seeds: that it was drawn or trained from.
        fitted_on: labels it was fitted on.
        seconds: what it took.
    """

    name: str
    kind: RowKind = "model"
    seeds: tuple[int, ...] = ()
    fitted_on: int = 0
    seconds: float = 0.0

    @property
    @abstractmethod
    def scored_on(self) -> int:
        """How many labels it was scored on."""

    @property
    @abstractmethod
    def blocks(self) -> int:
        """In how many blocks of ground they lie."""

    @abstractmethod
    def scores(self, names: Sequence[str]) -> dict[str, Any]:
        """Return its scores by name, and under ``classes`` those of each class where there are classes."""

    @abstractmethod
    def intervals(self, draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of its scores by drawing blocks with replacement; empty without draws or blocks."""

    def margins(self, other: Any, draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of how far it is ahead of another, the same blocks drawn for both; empty if unknown."""
        return {}

    def by_block(self) -> dict[int, Any]:
        """Return what is counted in each block as plain JSON types, for comparisons in pairs later."""
        return {}
