"""A label raster of one label set as labels of another, by the mapping between them."""

from collections import Counter

import numpy as np

from bandloom.classes.label_mapping import Mapping
from bandloom.shards.labels.reading import Labels
from bandloom.shards.scenes import WindowM


class MappedLabels:
    """Labels in a mapping's source, read in its target; what has no counterpart has no label, and is counted.

    Args:
        labels: in the source's classes.
        mapping: from them to those that are asked for.
    """

    def __init__(self, labels: Labels, mapping: Mapping) -> None:
        self._labels, self._mapping, self._lost = labels, mapping, Counter[str]()

    @property
    def unlabelled(self) -> Counter[str]:
        """Pixels read so far without a label, by the reason."""
        return self._labels.unlabelled + self._lost

    @property
    def meets_scene(self) -> bool:
        """Whether any of them can lie on the scene."""
        return self._labels.meets_scene

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window, 255 where there is no label."""
        mapped, lost = self._mapping.labels(self._labels.read(window_m))
        target = self._mapping.target.id
        self._lost += Counter({f"{name}, which {target} has no class for": count for name, count in lost.items()})
        return mapped

    def warnings(self) -> list[str]:
        """Return what a person should know of the windows read so far."""
        return self._labels.warnings()

    def close(self) -> None:
        """Close the raster."""
        self._labels.close()
