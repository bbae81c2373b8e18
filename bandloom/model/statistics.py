"""Mean and deviation of reflectance by slot: from the manifest of the shards to the checkpoint to the engine."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import model_validator

from bandloom.command_line.config import Config
from bandloom.errors import CheckpointError
from bandloom.sensors import SLOTS


class Statistics(Config):
    """Mean and standard deviation of reflectance over the valid training samples, by slot name."""

    mean: dict[str, float]
    std: dict[str, float]

    @model_validator(mode="after")
    def _check(self) -> "Statistics":
        if set(self.mean) != set(self.std):
            raise ValueError("mean and std must name the same slots")
        if not self.mean:
            raise ValueError("at least one slot needs statistics")
        for slot, value in self.std.items():
            if slot not in SLOTS:
                raise ValueError(f"{slot!r} is no slot; use {', '.join(SLOTS)}")
            if not (value > 0 and np.isfinite(value) and np.isfinite(self.mean[slot])):
                raise ValueError(f"slot {slot} needs a finite mean and a positive std")
        return self

    def require(self, slots: Sequence[str]) -> None:
        """Check that every slot has statistics.

        Raises:
            CheckpointError: a slot has none, so its reflectance cannot be normalised.
        """
        missing = [slot for slot in slots if slot not in self.mean]
        if missing:
            raise CheckpointError(
                f"the model has no statistics for {', '.join(missing)}: it was trained without"
                f" {'it' if len(missing) == 1 else 'them'} (it knows {', '.join(self.mean)}); use a checkpoint trained"
                " on this sensor, or leave the band out of the sensor."
            )

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and std in slot order, ``(13,)`` float32 each; slots without statistics hold 0 and 1."""
        mean = np.array([self.mean.get(slot, 0.0) for slot in SLOTS], np.float32)
        std = np.array([self.std.get(slot, 1.0) for slot in SLOTS], np.float32)
        return mean, std

    @classmethod
    def from_mapping(cls, record: Mapping[str, Mapping[str, float]]) -> "Statistics":
        """Build from the manifest's ``{"mean": {...}, "std": {...}}``; other keys there are not needed."""
        return cls(mean=dict(record["mean"]), std=dict(record["std"]))
