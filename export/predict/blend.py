"""Blends weighted tiles into rows of the map; holds one strip, whatever the scene's height."""

import numpy as np

from bandloom.export.bundle.tiling import Tiling


class Accumulator:
    """A window of rows over the full width into which cores are added and from which finished rows are taken."""

    def __init__(self, classes: int, rows_px: int, column_starts: np.ndarray, tiling: Tiling) -> None:
        """Hold ``rows_px`` rows of ``classes`` sums for tile columns at ``column_starts`` (some may be negative)."""
        self._left = int(column_starts[0])
        self._tiling = tiling
        self._top = 0
        width = int(column_starts[-1]) + tiling.core_px - self._left
        self._sums = np.zeros((classes, rows_px, width), np.float32)
        self._weights = np.zeros((rows_px, width), np.float32)
        self._weighted = np.empty((classes, tiling.core_px, tiling.core_px), np.float32)  # no fresh pages a tile

    def start_at(self, row_px: int) -> None:
        """Say which map row the window begins with; only before the first tile is added."""
        self._top = row_px

    def add(self, logits: np.ndarray, row_px: int, column_px: int) -> None:
        """Add one tile's logits, ``(K, tile, tile)``, whose core begins at map row and column."""
        margin, core = self._tiling.margin_px, self._tiling.core_px
        rows = slice(row_px - self._top, row_px - self._top + core)
        columns = slice(column_px - self._left, column_px - self._left + core)
        kept = logits[:, margin : margin + core, margin : margin + core]
        np.multiply(kept, self._tiling.weights, out=self._weighted)
        self._sums[:, rows, columns] += self._weighted
        self._weights[rows, columns] += self._tiling.weights

    def take(self, rows_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray]:
        """Finish the first ``rows_px`` rows and move the window down by as many.

        Returns:
            Blended logits ``(K, rows, width)`` of map columns ``0..width``, and ``(rows, width)`` bool, True where at
            least one tile contributed (elsewhere the logits are 0).
        """
        columns = slice(-self._left, -self._left + width_px)
        weights = self._weights[:rows_px, columns]
        covered = weights > 0
        logits = self._sums[:, :rows_px, columns] / np.where(covered, weights, np.float32(1))
        self._drop(rows_px)
        return logits, covered

    def _drop(self, rows_px: int) -> None:
        for held in (self._sums, self._weights):
            kept = max(held.shape[-2] - rows_px, 0)
            held[..., :kept, :] = held[..., rows_px:, :]
            held[..., kept:, :] = 0
        self._top += rows_px
