"""The label sets of a benchmark: prepared sets and labelled shards, each under each of its published splits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bandloom.command_line.config import load_config
from bandloom.errors import BandloomError, ConfigError, nearest
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData, pick_sensor
from bandloom.finetune.experiment import open_data, with_bands
from bandloom.finetune.tasks.registry import TASKS, get_task
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.manifest import MANIFEST, read_manifest

CONFIG, SHARDS = "finetune.yaml", "shards"  # what `bandloom labels prepare` writes of a public set


@dataclass(frozen=True)
class BenchSet:
    """One label set under one split.

    Args:
        name: of its folder, and of the split where there are several.
        config: as a fine-tuning on it takes it.
    """

    name: str
    config: FinetuneConfig

    @property
    def task(self) -> FinetuneTask:
        """The record of its task."""
        return get_task(self.config.task)

    @property
    def score(self) -> str:
        """The score that public benchmarks report of such a task."""
        if self.task.published_score is None:
            known = ", ".join(task.name for task in TASKS.values() if task.published_score)
            raise ConfigError(f"{self.name} is of task {self.task.name}, which has no row in a benchmark; use {known}.")
        return self.task.published_score

    @cached_property
    def sensor(self) -> Sensor:
        """The bands that encoders are shown."""
        return with_bands(pick_sensor(ShardSet(self.config.shards), self.config.sensor), self.config.bands)

    def open(self) -> TaskData:
        """Return its labelled samples, checked.

        Raises:
            BandloomError: its shards, its labels or its split cannot be used.
        """
        data = open_data(self.config)
        data.check()
        return data

    @cached_property
    def made_of(self) -> list[Any]:
        """What its samples, labels and roles depend on, wherever it lies."""
        config = self.config.model_dump(mode="json")
        keys = ("task", "change_labels", "sensor", "bands", "presence", "split")
        files = [self.config.shards / MANIFEST, *([self.config.chip_labels] if self.config.chip_labels else [])]
        return [{key: config[key] for key in keys}, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)]


def find_sets(folder: Path, only: list[str]) -> tuple[list[BenchSet], dict[str, str]]:
    """Return the label sets in a folder, or the one that it is; and those that cannot be scored, each with the reason.

    Raises:
        ConfigError: there is none, or none of a name in ``only``.
    """
    if not folder.is_dir():
        raise ConfigError(f"--sets {folder} is no folder; name the one that your prepared label sets lie in.")
    places = [folder] if _is_set(folder) else [place for place in sorted(folder.iterdir()) if _is_set(place)]
    if not places:
        raise ConfigError(
            f"{folder} holds no prepared label set; make one with: bandloom labels prepare SET --form NAME --out"
            f" {folder}/NAME, or build labelled shards there."
        )
    usable: list[BenchSet] = []
    refused: dict[str, str] = {}
    for place in places:
        try:
            usable += [label_set for label_set in _sets_of(place) if label_set.score and label_set.sensor]
        except BandloomError as cause:
            refused[place.name] = str(cause)
    return _chosen(usable, only, refused), refused


def _chosen(usable: list[BenchSet], only: list[str], refused: dict[str, str]) -> list[BenchSet]:
    names = [label_set.name for label_set in usable]
    for name in only:
        if name not in names:
            raise ConfigError(
                f"--only {name!r} is {refused.get(name, 'not there')}; use {', '.join(names)}.{nearest(name, names)}"
            )
    return [label_set for label_set in usable if not only or label_set.name in only]


def _is_set(place: Path) -> bool:
    return (place / CONFIG).is_file() or (place / MANIFEST).is_file()


def _sets_of(place: Path) -> Iterator[BenchSet]:
    """Yield a set under each of its published splits; one that is split otherwise once."""
    config = _config_of(place)
    manifest = read_manifest(config.shards)
    published = manifest.get("published") if config.split.kind == "published" else None
    if published is None:
        yield BenchSet(place.name, config)
        return
    for split in published["splits"]:
        name = place.name if split == published["default"] else f"{place.name} ({split})"
        yield BenchSet(name, config.with_changes(split=config.split.with_changes(published=split)))


def _config_of(place: Path) -> FinetuneConfig:
    """Return the config of a prepared set, which may have been moved, or one for labelled shards."""
    if (place / CONFIG).is_file():
        config = load_config(FinetuneConfig, place / CONFIG)
        beside = {"shards": place / SHARDS}
        if config.chip_labels is not None:
            beside["chip_labels"] = place / config.chip_labels.name
        return config.with_changes(**{key: path for key, path in beside.items() if path.exists()})
    entries = ShardSet(place).entries
    chips = any(entry.class_index is not None for entry in entries)
    placed = all(entry.epsg is not None for entry in entries)
    told = {"task": "classify" if chips else "segment", "split": {"kind": "block" if placed else "given"}}
    return FinetuneConfig.model_validate({"shards": place, **told})
