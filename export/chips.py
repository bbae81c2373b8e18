"""Held chips: what models are compared on before a bundle is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.console import logger
from bandloom.errors import ShardError
from bandloom.values import NODATA, SATURATED, reflectance_to_dn
from export.record import Contract
from export.runner import Groups

CHIPS = 8
SPLITS = ("test", "val", None)  # where to look for chips first


@dataclass(frozen=True)
class Chips:
    """Native groups ``{gsd_m: (B, C, H, W)}`` uint16, labels ``(B, H, W)`` or ``(B,)`` if known, and their origin."""

    groups: Groups
    source: str
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.groups.values())))

    def take(self, count: int) -> "Chips":
        """Return the first ``count`` chips."""
        labels = None if self.labels is None else self.labels[:count]
        return Chips({gsd_m: dn[:count] for gsd_m, dn in self.groups.items()}, self.source, labels)


def held_chips(contract: Contract, shards: Path | None, count: int = CHIPS) -> Chips:
    """Return chips from shards, or drawn from the model's statistics where there are none; some samples are absent.

    One chip always has a hole and a saturated spot, so that the parity of absent samples is measured too.
    """
    chips = None if shards is None else _from_shards(contract, shards, count)
    return _with_absent_samples(chips or _drawn(contract, count))


def _from_shards(contract: Contract, path: Path, count: int) -> Chips | None:
    from shards.shard_set import ShardSet

    try:
        shards = ShardSet(path)
    except ShardError as cause:
        logger.warning("golden chips are drawn from the statistics: %s", cause)
        return None
    for split in SPLITS:
        found = [int(i) for i in shards.indices(split) if shards.entries[int(i)].sensor == contract.sensor["name"]]
        if found:
            picked = [found[i] for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
            return _cut(contract, shards, picked, f"{path.name}, {split or 'all'} split")
    logger.warning("golden chips are drawn from the statistics: %s has none of %s", path, contract.sensor["name"])
    return None


def _cut(contract: Contract, shards, picked: list[int], source: str) -> Chips:  # noqa: ANN001  (ShardSet)
    samples = [shards.read(i) for i in picked]
    side = contract.tile_px
    groups = {g.gsd_m: np.stack([_corner(s.groups[g.gsd_m], side * 10 // g.gsd_m) for s in samples])
              for g in contract.groups}  # fmt: skip
    if contract.task == "classify":
        known = all(sample.class_index is not None for sample in samples)
        return Chips(groups, source, np.array([s.class_index for s in samples]) if known else None)
    known = all(sample.label is not None for sample in samples)
    labels = np.stack([_corner(s.label[None], side, fill=255)[0] for s in samples]) if known else None
    return Chips(groups, source, labels)


def _corner(pixels: np.ndarray, side: int, fill: int = NODATA) -> np.ndarray:
    """Cut ``(C, H, W)`` to its upper-left ``side``, padding with absent samples."""
    cut = pixels[:, :side, :side]
    missing = ((0, 0), (0, side - cut.shape[1]), (0, side - cut.shape[2]))
    return np.pad(cut, missing, constant_values=fill)


def _drawn(contract: Contract, count: int) -> Chips:
    """Draw samples around the training means: smooth over ground, so that neighbouring tokens differ little."""
    rng = np.random.default_rng(0)
    side_m = contract.tile_px * 10
    groups = {}
    for group in contract.groups:
        side = side_m // group.gsd_m
        mean = np.array([contract.statistics["mean"][slot] for slot in group.slots])[:, None, None]
        std = np.array([contract.statistics["std"][slot] for slot in group.slots])[:, None, None]
        slow = rng.normal(size=(count, len(group.bands), 1 + side // 6, 1 + side // 6)).repeat(6, 2).repeat(6, 3)
        noise = slow[..., :side, :side] + rng.normal(size=(count, len(group.bands), side, side)) / 2
        groups[group.gsd_m] = reflectance_to_dn(mean + std * noise)
    return Chips(groups, "drawn from the training statistics")


def _with_absent_samples(chips: Chips) -> Chips:
    groups = {gsd_m: dn.copy() for gsd_m, dn in chips.groups.items()}
    for dn in groups.values():
        third = max(dn.shape[-1] // 3, 1)
        dn[-1, :, :third, :third] = NODATA
        dn[-1, 0, -third:, -third:] = SATURATED
    return Chips(groups, chips.source, chips.labels)
