"""Labelled shards under a split: the same ground, labels and blocks for a network and for its baselines."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.command_line.console import logger
from bandloom.draws.evenly import evenly
from bandloom.errors import LabelError, ShardError
from bandloom.finetune.data.own_bands import own_bands
from bandloom.finetune.data.splits import ROLES, TEST, TRAIN, Split
from bandloom.sensors import Sensor
from bandloom.shards.read.loader import Batch
from bandloom.target import Target
from bandloom.tasks import Answer, TaskName


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


class TaskData(ABC):
    """The labelled samples of one sensor in a shard set, with their roles; a class of its own for each kind of label.

    Args:
        shards: a :class:`bandloom.shards.read.shard_set.ShardSet`.
        split: gives pixels and chips their roles.
        sensor: which sensor's samples; one that lacks bands of the shards' own is given the others alone.

    Raises:
        LabelError: there are no labels of that kind.
    """

    answer: ClassVar[Answer]
    needs: ClassVar[str]  # what a sample must have, for an error

    def __init__(self, shards: Any, split: Split, sensor: Sensor) -> None:
        self.shards, self.split, self.sensor = shards, split, sensor
        self.label_set: LabelSet = self._labels()
        self.indices = self._find()

    @property
    def target(self) -> Target | None:
        """The quantity that is measured, where labels are values."""
        return None

    @property
    def task(self) -> TaskName:
        """The task that the labels teach."""
        return self.answer.task

    @classmethod
    @abstractmethod
    def has_label(cls, entry: Any) -> bool:
        """Tell whether a sample has this kind of label."""

    @classmethod
    def usable(cls, entry: Any) -> bool:
        """Tell whether a sample has this kind of label and is no copy of another."""
        return entry.split != "duplicate" and cls.has_label(entry)

    @classmethod
    def surveyed(cls) -> "type[TaskData] | None":
        """Return the data whose counts choose the side of a split's blocks; None: where the chips lie has to do."""
        return cls

    @abstractmethod
    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample with the labels of ``role``, or None when it has none there."""

    @abstractmethod
    def count(self, index: int) -> np.ndarray:
        """Return a sample's labels by role and class, ``(3, K)`` int64."""

    def training_batch(self, batch: Batch) -> Batch:
        """Return what a network is shown of a loader's batch, and what it learns of it: training labels alone."""
        return replace(batch, groups=dict(self.own(batch.groups)), sensor=self.sensor)

    def read(self, index: int) -> Any:
        """Return a sample with its groups and labels; a subclass may put it together from several."""
        return self.shards.read(index)

    def own(self, groups: Mapping[int, np.ndarray]) -> Mapping[int, np.ndarray]:
        """Return the bands of :attr:`sensor` among those that the shards hold, ``{gsd_m: (..., C, H, W)}``."""
        return own_bands(groups, self.shards.sensors[self.sensor.name], self.sensor)

    def samples(self, role: int) -> Iterator[Labelled]:
        """Yield every sample that has labels of ``role``, in the shards' order."""
        for index in self.indices_of(role).tolist():
            sample = self.labelled(index, role)
            if sample is not None:
                yield sample

    def indices_of(self, role: int) -> np.ndarray:
        """Return the indices of samples that have labels of ``role``."""
        return self.indices[self.counts[:, role].sum(-1) > 0]

    def some(self, role: int, most: int) -> Self:
        """Return a view of at most ``most`` samples that have labels of ``role``, evenly picked."""
        indices = self.indices_of(role)
        view = copy.copy(self)
        rows = np.searchsorted(self.indices, indices[evenly(len(indices), most)])
        view.indices, view.counts = self.indices[rows], self.counts[rows]
        return view

    @cached_property
    def counts(self) -> np.ndarray:
        """Labels by sample, role and class, ``(N, 3, K)`` int64."""
        return np.stack([self.count(index) for index in self.indices.tolist()])

    @property
    def by_role(self) -> np.ndarray:
        """How many labels each role has, ``(3,)``."""
        return self.counts.sum((0, 2))

    def labels_in(self, role: int) -> int:
        """Return how many labels a role has to be trained or scored on."""
        return int(self.by_role[role])

    def check(self) -> None:
        """Check that every role has labels, and that the classes to score were trained on; warn of those that were not.

        Raises:
            LabelError: a role has no labels, or no class of the test was trained on; another split can mend it.
        """
        for role in (0, 1, 2):
            if not self.by_role[role]:
                raise LabelError(
                    f"the split leaves no label for {ROLES[role]} ({_roles_text(self.by_role)}); use smaller blocks"
                    " (split.block_m), another split.seed, or more labelled ground."
                )
        by_class = self.counts.sum(0)  # (3, K)
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

    def _labels(self) -> LabelSet:
        """Return what the labels can be."""
        return labels_of(self.shards)

    def _find(self) -> np.ndarray:
        """Return the indices of the sensor's samples that have this kind of label."""
        entries = enumerate(self.shards.entries)
        indices = np.array([i for i, e in entries if e.sensor == self.sensor.name and self.usable(e)], np.int64)
        if not len(indices):
            raise LabelError(
                f"no sample of {self.sensor.name} in {self.shards.path} has {self.needs}, which task={self.task} needs;"
                " choose the other task, another sensor, or other shards."
            )
        return indices


def labels_of(shards: Any) -> LabelSet:
    """Return the label set of labelled shards.

    Raises:
        LabelError: they have none.
    """
    if shards.label_set is None:
        raise LabelError(
            f"the shards {shards.path} carry no labels; build them from scenes with masks or class folders, such as"
            " `bandloom shards synth`, or add labels with `bandloom labels prepare`."
        )
    return shards.label_set


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
