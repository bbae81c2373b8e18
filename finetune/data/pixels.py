"""Label rasters: a class for every 10 m pixel, in the role of its ground."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX, LabelSet
from bandloom.errors import LabelError
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import measured
from bandloom.finetune.data.splits import BUFFER, ROLES, TRAIN
from bandloom.shards.read.loader import Batch
from bandloom.tasks import ANSWERS


class PixelData(TaskData):
    """Samples with a label raster."""

    answer = ANSWERS["segment"]
    needs = "a label raster"

    @classmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample has a label raster, and no class of its own alone."""
        return entry.has_label and (entry.class_index is None or "label.b2nd" in entry.members)

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample with the labels of ``role``, or None when it has none there."""
        entry, sample = self.shards.entries[index], self.read(index)
        corner = (entry.x_m, entry.y_m)
        label = mask_label(sample.label, sample.groups, self.split.roles(entry, corner, sample.label.shape), role)
        if (label == IGNORE_INDEX).all():
            return None
        return Labelled(sample.key, self.own(sample.groups), label, self.split.blocks(entry, corner, label.shape))

    def count(self, index: int) -> np.ndarray:
        """Return a sample's labelled and measured pixels by role and class, ``(3, K)`` int64."""
        entry, classes = self.shards.entries[index], len(self.label_set)
        sample = self.read(index)
        check_label(sample.label, sample.groups, self.label_set, sample.key)
        roles = self.split.roles(entry, (entry.x_m, entry.y_m), sample.label.shape)
        known = (sample.label != IGNORE_INDEX) & measured(sample.groups) & (roles != BUFFER)
        pair = roles[known].astype(np.int64) * classes + sample.label[known]
        return np.bincount(pair, minlength=len(ROLES) * classes).reshape(len(ROLES), classes)

    def training_batch(self, batch: Batch) -> Batch:
        """Return a batch in which everything but training ground is 255.

        Raises:
            LabelError: its samples carry no label raster.
        """
        if batch.label is None:
            raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no label raster.")
        return super().training_batch(replace(batch, label=self.training_label(batch)))

    def training_label(self, batch: Batch) -> np.ndarray:
        """Return a batch's labels ``(B, H, W)`` uint8 with everything but measured training ground at 255."""
        label: Any = batch.label
        return mask_label(label, batch.groups, self.roles_of(batch), TRAIN)

    def roles_of(self, batch: Batch) -> np.ndarray:
        """Return the role of every pixel of a batch's crops, ``(B, H, W)``."""
        label: Any = batch.label
        return np.stack(
            [
                self.split.roles(self._entry_of[key], (float(x), float(y)), label.shape[-2:])
                for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True)
            ]
        )

    @cached_property
    def _entry_of(self) -> dict[str, Any]:
        return {entry.key: entry for entry in self.shards.entries}


def mask_label(label: np.ndarray, groups: Mapping[int, np.ndarray], roles: np.ndarray, role: int) -> np.ndarray:
    """Return the labels ``(..., H, W)`` of one role on measured ground, 255 elsewhere."""
    return np.where((roles == role) & measured(groups), label, np.uint8(IGNORE_INDEX))


def check_label(label: np.ndarray, groups: Mapping[int, np.ndarray], label_set: LabelSet, key: str) -> None:
    """Check one label raster against its image and its label set.

    Raises:
        LabelError: it has another size than the image, or holds an index beyond the classes.
    """
    check_size(label, groups, key)
    beyond = label[(label >= len(label_set)) & (label != IGNORE_INDEX)]
    if beyond.size:
        raise LabelError(
            f"the label of {key} holds the class index {int(beyond[0])}, but label set {label_set.name!r} has"
            f" {len(label_set)} classes (indices 0 to {len(label_set) - 1}, {IGNORE_INDEX} for none); build the shards"
            " again with the label set that the mask was drawn with."
        )


def check_size(label: np.ndarray, groups: Mapping[int, np.ndarray], key: str) -> None:
    """Check that a label raster covers its image.

    Raises:
        LabelError: it has another size.
    """
    gsd_m, finest = min(groups.items())
    shape = tuple(side * gsd_m // 10 for side in finest.shape[-2:])
    if label.shape != shape:
        raise LabelError(
            f"the label of {key} is {label.shape[0]} x {label.shape[1]} pixels, its image {shape[0]} x {shape[1]} of"
            " 10 m; warp the mask onto the image's grid (nearest), as `bandloom labels prepare` does."
        )
