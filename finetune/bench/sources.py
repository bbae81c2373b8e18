"""What features come from: a frozen encoder, the same network with random weights, or a baseline's plain statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bandloom.errors import ConfigError
from bandloom.finetune.baselines.classic import (
    Table,
    pixel_surroundings,
    random_filters,
    statistics_of_chip,
    tables_by_role,
)
from bandloom.finetune.baselines.public_encoders import encoder_planes
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.probes.frozen_features import frozen_features, weights_digest
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.model.statistics import Statistics
from bandloom.run_state.pieces import kept
from bandloom.scores import RowKind
from bandloom.sensors import Sensor

FILTERS = 256  # two features each: the 512 of torchgeo-bench's RCF
IMAGE_METHODS, PIXEL_METHODS = ("knn5", "knn20", "linear"), ("linear",)
Tables = dict[int, Table]
Pixels = Mapping[int, int]  # how many of a map's pixels are taken, by role


@dataclass(frozen=True)
class Source:
    """Where features come from.

    Args:
        name: of its rows.
        kind: the encoder itself, or what kind of baseline.
        tables: features of labelled samples by role, from a seed.
        made_of: what they depend on beside the set and the seed.
        drawn: whether another seed gives other features.
        extra: methods beside the usual ones.
        usual: whether neighbours and a linear map read them.
        encoder: that they come from, if any.
        path: where the encoder lies.
    """

    name: str
    kind: RowKind
    tables: Callable[[TaskData, int, Pixels], Tables]
    made_of: Any
    drawn: bool = False
    extra: tuple[str, ...] = ()
    usual: bool = True
    encoder: AnyEncoder | None = None
    path: Path | None = None

    def methods(self, per_pixel: bool) -> tuple[str, ...]:
        """Return which classifiers read its features: of pixels a linear one alone, of images neighbours too."""
        usual = PIXEL_METHODS if per_pixel else IMAGE_METHODS
        return (*(usual if self.usual else ()), *self.extra)

    def check(self, sensor: Sensor) -> None:
        """Check that the encoder takes a set's bands.

        Raises:
            CheckpointError: it does not.
        """
        if self.encoder is not None:
            self.encoder.check_sensor(sensor)


def encoder_sources(paths: Sequence[Path]) -> list[Source]:
    """Read encoders, each a source by the name of its folder.

    Raises:
        CheckpointError: one cannot be read.
        ConfigError: two have one name.
    """
    names = [_name(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two encoders are called {name!r}, the name of their folder; link one by another name.")
    return [_encoder_source(name, path) for name, path in zip(names, paths, strict=True)]


def untrained_source(source: Source) -> Source:
    """Return the same network with weights drawn from a seed."""
    encoder = source.encoder
    if encoder is None:
        raise ValueError(f"{source.name} is no encoder")

    def tables(data: TaskData, seed: int, pixels: Pixels) -> Tables:
        torch.manual_seed(seed)
        return encoder_tables(encoder.untrained().to(_device_of(encoder)), data, seed, pixels)

    made_of = ["untrained", encoder.to_record()]
    return Source(f"{source.name}, random weights", "random weights", tables, made_of, drawn=True, encoder=encoder)


def baseline_sources() -> list[Source]:
    """Return statistics of an image, or of a pixel and its surroundings; random filters; and how common classes are."""

    def statistics(data: TaskData, seed: int, pixels: Pixels) -> Tables:
        return _tables(pixel_surroundings if data.answer.per_pixel else statistics_of_chip, data, 0, pixels)

    def random_conv(data: TaskData, seed: int, pixels: Pixels) -> Tables:
        return _tables(partial(random_filters, filters=FILTERS, seed=seed), data, seed, pixels)

    return [
        Source("image statistics", "classic", statistics, "statistics", extra=("forest",)),
        Source(f"{2 * FILTERS} random filters", "classic", random_conv, "random filters by seed", drawn=True),
        Source("base rates", "trivial", statistics, "statistics", extra=("majority",), usual=False),
    ]


def encoder_tables(encoder: AnyEncoder, data: TaskData, seed: int, pixels: Pixels) -> Tables:
    """Return the mean token of every chip, or of every chosen pixel of a map the token that covers it.

    Args:
        encoder: whose tokens.
        data: labelled samples under a split.
        seed: of the encoder's weights, where they are drawn.
        pixels: how many of a map's pixels are taken, by role.
    """
    encoder.eval().learn_statistics(Statistics.from_mapping(data.shards.statistics))
    if data.answer.per_pixel:
        return _tables(partial(_planes, encoder), data, seed, pixels)
    features = frozen_features(encoder, data, 0)
    parts = {role: features.of(role) for role in (TRAIN, VAL, TEST)}
    return {role: Table(part.mean, part.labels, part.blocks) for role, part in parts.items()}


def _planes(encoder: AnyEncoder, sample: Labelled, data: TaskData) -> Any:
    return encoder_planes(encoder, sample.groups, data.sensor)


def _tables(features: Callable[[Labelled, TaskData], Any], data: TaskData, seed: int, pixels: Pixels) -> Tables:
    """Return the same labels of every source, and keep them: a killed unit goes on with its classifiers."""
    return kept(f"tables from seed {seed}", dict(pixels), lambda: tables_by_role(data, features, 0, pixels), Table)


def _encoder_source(name: str, path: Path) -> Source:
    encoder = load_encoder(checkpoint_folder(path)).eval()
    made_of = [weights_digest(encoder), encoder.to_record()]
    kind: RowKind = "public encoder" if "family" in encoder.to_record().get("encoder", {}) else "model"
    return Source(name, kind, partial(encoder_tables, encoder), made_of, encoder=encoder, path=path)


def _name(path: Path) -> str:
    whole = Path(str(path).rstrip("/"))
    return whole.parent.name if whole.name == "checkpoint" and whole.parent.name else whole.name


def _device_of(encoder: AnyEncoder) -> torch.device:
    return next(encoder.parameters()).device
