"""A shard set in memory."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.sensors import Sensor
from tests.finetune.models import LABELS, S2


@dataclass(frozen=True)
class FakeEntry:
    key: str
    x_m: float
    y_m: float
    side_px: int
    epsg: int | None = 32633
    split: str | None = None
    class_index: int | None = None
    sensor: str = S2.name
    has_label: bool = True
    datetime: Any = None
    shard: str = ""


@dataclass(frozen=True)
class FakeSample:
    key: str
    sensor: Sensor
    groups: dict[int, np.ndarray]
    label: np.ndarray | None
    class_index: int | None
    meta: dict[str, Any] = field(default_factory=dict)


class FakeShards:
    """Fields of three classes with spectra of their own and some noise; smooth in space."""

    path = Path("fake")

    def __init__(self, count: int = 4, side_px: int = 120, seed: int = 0, *, chips: bool = False) -> None:
        self.label_set: LabelSet | None = LABELS
        self.sensors = {S2.name: S2}
        self.statistics = {"mean": dict.fromkeys(S2.slots, 0.3), "std": dict.fromkeys(S2.slots, 0.15)}
        self.manifest: dict[str, Any] = {}
        self.entries = [
            FakeEntry(f"s{i}", 500_040.0 + 20_000 * i * (not chips) + 60 * i * chips, 5_000_040.0, side_px)
            for i in range(count)
        ]
        self.samples: list[FakeSample] = [
            self._sample(entry, np.random.default_rng([seed, i]), chips) for i, entry in enumerate(self.entries)
        ]

        if chips:
            self.entries = [
                replace(e, class_index=s.class_index, has_label=False)
                for e, s in zip(self.entries, self.samples, strict=True)
            ]

    def _sample(self, entry: FakeEntry, rng: np.random.Generator, chips: bool) -> FakeSample:
        side = entry.side_px // 6
        fields = rng.integers(0, 3, (side // 2 + 1, side // 2 + 1)).repeat(2, 0).repeat(2, 1)[:side, :side]
        if chips:
            fields[:] = rng.integers(0, 3)
        groups = {}
        for group in S2.groups:
            cover = fields.repeat(60 // group.gsd_m, 0).repeat(60 // group.gsd_m, 1)
            means = np.random.default_rng(group.gsd_m).integers(1500, 5000, (3, len(group.bands)))
            noise = rng.normal(0, 600, (len(group.bands), *cover.shape))
            groups[group.gsd_m] = np.clip(means[cover].transpose(2, 0, 1) + noise, 1, 60000).astype(np.uint16)
        label = None if chips else fields.repeat(6, 0).repeat(6, 1).astype(np.uint8)
        return FakeSample(entry.key, S2, groups, label, int(fields[0, 0]) if chips else None)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> FakeSample:
        return self.samples[index]
