"""Chips with one class each: the whole sample has the role of its ground."""

from typing import Any

import numpy as np

from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.splits import BUFFER, ROLES, extent_role
from bandloom.tasks import ANSWERS


class ChipData(TaskData):
    """Samples with a class of their own; their label is a 0-d array."""

    answer = ANSWERS["classify"]
    needs = "a class of its own"

    @classmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample has a class of its own."""
        return entry.class_index is not None

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample with its label, or None when it has another role."""
        if self.role_of(index) != role:
            return None
        entry, side = self.shards.entries[index], int(self.shards.entries[index].side_px)
        block = self.split.blocks(entry, (entry.x_m, entry.y_m), (side, side))[side // 2, side // 2]
        sample = self.read(index)
        return Labelled(sample.key, self.own(sample.groups), self.target_of(index, sample), np.array(block))

    def count(self, index: int) -> np.ndarray:
        """Return 1 at the role and the class of a sample, ``(3, K)`` int64."""
        table, role = np.zeros((len(ROLES), len(self.label_set)), np.int64), self.role_of(index)
        if role != BUFFER:
            self.add_label(table[role], index)
        return table

    def role_of(self, index: int) -> int:
        """Return the role of a whole sample."""
        entry = self.shards.entries[index]
        return extent_role(self.split, entry, int(entry.side_px))

    def target_of(self, index: int, sample: Any) -> np.ndarray:
        """Return a sample's label."""
        return np.array(sample.class_index, np.uint8)

    def add_label(self, counts: np.ndarray, index: int) -> None:
        """Add a sample's label to counts ``(K,)``."""
        counts[self.shards.entries[index].class_index] += 1
