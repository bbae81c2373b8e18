"""How many pixels of each class became which class between two maps, as a table and as sentences."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.export.bundle.tiling import MAP_PIXEL_M


@dataclass(frozen=True)
class Change:
    """How many pixels of each class became which: ``counts[before, after]`` by index of the label set."""

    counts: np.ndarray  # (K, K) int64
    labels: LabelSet

    def lines(self) -> list[str]:
        """Return what a person reads: the share that changed, and the largest changes by area."""
        total, moved = int(self.counts.sum()), self.moved()
        share = sum(count for count, _, _ in moved) / max(total, 1)
        listed = [f"{before} to {after} {hectares(count):,.1f} ha" for count, before, after in moved[:5]]
        most = f": {', '.join(listed)}" if listed else ""
        return [f"{share:.2%} of the ground that both scenes measured changed class{most}"]

    def moved(self) -> list[tuple[int, str, str]]:
        """Return ``(pixels, before, after)`` of every change that there was, the largest first."""
        names = self.labels.names
        moves = [(int(self.counts[i, j]), names[i], names[j]) for i, j in np.argwhere(self.counts) if i != j]
        return sorted(moves, reverse=True)

    def record(self) -> dict[str, Any]:
        """Return the table as plain JSON types."""
        return {
            "classes": list(self.labels.names),
            "pixels_before_after": self.counts.tolist(),
            "pixel_m": MAP_PIXEL_M,
            "changed": [
                {"before": before, "after": after, "pixels": count, "hectares": hectares(count)}
                for count, before, after in self.moved()
            ],
        }


def hectares(pixels: int) -> float:
    """Return the area of map pixels."""
    return pixels * MAP_PIXEL_M**2 / 10_000
