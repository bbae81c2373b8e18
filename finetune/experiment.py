"""Common start of every training on labels: shards under a split, an encoder, the chip size, and the ranks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.command_line.console import logger
from bandloom.errors import ConfigError
from bandloom.finetune.config import BandsKept, FinetuneConfig
from bandloom.finetune.data.labelled import TaskData, pick_sensor
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.splits import PIXEL_M
from bandloom.finetune.tasks.registry import get_task
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks
from bandloom.training.trainer import TrainerConfig

DEFAULT_CHIP_M = 1200


@dataclass(frozen=True)
class Experiment:
    """What all networks of a run share: the data, the chip, the ranks, and heads fitted before, by seed."""

    config: FinetuneConfig
    data: TaskData
    chip_px: int
    ranks: Ranks
    fitted: dict[int, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def task(self) -> FinetuneTask:
        """The record of the config's task."""
        return get_task(self.config.task)


def open_data(config: FinetuneConfig) -> TaskData:
    """Return the labelled samples that a config names, under its split, checked.

    Raises:
        BandloomError: the shards, the labels or the split cannot be used.
    """
    shards = ShardSet(config.shards)
    sensor = with_bands(pick_sensor(shards, config.sensor), config.bands)
    task = get_task(config.task)
    data = task.make_data(shards, config, make_split(config.split, shards, task.data, sensor), sensor)
    smallest = min(int(shards.entries[i].side_px) for i in data.indices)
    if config.chip_px is not None and config.chip_px > smallest:
        raise ConfigError(
            f"chip_px is {config.chip_px}, but samples of {config.shards} are {smallest} pixels wide; use"
            f" {smallest} or less."
        )
    if task.answer.several and config.chip_px not in (None, smallest):
        raise ConfigError(f"chip_px is {config.chip_px}, but {task.name} chips are whole samples; leave chip_px out.")
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


def open_experiment(config: FinetuneConfig, ranks: Ranks) -> tuple[Experiment, AnyEncoder]:
    """Check everything that can be wrong before the first file is written.

    Raises:
        BandloomError: the shards, the labels, the checkpoint or the split cannot be used.
    """
    data = open_data(config)
    encoder = pretrained_or_random(config, Statistics.from_mapping(data.shards.statistics))
    check_encoder(encoder, data.sensor, config)
    data.check()
    check_pairs(config, ranks)
    return Experiment(config, data, config.chip_px or default_chip_px(data, encoder), ranks), encoder


def check_pairs(config: FinetuneConfig, ranks: Ranks) -> None:
    """Check that chips that are to be mixed in pairs come in pairs.

    Raises:
        ConfigError: a micro batch holds an odd number of chips.
    """
    batch_size, parts = config.trainer.batch_size, ranks.world * config.trainer.engine.accumulate
    if config.perturb.mix != "none" and batch_size % parts == 0 and batch_size // parts % 2:
        raise ConfigError(
            f"perturb.mix mixes chips in pairs, and a micro batch holds {batch_size // parts} of them (batch_size"
            f" {batch_size} over {ranks.world} ranks and accumulate {config.trainer.engine.accumulate}); set"
            f" trainer.batch_size to a multiple of {2 * parts}."
        )


def check_encoder(encoder: AnyEncoder, sensor: Sensor, config: FinetuneConfig) -> None:
    """Check that the encoder takes the sensor, and that training takes no bands away from one that needs them all.

    Raises:
        CheckpointError: the sensor is of another level, or lacks a band that the encoder needs.
        ConfigError: bands are dropped in training.
    """
    encoder.check_sensor(sensor)
    if not encoder.knows_absent_bands and (config.perturb.drop_band or config.perturb.other_sensor):
        raise ConfigError(
            "perturb takes bands away from training chips, and this public encoder reads all bands of its sensor; set"
            " perturb.drop_band and perturb.other_sensor to 0."
        )


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


def default_chip_px(data: TaskData, encoder: AnyEncoder) -> int:
    """Return the side of a chip: the whole sample to classify, at most 1.2 km of it to segment, if the encoder can."""
    side_m = min(int(data.shards.entries[i].side_px) for i in data.indices) * PIXEL_M
    wanted_m = min(side_m, DEFAULT_CHIP_M) if data.answer.per_pixel else side_m
    wanted_m, step_m = min(wanted_m, encoder.longest_chip_m or wanted_m), encoder.chip_step_m
    side_px = max(1, wanted_m // step_m) * step_m // PIXEL_M
    if not data.answer.per_pixel:
        say_cropped(side_px, side_m // PIXEL_M, encoder)
    return side_px


def say_cropped(chip_px: int, sample_px: int, encoder: AnyEncoder) -> None:
    """Warn where one answer for a sample is given from a part of it, with the way out."""
    if chip_px >= sample_px:
        return
    longest = encoder.longest_chip_m
    why = f"tokens of {encoder.config.token_m} m do not tile more"
    if longest is not None and longest < sample_px * PIXEL_M:
        why = f"the encoder was pretrained on at most {longest // PIXEL_M}"
    logger.warning(
        "of samples of %d pixels the model sees %d (%s), and labels or captions speak of all; build the shards with"
        " --side %d",
        sample_px,
        chip_px,
        why,
        chip_px,
    )
