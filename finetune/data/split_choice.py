"""From a split's config to a split: blocks as large as the labelled ground allows, or whole scenes, dates or places."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.draws.evenly import evenly
from bandloom.errors import ConfigError, nearest
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import (
    BUFFER,
    PIXEL_M,
    ROLES,
    BlockSplit,
    Split,
    extent_role,
    given_split,
    ordered_split,
    published_split,
)
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet

BLOCK_SIDES_M = (9600, 4800, 2400, 1200, 600, 300)
FEWEST_TEST_BLOCKS = 3  # an interval by blocks needs some
LOOKED_AT = 200  # samples from which the side of a block is chosen


def make_split(config: SplitConfig, shards: ShardSet, kind: type[TaskData], sensor: Sensor) -> Split:
    """Return the split that the config names.

    Args:
        config: which kind of split, and its sizes.
        shards: a :class:`bandloom.shards.read.shard_set.ShardSet`.
        kind: the class of the labelled samples that will be put under the split.
        sensor: which sensor's samples.

    Raises:
        ConfigError: the shards lack what this kind of split needs.
    """
    entries = [entry for entry in shards.entries if entry.sensor == sensor.name and kind.usable(entry)]
    if config.kind == "published":
        whole = [entry for entry in shards.entries if entry.sensor == sensor.name]  # of two dates one has no label
        return published_split(whole, _published_name(config, shards))
    if config.kind == "given":
        return given_split(entries)
    if config.kind in ("scene", "time", "longitude"):
        return _grouped(config, entries)
    if config.kind == "random":
        logger.warning("a random split lets the model see its test pixels' neighbours; use split.kind=block to publish")
        return _random(config, entries, kind)
    if any(entry.epsg is None for entry in entries):
        raise ConfigError("split.kind=block needs samples with a place; use split.kind=given, scene or random.")
    return _blocks(config, shards, kind, sensor)


def scene_of(key: str) -> str:
    """Return the scene that a sample was cut from: its key without the place in the scene."""
    return re.sub(r"_r\d+_c\d+$", "", key)


def _published_name(config: SplitConfig, shards: ShardSet) -> str:
    """Return which published split is meant.

    Raises:
        ConfigError: the shards carry none, or not that one.
    """
    record = shards.manifest.get("published")
    if record is None:
        raise ConfigError(
            f"the shards {shards.path} carry no published split; build them from the set as it is published (`bandloom"
            " labels prepare DIR --form NAME`), or use split.kind=block."
        )
    name, known = config.published or record["default"], list(record["splits"])
    if name not in known:
        raise ConfigError(
            f"split.published is {name!r}; the shards {shards.path} carry {', '.join(known)}.{nearest(name, known)}"
        )
    return name


def _blocks(config: SplitConfig, shards: ShardSet, kind: type[TaskData], sensor: Sensor) -> BlockSplit:
    """Return the largest blocks that give every role its share and every class a place in training and test."""
    if config.block_m is not None:
        return _block_split(config, config.block_m)
    fallback: BlockSplit | None = None
    for side in BLOCK_SIDES_M:
        if side <= config.buffer_m:
            break
        split = _block_split(config, side)
        shares, classes = _what_it_gives(shards, kind, split, sensor)
        if not all(given >= 0.5 * wanted for given, wanted in zip(shares, _wanted(config), strict=True)):
            continue
        fallback = fallback or split
        if classes:
            return split
    return fallback or _block_split(config, BLOCK_SIDES_M[-1])


def _what_it_gives(
    shards: ShardSet, kind: type[TaskData], split: BlockSplit, sensor: Sensor
) -> tuple[np.ndarray, bool]:
    """Return each role's share of the labels looked at, and whether every class is in training and test."""
    surveyed = kind.surveyed()
    if surveyed is None:
        return _shares_of_chips(shards, split, sensor), True
    data = surveyed(_Subset(shards, surveyed), split, sensor)
    counts = data.counts.sum(0)  # (3, K)
    occurs = counts.sum(0) > 0.01 * counts.sum()
    everywhere = bool((counts[0][occurs] > 0).all() and (counts[2][occurs] > 0).all())
    tested_m2 = counts[2].sum() * PIXEL_M**2
    if data.answer.per_pixel and tested_m2 < FEWEST_TEST_BLOCKS * data.split.describe()["block_m"] ** 2:
        everywhere = False
    return counts.sum(1) / max(counts.sum(), 1), everywhere


def _shares_of_chips(shards: ShardSet, split: BlockSplit, sensor: Sensor) -> np.ndarray:
    entries = [entry for entry in shards.entries if entry.sensor == sensor.name]
    sampled = entries[:: max(1, len(entries) // LOOKED_AT)]
    roles = np.array([extent_role(split, entry, int(entry.side_px)) for entry in sampled])
    return np.array([(roles == role).sum() for role in range(len(ROLES))]) / max(1, (roles != BUFFER).sum())


def _wanted(config: SplitConfig) -> tuple[float, float, float]:
    return 1 - config.val - config.test, config.val, config.test


def _block_split(config: SplitConfig, side: int) -> BlockSplit:
    return BlockSplit(side, config.buffer_m, config.val, config.test, config.seed)


def _random(config: SplitConfig, entries: Sequence[Any], kind: type[TaskData]) -> Split:
    single_pixels = kind.answer.per_pixel and kind.answer.dates == 1
    if single_pixels and all(entry.epsg is not None for entry in entries):
        return BlockSplit(PIXEL_M, 0, config.val, config.test, config.seed)
    return ordered_split("random", {e.key: [e.key] for e in entries}, config.val, config.test, seed=config.seed)


def _grouped(config: SplitConfig, entries: Sequence[Any]) -> Split:
    of: dict[str, Callable[[Any], Any]] = {
        "scene": lambda e: scene_of(e.key),
        "time": lambda e: e.datetime,
        "longitude": lambda e: (e.epsg, e.x_m),
    }
    groups: dict[Any, list[str]] = defaultdict(list)
    for entry in entries:
        value = of[config.kind](entry)
        if value is None or value == (None, entry.x_m):
            raise ConfigError(f"sample {entry.key!r} has no {config.kind}; use split.kind=scene or given.")
        groups[value].append(entry.key)
    ordered = {str(value): groups[value] for value in sorted(groups, key=str if config.kind == "time" else None)}
    return ordered_split(
        config.kind, ordered, config.val, config.test, seed=config.seed if config.kind == "scene" else None
    )


class _Subset:
    """At most :data:`LOOKED_AT` labelled samples of a shard set, spread evenly, each read once."""

    def __init__(self, shards: ShardSet, kind: type[TaskData]) -> None:
        labelled = [i for i, entry in enumerate(shards.entries) if kind.usable(entry)]
        picked = evenly(len(labelled), LOOKED_AT)
        self._indices = [labelled[i] for i in picked]
        self._shards, self.path, self.label_set, self.sensors = shards, shards.path, shards.label_set, shards.sensors
        self.entries = [shards.entries[i] for i in self._indices]
        self.quantity = getattr(shards, "quantity", None)
        self._read: dict[int, Any] = {}

    def values(self, index: int) -> np.ndarray:
        """Return the measured values of the sample at a place of :attr:`entries`."""
        return self._shards.values(self._indices[index])

    def read(self, index: int) -> Any:
        """Return the sample at a place of :attr:`entries`."""
        if index not in self._read:
            self._read[index] = self._shards.read(self._indices[index])
        return self._read[index]
