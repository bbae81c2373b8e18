"""Labelled shards under a split: the same ground, labels and blocks for a network and for its baselines."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bandloom.console import logger
from bandloom.errors import LabelError, ShardError
from bandloom.finetune.data.own_bands import measured, own_bands
from bandloom.finetune.data.splits import BUFFER, ROLES, TEST, TRAIN, Split, extent_role
from bandloom.finetune.model.task_model import Task
from bandloom.label_set import IGNORE_INDEX, LabelSet
from bandloom.sensors import Sensor


@dataclass(frozen=True)
class Labelled:
    """One sample with the labels of one role.

    Args:
        key: the sample's key.
        groups: native groups ``{gsd_m: (C, H, W)}`` uint16.
        label: ``(H, W)`` uint8 class indices of 10 m pixels, or a 0-d array for a chip; 255 where unknown, in another
            role, or not measured.
        blocks: the block of each label, same shape, uint64.
    """

    key: str
    groups: Mapping[int, np.ndarray]
    label: np.ndarray
    blocks: np.ndarray


class TaskData:
    """The labelled samples of one sensor in a shard set, with their roles.

    Args:
        shards: a :class:`bandloom.shards.read.shard_set.ShardSet`.
        task: ``segment`` reads label rasters, ``classify`` class indices.
        split: gives pixels and chips their roles.
        sensor: which sensor's samples; one that lacks bands of the shards' own is given the others alone.

    Raises:
        LabelError: there are no labels of that kind.
    """

    def __init__(self, shards: Any, task: Task, split: Split, sensor: Sensor) -> None:
        if shards.label_set is None:
            raise LabelError(
                f"the shards {shards.path} carry no labels; build them from scenes with masks or class folders, such as"
                " `bandloom shards synth`, or add labels with `bandloom labels prepare`."
            )
        self.shards, self.task, self.split, self.sensor = shards, task, split, sensor
        self.label_set: LabelSet = shards.label_set
        entries = enumerate(shards.entries)
        self.indices = np.array([i for i, e in entries if e.sensor == sensor.name and has_label(e, task)], np.int64)
        if not len(self.indices):
            if task == "multilabel":
                return  # its own class looks for other kinds of labels
            what = "a class of its own" if task == "classify" else "a label raster"
            raise LabelError(
                f"no sample of {sensor.name} in {shards.path} has {what}, which task={task} needs; choose the other"
                " task, another sensor, or other shards."
            )

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample with the labels of ``role``, or None when it has none there."""
        entry = self.shards.entries[index]
        corner = (entry.x_m, entry.y_m)
        if self.task == "classify":
            side = int(entry.side_px)
            if extent_role(self.split, entry, side) != role:
                return None
            block = self.split.blocks(entry, corner, (side, side))[side // 2, side // 2]
            sample = self.read(index)
            groups = self.own(sample.groups)
            return Labelled(sample.key, groups, np.array(sample.class_index, np.uint8), np.array(block))
        sample = self.read(index)
        label = mask_label(sample.label, sample.groups, self.split.roles(entry, corner, sample.label.shape), role)
        if (label == IGNORE_INDEX).all():
            return None
        return Labelled(sample.key, self.own(sample.groups), label, self.split.blocks(entry, corner, label.shape))

    def read(self, index: int) -> Any:
        """Return a sample with its groups and labels; a subclass may put it together from several."""
        return self.shards.read(index)

    def own(self, groups: Mapping[int, np.ndarray]) -> Mapping[int, np.ndarray]:
        """Return the bands of :attr:`sensor` among those that the shards hold, ``{gsd_m: (..., C, H, W)}``."""
        return own_bands(groups, self.shards.sensors[self.sensor.name], self.sensor)

    def samples(self, role: int) -> Iterator[Labelled]:
        """Yield every sample that has labels of ``role``, in the shards' order."""
        for index in self.indices_of(role):
            found = self.labelled(int(index), role)
            if found is not None:
                yield found

    def indices_of(self, role: int) -> np.ndarray:
        """Return the indices of samples that have labels of ``role``."""
        return self.indices[self.counts[:, role].sum(-1) > 0]

    def some(self, role: int, most: int) -> "TaskData":
        """Return a view of at most ``most`` samples that have labels of ``role``, evenly picked."""
        indices = self.indices_of(role)
        picked = (
            np.unique(np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)) if len(indices) else []
        )
        view = copy.copy(self)
        rows = np.searchsorted(self.indices, indices[picked])
        view.indices, view.counts = self.indices[rows], self.counts[rows]
        return view

    @cached_property
    def counts(self) -> np.ndarray:
        """Labels by sample, role and class, ``(N, 3, K)`` int64."""
        table = np.zeros((len(self.indices), len(ROLES), len(self.label_set)), np.int64)
        for row, index in enumerate(self.indices.tolist()):
            table[row] = self._count(index)
        return table

    def check(self) -> None:
        """Check that every role has labels, and that the classes to score were trained on; warn of those that were not.

        Raises:
            LabelError: a role has no labels, or no class of the test was trained on; another split can mend it.
        """
        by_role, by_class = self.counts.sum((0, 2)), self.counts.sum(0)  # (3,), (3, K)
        for role in (0, 1, 2):
            if not by_role[role]:
                raise LabelError(
                    f"the split leaves no label for {ROLES[role]} ({_roles_text(by_role)}); use smaller blocks"
                    " (split.block_m), another split.seed, or more labelled ground."
                )
        tested = by_class[TEST] > 0
        untaught = tested & (by_class[TRAIN] == 0)
        names = ", ".join(np.array(self.label_set.names)[untaught].tolist())
        if (untaught == tested).all():
            raise LabelError(
                f"the split tests on {names} alone, of which it leaves nothing to train on; use another split.seed,"
                " smaller blocks (split.block_m), or more labelled ground."
            )
        if untaught.any():
            logger.warning(
                "the split tests on %s, of which it leaves nothing to train on; another split.seed or"
                " smaller blocks (split.block_m) may mend it",
                names,
            )

    def describe(self) -> dict[str, Any]:
        """Return the split and how many labels of each class have each role."""
        totals = self.counts.sum(0)
        labels = {ROLES[r]: dict(zip(self.label_set.names, totals[r].tolist(), strict=True)) for r in range(3)}
        return {**self.split.describe(), "labels": labels, "samples": len(self.indices)}

    def _count(self, index: int) -> np.ndarray:
        entry, classes = self.shards.entries[index], len(self.label_set)
        table = np.zeros((len(ROLES), classes), np.int64)
        if self.task == "classify":
            role = extent_role(self.split, entry, int(entry.side_px))
            if role != BUFFER:
                table[role, entry.class_index] = 1
            return table
        sample = self.read(index)
        check_label(sample.label, sample.groups, self.label_set, sample.key)
        roles = self.split.roles(entry, (entry.x_m, entry.y_m), sample.label.shape)
        known = (sample.label != IGNORE_INDEX) & measured(sample.groups) & (roles != BUFFER)
        pair = roles[known].astype(np.int64) * classes + sample.label[known]
        return table + np.bincount(pair, minlength=table.size).reshape(table.shape)


def has_label(entry: Any, task: Task) -> bool:
    """Tell whether a sample has the kind of label that a task learns from, and is no copy of another."""
    if entry.split == "duplicate":
        return False
    return entry.class_index is not None if task == "classify" else entry.has_label


def mask_label(label: np.ndarray, groups: Mapping[int, np.ndarray], roles: np.ndarray, role: int) -> np.ndarray:
    """Return the labels ``(..., H, W)`` of one role on measured ground, 255 elsewhere."""
    return np.where((roles == role) & measured(groups), label, np.uint8(IGNORE_INDEX))


def check_label(label: np.ndarray, groups: Mapping[int, np.ndarray], label_set: LabelSet, key: str) -> None:
    """Check one label raster against its image and its label set.

    Raises:
        LabelError: it has another size than the image, or holds an index beyond the classes.
    """
    gsd_m, finest = min(groups.items())
    shape = tuple(side * gsd_m // 10 for side in finest.shape[-2:])
    if label.shape != shape:
        raise LabelError(
            f"the label of {key} is {label.shape[0]} x {label.shape[1]} pixels, its image {shape[0]} x {shape[1]} of"
            " 10 m; warp the mask onto the image's grid (nearest), as `bandloom labels prepare` does."
        )
    beyond = label[(label >= len(label_set)) & (label != IGNORE_INDEX)]
    if beyond.size:
        raise LabelError(
            f"the label of {key} holds the class index {int(beyond[0])}, but label set {label_set.name!r} has"
            f" {len(label_set)} classes (indices 0 to {len(label_set) - 1}, {IGNORE_INDEX} for none); build the shards"
            " again with the label set that the mask was drawn with."
        )


def pick_sensor(shards: Any, name: str | None) -> Sensor:
    """Return the one sensor of a shard set, or the named one.

    Raises:
        ShardError: the name is not in the shards, or it is missing and they hold several.
    """
    held = ", ".join(shards.sensors)
    if name is None and len(shards.sensors) > 1:
        raise ShardError(f"the shards {shards.path} hold several sensors ({held}); name one with sensor=NAME.")
    name = name or next(iter(shards.sensors))
    if name not in shards.sensors:
        raise ShardError(f"the shards {shards.path} hold no sensor {name!r} (they hold {held}); name one of these.")
    return shards.sensors[name]


def _roles_text(by_role: np.ndarray) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(ROLES, by_role.tolist(), strict=True))
