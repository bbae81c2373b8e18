"""Batches on the training device: native uint16 is copied, scaling and normalising happen there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bandloom.errors import ConfigError
from bandloom.sensors import Sensor
from bandloom.training.device_memory import to_device


class LoadedBatch(Protocol):
    """What a loader yields: numpy arrays of one sensor's native groups."""

    @property
    def sensor(self) -> Sensor:
        """Whose groups they are."""
        ...

    @property
    def groups(self) -> Mapping[int, np.ndarray]:
        """Digital numbers by gsd in metres, ``(B, C, H, W)`` uint16."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """Sample keys."""
        ...

    @property
    def draws(self) -> np.ndarray:
        """One random key a sample and epoch, ``(B,)`` uint64."""
        ...

    @property
    def label(self) -> np.ndarray | None:
        """Class indices, ``(B, H, W)`` uint8 at 10 m."""
        ...

    @property
    def class_index(self) -> np.ndarray | None:
        """Class of the chip, ``(B,)`` int64."""
        ...

    @property
    def rest(self) -> Sequence["LoadedBatch"]:
        """The other micro batches of a batch that mixes sensors; empty else."""
        ...


@dataclass(frozen=True)
class DeviceBatch:
    """Tensors of one sensor; ``draws`` stays on the host, where masks and augmentation are drawn.

    Of a batch that mixes sensors this is the first micro batch, and ``rest`` are the others.
    """

    sensor: Sensor
    groups: dict[int, Tensor]
    keys: tuple[str, ...]
    draws: np.ndarray
    label: Tensor | None
    class_index: Tensor | None
    rest: tuple["DeviceBatch", ...] = ()

    @classmethod
    def of(cls, batch: LoadedBatch, device: torch.device) -> "DeviceBatch":
        """Move a loader's batch to ``device``."""

        def move(array: Any) -> Tensor | None:
            return None if array is None else to_device(array, device)

        groups = {gsd: to_device(group, device) for gsd, group in batch.groups.items()}
        rest = tuple(cls.of(other, device) for other in batch.rest)
        return cls(
            batch.sensor,
            groups,
            tuple(batch.keys),
            np.asarray(batch.draws),
            move(batch.label),
            move(batch.class_index),
            rest,
        )

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Sample keys of all micro batches."""
        return sum((other.keys for other in self.rest), self.keys)

    def tensors(self) -> Iterator[Tensor]:
        """Yield everything that lies on the device, of all micro batches."""
        for batch in (self, *self.rest):
            yield from batch.groups.values()
            yield from (tensor for tensor in (batch.label, batch.class_index) if tensor is not None)

    def split(self, parts: int) -> list["DeviceBatch"]:
        """Cut into equal micro batches; a batch that mixes sensors came as such.

        Raises:
            ConfigError: the batch does not divide, or was mixed of another number.
        """
        if self.rest:
            if len(self.rest) + 1 != parts:
                raise ConfigError(f"a batch was mixed of {len(self.rest) + 1} micro batches where accumulate={parts}.")
            return [replace(self, rest=()), *self.rest]
        size, rest = divmod(len(self.keys), parts)
        if rest or not size:
            raise ConfigError(
                f"a batch of {len(self.keys)} samples a rank does not divide into accumulate={parts} micro batches;"
                " choose a batch_size that is a multiple of ranks x accumulate."
            )
        return [self[i * size : (i + 1) * size] for i in range(parts)]

    def __getitem__(self, part: slice) -> "DeviceBatch":
        groups = {gsd: group[part] for gsd, group in self.groups.items()}
        label = None if self.label is None else self.label[part]
        classes = None if self.class_index is None else self.class_index[part]
        return DeviceBatch(self.sensor, groups, self.keys[part], self.draws[part], label, classes)
