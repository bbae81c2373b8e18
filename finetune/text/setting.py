"""Start of an alignment: samples, captions, a text model and an encoder."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import ConfigError, TextError
from bandloom.finetune.data.labelled import pick_sensor
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.experiment import pretrained_or_random
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.captions.captions import Captions, make_captions
from bandloom.finetune.text.captions.words import sentences
from bandloom.finetune.text.config import SCRATCH, AlignConfig
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.text.samples import chip_side, sample_roles
from bandloom.finetune.text.text_model.scratch import write_small_model
from bandloom.finetune.text.text_model.sources import ModelSource, TextSource, open_text
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks


@dataclass(frozen=True)
class Alignment:
    """What a run trains on."""

    config: AlignConfig
    ranks: Ranks
    shards: ShardSet
    sensor: Sensor
    captions: Captions
    indices: np.ndarray  # samples of this sensor
    roles: np.ndarray  # of each: 0 train, 1 validation, 2 test
    held_out: tuple[int, ...]
    source: TextSource
    chip_px: int

    def of(self, role: int) -> np.ndarray:
        """Return the samples of a role; those that show a held-out class never train."""
        chosen = self.indices[self.roles == role]
        keys = [self.shards.entries[int(i)].key for i in chosen]
        if role != TRAIN:
            return chosen
        fit = [key in self.captions.of_key and not self.captions.shows(key, self.held_out) for key in keys]
        return chosen[np.array(fit, bool)]


def prepare(config: AlignConfig, ranks: Ranks) -> tuple[Alignment, AnyEncoder]:
    """Check everything that can be wrong before the first file is written."""
    shards = ShardSet(config.shards)
    sensor = pick_sensor(shards, config.sensor)
    indices = np.array([i for i, e in enumerate(shards.entries) if e.sensor == sensor.name], np.int64)
    captions = make_captions(config.captions, shards, indices, turned=config.augment, held_out=config.holdout_classes)
    source = _text_source(config, captions)
    _, roles = sample_roles(config.split, shards, indices)
    encoder = pretrained_or_random(config, Statistics.from_mapping(shards.statistics))
    side = chip_side(shards, indices, encoder)
    alignment = Alignment(
        config, ranks, shards, sensor, captions, indices, roles, _held_out(config, captions), source, side
    )
    few = len(alignment.of(TRAIN))
    if few < config.trainer.batch_size:
        raise ConfigError(
            f"{few} samples are left to train on, less than trainer.batch_size of"
            f" {config.trainer.batch_size}; lower it, or use more ground."
        )
    return alignment, encoder


def aligned_of(alignment: Alignment, model: AlignModel, kept: KeptVectors) -> Aligned:
    """Return a model under training as one that can be asked for words."""
    label_set = alignment.shards.label_set
    tower: Any = model.tower
    pooling = alignment.config.text.pooling if tower is None else tower.pooling
    record = {
        "text": alignment.source.describe() | {"pooling": pooling},
        "label_set": label_set.to_dict() if label_set else None,
        "words": [[word.name, *word.seen, *word.unseen] for word in alignment.captions.words],
        "held_out": [alignment.captions.words[i].name for i in alignment.held_out],
    }
    if model.tower is None:
        return Aligned(model, kept, alignment.source, record)
    return Aligned(model, KeptVectors("training"), _Tower(model.tower), record)


class _Tower:
    """A text model under training as a source; its vectors hold for this moment alone."""

    digest = "training"

    def __init__(self, tower: Any) -> None:
        self.tower, self.dim = tower, tower.dim

    def encode(self, texts: Any) -> np.ndarray:
        training = self.tower.training
        vectors = self.tower.encode(texts)
        self.tower.train(training)
        return vectors

    def describe(self) -> dict[str, Any]:
        return {}


def tower_trains(config: AlignConfig) -> bool:
    """Tell whether the text model trains, so that no vectors of it can be kept."""
    return config.text.mode == "full" or config.text.model == SCRATCH


def _text_source(config: AlignConfig, captions: Captions) -> TextSource:
    """Open the text model; one from scratch is made of the captions' words, the same on every rank."""
    if config.text.model == SCRATCH:
        words = [t for word in captions.words for t in sentences([*word.seen, *word.unseen], config.captions.templates)]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "small"
            write_small_model(
                place,
                [*captions.texts, *words],
                width=config.text.width,
                depth=config.text.depth,
                seed=config.trainer.seed,
            )
            source = ModelSource(place, config.text.pooling, "made from the captions")
            _ = source.tower  # read while the folder is there
            return source
    source = open_text(config.text.model, config.text.pooling)
    if config.text.mode == "full" and not isinstance(source, ModelSource):
        raise TextError(
            f"text.mode=full trains a text model, but {config.text.model} is a file of vectors; use text.mode=frozen."
        )
    _ = source.dim  # a model that cannot be loaded is said now
    return source


def _held_out(config: AlignConfig, captions: Captions) -> tuple[int, ...]:
    names = [word.name for word in captions.words]
    unknown = [name for name in config.holdout_classes if name not in names]
    if unknown:
        raise ConfigError(
            f"holdout_classes names {unknown[0]!r}, which is no class of the shards"
            f" ({', '.join(names) or 'they have none'})."
        )
    return tuple(names.index(name) for name in dict.fromkeys(config.holdout_classes))  # twice would count twice
