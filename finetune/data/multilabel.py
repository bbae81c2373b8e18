"""Chips with several classes each: what a label raster shows of them, the class of their folder, or a table by name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import LabelError
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import measured
from bandloom.finetune.data.splits import BUFFER, ROLES, Split, extent_role
from bandloom.label_set import IGNORE_INDEX, LabelSet
from bandloom.sensors import Sensor


class MultilabelData(TaskData):
    """Whole samples with a target ``(K,)`` of noughts and ones.

    Args:
        shards: samples with label rasters or classes, or any at all beside a table.
        split: gives whole samples their roles.
        sensor: which sensor's samples.
        presence: a raster's class counts as present when it covers this share of the labelled ground.
        table: JSON of class names by scene key, as ``bandloom labels prepare --several`` writes it; None: no table.

    Raises:
        LabelError: no sample has a class, or the table cannot be read or names an unknown class.
    """

    def __init__(self, shards: Any, split: Split, sensor: Sensor, presence: float, table: Path | None = None) -> None:
        names = None if table is None else read_table(table, shards.label_set)
        self._targets: dict[int, np.ndarray] = {}
        super().__init__(shards, "multilabel", split, sensor)
        for index, entry in enumerate(shards.entries):
            if entry.sensor == sensor.name and entry.split != "duplicate":
                target = self._target(index, presence, names)
                if target is not None and target.any():
                    self._targets[index] = target
        if not self._targets:
            raise LabelError(
                f"no sample of {sensor.name} in {shards.path} shows a class; task=multilabel needs label"
                " rasters, class folders, or chip_labels=TABLE.json."
            )
        self.indices = np.array(sorted(self._targets), np.int64)
        self._by_key = {shards.entries[index].key: target for index, target in self._targets.items()}

    def targets(self, keys: Sequence[str]) -> np.ndarray:
        """Return the targets of samples by key, ``(B, K)`` float32."""
        return np.stack([self._by_key[key] for key in keys]).astype(np.float32)

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample whose label is its target ``(K,)``, or None when it has another role."""
        entry, side = self.shards.entries[index], int(self.shards.entries[index].side_px)
        if extent_role(self.split, entry, side) != role:
            return None
        block = self.split.blocks(entry, (entry.x_m, entry.y_m), (side, side))[side // 2, side // 2]
        sample = self.shards.read(index)
        return Labelled(sample.key, self.own(sample.groups), self._targets[index], np.array(block))

    def _count(self, index: int) -> np.ndarray:
        entry, table = self.shards.entries[index], np.zeros((len(ROLES), len(self.label_set)), np.int64)
        role = extent_role(self.split, entry, int(entry.side_px))
        if role != BUFFER:
            table[role] = self._targets[index]
        return table

    def _target(self, index: int, presence: float, names: dict[str, np.ndarray] | None) -> np.ndarray | None:
        entry = self.shards.entries[index]
        if names is not None:
            return names.get(scene_key(entry.key))
        target = np.zeros(len(self.label_set), np.uint8)
        if entry.class_index is not None:
            target[entry.class_index] = 1
            return target
        if not entry.has_label:
            return None
        sample = self.shards.read(index)
        known = sample.label[(sample.label != IGNORE_INDEX) & measured(sample.groups)]
        counts = np.bincount(known, minlength=len(self.label_set))
        target[counts >= max(1.0, presence * known.size)] = 1
        return target


def scene_key(key: str) -> str:
    """Return the scene that a sample was cut from: its key without row and column."""
    return key.rsplit("_r", 1)[0]


def read_table(path: Path, label_set: LabelSet) -> dict[str, np.ndarray]:
    """Read ``{"scene key": ["class", ...]}``.

    Raises:
        LabelError: it cannot be read, or names a class that the label set lacks.
    """
    try:
        record = {str(key): [str(name) for name in names] for key, names in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as cause:
        raise LabelError(
            f"{path} holds no table of class names by scene ({cause!r}); make it with `bandloom labels"
            " prepare --several`."
        ) from cause
    unknown = {name for names in record.values() for name in names} - set(label_set.names)
    if unknown:
        raise LabelError(f"{path} names the class {sorted(unknown)[0]!r}, which label set {label_set.name!r} lacks.")
    return {key: np.isin(label_set.names, names).astype(np.uint8) for key, names in record.items()}
