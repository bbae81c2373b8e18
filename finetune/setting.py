"""What every way of learning from labels starts from: shards under a split, an encoder, a chip, and the ranks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.config import BandsKept, FinetuneConfig
from bandloom.finetune.data.change import ChangeData
from bandloom.finetune.data.labelled import TaskData, pick_sensor
from bandloom.finetune.data.multilabel import MultilabelData
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.splits import PIXEL_M, Split
from bandloom.finetune.model.task_model import CHIP_TASKS
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import load_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks
from bandloom.training.trainer import TrainerConfig

DEFAULT_CHIP_M = 1200


@dataclass(frozen=True)
class Setting:
    """What all networks of a run share: the data, the chip and the ranks."""

    config: FinetuneConfig
    data: TaskData
    chip_px: int
    ranks: Ranks


def open_data(config: FinetuneConfig) -> TaskData:
    """Return the labelled samples that a config names, under its split, checked.

    Raises:
        BandloomError: the shards, the labels or the split cannot be used.
    """
    shards = ShardSet(config.shards)
    sensor = with_bands(pick_sensor(shards, config.sensor), config.bands)
    if shards.label_set is None:
        raise LabelError(
            f"the shards {config.shards} carry no labels; build them from scenes with masks, or choose labelled shards."
        )
    split = make_split(config.split, shards, config.task, sensor)
    data = make_task_data(shards, config, split, sensor)
    smallest = min(int(shards.entries[i].side_px) for i in data.indices)
    if config.chip_px is not None and config.chip_px > smallest:
        raise ConfigError(
            f"chip_px is {config.chip_px}, but samples of {config.shards} are {smallest} pixels wide; use"
            f" {smallest} or less."
        )
    if config.task == "multilabel" and config.chip_px not in (None, smallest):
        raise ConfigError(f"chip_px is {config.chip_px}, but multilabel chips are whole samples; leave chip_px out.")
    return data


def with_bands(sensor: Sensor, bands: BandsKept) -> Sensor:
    """Return a sensor cut down to a named subset of bands.

    Raises:
        ConfigError: it has none of them.
    """
    if bands == "all":
        return sensor
    kept = [band.name for band in sensor.bands if band.slot in BAND_SUBSETS[bands]]
    if not kept:
        raise ConfigError(f"bands is {bands!r}, of which {sensor.name!r} has none; use bands=all.")
    return sensor.subset(kept)


def make_task_data(shards: Any, config: FinetuneConfig, split: Split, sensor: Sensor) -> TaskData:
    """Return the samples of the config's task: with one answer each or by pixel, with several, or pairs of dates."""
    if config.task == "change":
        return ChangeData(shards, split, sensor, config.change_labels)
    if config.task == "multilabel":
        return MultilabelData(shards, split, sensor, config.presence, config.chip_labels)
    return TaskData(shards, config.task, split, sensor)


def open_setting(config: FinetuneConfig, ranks: Ranks) -> tuple[Setting, AnyEncoder]:
    """Check everything that can be wrong before the first file is written.

    Raises:
        BandloomError: the shards, the labels, the checkpoint or the split cannot be used.
    """
    data = open_data(config)
    encoder = pretrained_or_random(config, Statistics.from_mapping(data.shards.statistics))
    data.check()
    return Setting(config, data, config.chip_px or default_chip_px(data, encoder), ranks), encoder


class EncoderChoice(Protocol):
    """The keys of a config that say which encoder a training starts from."""

    @property
    def checkpoint(self) -> Path | None: ...  # noqa: D102
    @property
    def size(self) -> str: ...  # noqa: D102
    @property
    def token_m(self) -> int: ...  # noqa: D102
    @property
    def trainer(self) -> TrainerConfig: ...  # noqa: D102


def pretrained_or_random(config: EncoderChoice, statistics: Statistics) -> AnyEncoder:
    """Return the checkpoint's encoder, or one of the named size with weights drawn from the seed."""
    torch.manual_seed(config.trainer.seed)
    if config.checkpoint is None:
        return Encoder(EncoderConfig.of_size(config.size, token_m=config.token_m), statistics)
    encoder = load_encoder(checkpoint_folder(config.checkpoint))
    encoder.learn_statistics(statistics)
    return encoder


def checkpoint_folder(path: Path) -> Path:
    """Return a run's finished checkpoint when a run folder is given, or the path itself."""
    return path / "checkpoint" if (path / "checkpoint").is_dir() else path


def default_chip_px(data: TaskData, encoder: AnyEncoder) -> int:
    """Return the side of a chip: the whole sample to classify, at most 1.2 km of it to segment, if the encoder can."""
    side_m = min(int(data.shards.entries[i].side_px) for i in data.indices) * PIXEL_M
    wanted_m = side_m if data.task in CHIP_TASKS else min(side_m, DEFAULT_CHIP_M)
    wanted_m, step_m = min(wanted_m, encoder.longest_chip_m or wanted_m), encoder.chip_step_m
    return max(1, wanted_m // step_m) * step_m // PIXEL_M
