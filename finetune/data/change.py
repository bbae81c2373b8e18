"""Change detection samples: two dates of the same ground stacked, and a label raster of what changed between them."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX, LabelClass, LabelSet
from bandloom.errors import LabelError
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.own_bands import cut, measured
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import PIXEL_M, Split
from bandloom.finetune.model.task_model import ChangeLabels
from bandloom.sensors import Sensor
from bandloom.shards.read.loader import Batch
from bandloom.tasks import ANSWERS

CHANGE = LabelSet("change", (LabelClass(1, "unchanged", "#d9d9d9"), LabelClass(2, "changed", "#d7191c")))


class ChangeData(PixelData):
    """Pairs of consecutive dates; :attr:`indices` are the earlier ones, :attr:`later` finds their partners.

    Args:
        shards: both dates of every place, each sample with its date.
        split: gives pixels their roles.
        sensor: which sensor's samples.
        labels: ``classes``: both dates carry land cover, what differs has changed; ``mask``: the later date's raster
            says what changed, in the shards' own label set.

    Raises:
        LabelError: there are no two dates of one place, or no labels of that kind.
    """

    answer = ANSWERS["change"]

    def __init__(self, shards: Any, split: Split, sensor: Sensor, labels: ChangeLabels = "classes") -> None:
        self.labels: ChangeLabels = labels
        super().__init__(shards, split, sensor)
        self.classes: LabelSet = shards.label_set
        self.label_set = CHANGE if labels == "classes" else shards.label_set

    @classmethod
    def surveyed(cls) -> type[TaskData] | None:
        """Return the data of single dates: pairs lie on their ground."""
        return PixelData

    def read(self, index: int) -> Any:
        """Return both dates as one sample: groups ``{gsd_m: (2 C, H, W)}``, label 255 where one date is unmeasured."""
        earlier, later = self.shards.read(index), self.shards.read(self.later[index])
        groups = {gsd: np.concatenate([earlier.groups[gsd], later.groups[gsd]]) for gsd in earlier.groups}
        seen = measured(earlier.groups) & measured(later.groups)
        label = changed(earlier.label, later.label) if self.labels == "classes" else later.label
        return replace(earlier, groups=groups, label=np.where(seen, label, IGNORE_INDEX).astype(np.uint8))

    def training_batch(self, batch: Batch) -> Batch:
        """Return pairs of dates: the same crops, labels of change on training ground alone."""
        return super().training_batch(self.with_pairs(batch))

    def with_pairs(self, batch: Batch) -> Batch:
        """Return a batch of earlier dates as one of pairs: the same crops, both dates stacked, labels of change."""
        side = batch.groups[min(batch.groups)].shape[-1] * min(batch.groups) // PIXEL_M
        groups: dict[int, list[np.ndarray]] = {gsd: [] for gsd in batch.groups}
        labels = []
        for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True):
            entry, pair = self.shards.entries[self._place_of[key]], self.read(self._place_of[key])
            row, column = round((entry.y_m - y) / PIXEL_M), round((x - entry.x_m) / PIXEL_M)
            for gsd, part in cut(pair.groups, row, column, side).items():
                groups[gsd].append(part)
            labels.append(pair.label[row : row + side, column : column + side])
        return replace(batch, groups={gsd: np.stack(parts) for gsd, parts in groups.items()}, label=np.stack(labels))

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {self.shards.entries[index].key: index for index in self.indices.tolist()}

    def _find(self) -> np.ndarray:
        super()._find()
        self.later = find_pairs(self.shards.entries, self.sensor.name, both_labelled=self.labels == "classes")
        if not self.later:
            raise LabelError(
                f"{self.shards.path} holds no place of {self.sensor.name} at two dates with the labels that task=change"
                " needs; build shards from two acquisitions of the same ground that say their dates."
            )
        return np.array(sorted(self.later), np.int64)


def changed(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return 1 where two maps of class indices differ, 0 where they agree, 255 where either knows nothing."""
    known = (earlier != IGNORE_INDEX) & (later != IGNORE_INDEX)
    return np.where(known, earlier != later, IGNORE_INDEX).astype(np.uint8)


def find_pairs(entries: Sequence[Any], sensor: str, *, both_labelled: bool) -> dict[int, int]:
    """Return the next later sample of the same ground for every sample that has one with labels."""
    places = defaultdict(list)
    for index, entry in enumerate(entries):
        if entry.sensor == sensor and entry.split != "duplicate" and entry.datetime is not None:
            places[entry.epsg, entry.x_m, entry.y_m, entry.side_px].append((str(entry.datetime), index))
    orders = ([index for _, index in sorted(dated)] for dated in places.values())
    pairs = (pair for order in orders for pair in itertools.pairwise(order))
    drawn = PixelData.has_label
    return {one: two for one, two in pairs if drawn(entries[two]) and (drawn(entries[one]) or not both_labelled)}
