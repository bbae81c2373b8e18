"""Chips with several classes each: from a label raster, the class of their folder, or a table by name."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX, LabelSet
from bandloom.errors import LabelError
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.labelled import TaskData, labels_of
from bandloom.finetune.data.own_bands import measured
from bandloom.finetune.data.splits import Split
from bandloom.sensors import Sensor
from bandloom.shards.read.loader import Batch
from bandloom.tasks import ANSWERS


class MultilabelData(ChipData):
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

    answer = ANSWERS["multilabel"]

    def __init__(self, shards: Any, split: Split, sensor: Sensor, presence: float, table: Path | None = None) -> None:
        self._presence = presence
        self._names = None if table is None else read_table(table, labels_of(shards))
        self._targets: dict[int, np.ndarray] = {}
        super().__init__(shards, split, sensor)
        self._by_key = {shards.entries[index].key: target for index, target in self._targets.items()}

    @classmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample may have classes: a table can name any."""
        return True

    @classmethod
    def usable(cls, entry: Any) -> bool:
        """Tell whether a sample takes part in a split: all do."""
        return True

    @classmethod
    def surveyed(cls) -> type[TaskData] | None:
        """Return None: the classes of chips are many and overlap, so where the chips lie has to do."""
        return None

    def targets(self, keys: Sequence[str]) -> np.ndarray:
        """Return the targets of samples by key, ``(B, K)`` float32."""
        return np.stack([self._by_key[key] for key in keys]).astype(np.float32)

    def training_batch(self, batch: Batch) -> Batch:
        """Return a batch whose ``class_index`` are targets ``(B, K)`` float32 and that has no label raster."""
        return replace(super().training_batch(batch), label=None, class_index=self.targets(batch.keys))

    def labels_in(self, role: int) -> int:
        """Return how many chips a role has."""
        return len(self.indices_of(role))

    def target_of(self, index: int, sample: Any) -> np.ndarray:
        """Return a sample's target ``(K,)``."""
        return self._targets[index]

    def add_label(self, counts: np.ndarray, index: int) -> None:
        """Add a sample's target to counts ``(K,)``."""
        counts += self._targets[index]

    def _find(self) -> np.ndarray:
        for index, entry in enumerate(self.shards.entries):
            if entry.sensor == self.sensor.name and entry.split != "duplicate":
                target = self._target(index)
                if target is not None and target.any():
                    self._targets[index] = target
        if not self._targets:
            raise LabelError(
                f"no sample of {self.sensor.name} in {self.shards.path} shows a class; task=multilabel needs label"
                " rasters, class folders, or chip_labels=TABLE.json."
            )
        return np.array(sorted(self._targets), np.int64)

    def _target(self, index: int) -> np.ndarray | None:
        entry = self.shards.entries[index]
        if self._names is not None:
            return self._names.get(scene_key(entry.key))
        target = np.zeros(len(self.label_set), np.uint8)
        if entry.class_index is not None:
            target[entry.class_index] = 1
            return target
        if not entry.has_label:
            return None
        sample = self.shards.read(index)
        known = sample.label[(sample.label != IGNORE_INDEX) & measured(sample.groups)]
        counts = np.bincount(known, minlength=len(self.label_set))
        target[counts >= max(1.0, self._presence * known.size)] = 1
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
