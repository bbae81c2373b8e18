"""Measured values as labels: a raster of them for every 10 m pixel, or one a chip; NaN is unknown."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.errors import LabelError
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import measured
from bandloom.finetune.data.pixels import PixelData, check_size
from bandloom.finetune.data.splits import BUFFER, PIXEL_M, ROLES, TRAIN
from bandloom.shards.read.loader import Batch
from bandloom.shards.store.index import VALUES
from bandloom.target import Target
from bandloom.tasks import ANSWERS

SHOWN = (2.0, 98.0)  # percentiles of training labels that a map's colours span
SAMPLED = 1_000_000  # training labels that these percentiles are of, at most


class _Values(TaskData):
    """What both kinds share: the quantity, normalised by the labels of training ground alone."""

    @property
    def target(self) -> Target:
        """The quantity, with mean and deviation of the training labels."""
        return self._normalised

    @cached_property
    def _normalised(self) -> Target:
        """The quantity, measured on training ground alone.

        Raises:
            LabelError: all training labels have one value.
        """
        total, squares, count, sampled, near = 0.0, 0.0, 0, [], None
        most = max(1, SAMPLED // max(1, len(self.indices_of(TRAIN))))
        for values in self._training_values():
            near = float(values[0]) if near is None else near  # a small difference of large squares would be rounding
            apart = values - near
            total, squares, count = total + apart.sum(), squares + np.square(apart).sum(), count + values.size
            sampled.append(values[:: -(-values.size // most)])
        quantity = self.shards.quantity
        if near is None:  # none of it trains: another model is scored on this ground, by its own normalisation
            return Target(**quantity)
        mean = near + total / count
        deviation = float(np.sqrt(max(squares / count - (total / count) ** 2, 0.0)))
        if deviation <= 1e-9 * abs(mean):
            raise LabelError(
                f"the training ground of {self.shards.path} has one value alone ({mean:g}) of {quantity['name']}; use"
                " another split.seed or more labelled ground."
            )
        low, high = np.percentile(np.concatenate(sampled), SHOWN)
        return Target(**quantity, mean=float(mean), std=deviation, low=float(low), high=float(high))

    def _training_values(self) -> Iterator[np.ndarray]:
        for sample in self.samples(TRAIN):
            yield sample.label[np.isfinite(sample.label)].astype(np.float64)

    def _labels(self) -> LabelSet:
        quantity = getattr(self.shards, "quantity", None)
        if quantity is None:
            raise LabelError(
                f"the shards {self.shards.path} carry no measured values, which task={self.task} needs; build them with"
                " `bandloom shards build SCENES --values RASTERS --quantity 'NAME [UNIT]'`."
            )
        return Target(**quantity).label_set


class ValueData(_Values, PixelData):
    """Samples with a raster of values; their label is ``(H, W)`` float32 in the quantity's unit."""

    answer = ANSWERS["regress"]
    needs = "a raster of values"

    @classmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample has a raster of values."""
        return VALUES in entry.members

    def read(self, index: int) -> Any:
        """Return a sample whose label is its raster of values."""
        return replace(self.shards.read(index), label=self.shards.values(index))

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample with the values of ``role``, or None when it has none there."""
        entry, sample = self.shards.entries[index], self.read(index)
        corner = (entry.x_m, entry.y_m)
        roles = self.split.roles(entry, corner, sample.label.shape)
        label = np.where((roles == role) & measured(sample.groups), sample.label, np.float32(np.nan))
        if not np.isfinite(label).any():
            return None
        return Labelled(sample.key, self.own(sample.groups), label, self.split.blocks(entry, corner, label.shape))

    def count(self, index: int) -> np.ndarray:
        """Return a sample's known and measured pixels by role, ``(3, 1)`` int64."""
        entry, sample = self.shards.entries[index], self.read(index)
        check_size(sample.label, sample.groups, sample.key)
        roles = self.split.roles(entry, (entry.x_m, entry.y_m), sample.label.shape)
        known = np.isfinite(sample.label) & measured(sample.groups) & (roles != BUFFER)
        return np.bincount(roles[known], minlength=len(ROLES))[:, None].astype(np.int64)

    def training_batch(self, batch: Batch) -> Batch:
        """Return a batch whose labels are normalised values ``(B, H, W)`` float32 of training ground, NaN elsewhere."""
        side = batch.groups[min(batch.groups)].shape[-1] * min(batch.groups) // PIXEL_M
        labels = []
        for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True):
            index = self._index_of[key]
            entry, values = self.shards.entries[index], self.shards.values(index)
            row, column = round((entry.y_m - y) / PIXEL_M), round((x - entry.x_m) / PIXEL_M)
            labels.append(values[row : row + side, column : column + side])
        batch = replace(batch, label=np.stack(labels))
        keep = (self.roles_of(batch) == TRAIN) & measured(batch.groups)
        label = np.where(keep, self.target.to_output(np.stack(labels)), np.float32(np.nan))
        return TaskData.training_batch(self, replace(batch, label=label))

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {entry.key: index for index, entry in enumerate(self.shards.entries)}


class ChipValueData(_Values, ChipData):
    """Samples with one value each; their label is a 0-d float32 array in the quantity's unit."""

    answer = ANSWERS["regress_chips"]
    needs = "a value of its own"

    @classmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample has a value."""
        return entry.value is not None

    def target_of(self, index: int, sample: Any) -> np.ndarray:
        """Return a sample's value."""
        return np.array(self.shards.entries[index].value, np.float32)

    def add_label(self, counts: np.ndarray, index: int) -> None:
        """Count a sample's value."""
        counts[0] += 1

    def training_batch(self, batch: Batch) -> Batch:
        """Return a batch whose ``class_index`` are normalised values ``(B,)`` float32."""
        values = np.array([self._value_of[key] for key in batch.keys], np.float64)
        return replace(super().training_batch(batch), label=None, class_index=self.target.to_output(values))

    def _training_values(self) -> Iterator[np.ndarray]:
        for index in self.indices_of(TRAIN).tolist():
            yield np.array([self.shards.entries[index].value], np.float64)

    @cached_property
    def _value_of(self) -> dict[str, float]:
        return {self.shards.entries[index].key: self.shards.entries[index].value for index in self.indices.tolist()}
