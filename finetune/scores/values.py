"""Scores of measured values: RMSE, MAE, bias and R2, from sums that are kept block by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.block_scores import drawn, margins, scores_of_sums
from bandloom.finetune.scores.row import Row

HEADLINES = ("rmse", "mae", "bias", "r2")
SUMS = 6  # count, error, squared error, absolute error, truth, squared truth


@dataclass(frozen=True, kw_only=True)
class ValueRow(Row):
    """A row of measured values.

    Args:
        sums: by block ``(6,)`` float64: how many values, and the sums of errors (predicted less true), squared and
            absolute errors, truths and squared truths.
    """

    sums: Mapping[int, np.ndarray]

    @property
    def scored_on(self) -> int:
        """How many values it was scored on."""
        return int(sum(of_block[0] for of_block in self.sums.values()))

    @property
    def blocks(self) -> int:
        """In how many blocks of ground they lie."""
        return len(self.sums)

    def scores(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores; all but R2 are in the quantity's unit."""
        scores = scores_of_sums(np.sum(list(self.sums.values()), axis=0))
        return {name: float(scores[name]) for name in HEADLINES}

    def intervals(self, draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals by drawing blocks with replacement."""
        if not draws or len(self.sums) < 2:
            return {}
        scores = scores_of_sums(drawn(np.stack(list(self.sums.values())), draws))
        return {name: np.percentile(scores[name], (2.5, 97.5)).tolist() for name in HEADLINES}

    def margins(self, other: "ValueRow", draws: int) -> dict[str, list[float]]:
        """Return 95 % intervals of its score less another's, the same blocks drawn for both; of errors less is better.

        Blocks that one of the two lacks are left out.
        """
        return margins(self.sums, other.sums, draws) if draws else {}

    def by_block(self) -> dict[int, Any]:
        """Return each block's sums as a list."""
        return {block: sums.tolist() for block, sums in self.sums.items()}


def block_sums(truth: np.ndarray, predicted: np.ndarray, blocks: np.ndarray) -> dict[int, np.ndarray]:
    """Return the sums of every block that holds a known value.

    Args:
        truth: values of any shape, NaN where unknown.
        predicted: likewise.
        blocks: block numbers of the same shape.
    """
    known = ~np.isnan(truth)
    truth, blocks = truth[known].astype(np.float64), blocks[known]
    error = predicted[known].astype(np.float64) - truth
    parts = np.stack([np.ones_like(error), error, error**2, np.abs(error), truth, truth**2])
    numbers, place = np.unique(blocks, return_inverse=True)
    return {
        int(block): np.array([np.bincount(place, part, len(numbers))[i] for part in parts])
        for i, block in enumerate(numbers.tolist())
    }


def add_sums(total: dict[int, np.ndarray], more: Mapping[int, np.ndarray]) -> None:
    """Add sums by block to a total, in place."""
    for block, sums in more.items():
        total[block] = total[block] + sums if block in total else sums
