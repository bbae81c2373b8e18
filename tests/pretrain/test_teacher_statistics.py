"""The statistics that whiten a teacher's tokens, taken over real shards, and the tokens that are kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError, ConfigError
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig, PretrainConfig
from bandloom.pretrain.objectives import Distillation
from bandloom.pretrain.start import random_model
from bandloom.pretrain.teacher_statistics import prepare_teacher
from bandloom.sensors import get_sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.device_batch import DeviceBatch
from tests.public_encoder_folders import tiny_galileo


def objective(shards: ShardSet, folder: Path, **more: object) -> Distillation:
    config = ObjectiveConfig(**({"kind": "distil", "teacher": folder} | more))
    whole = PretrainConfig(shards=shards.path, size="demo", objective=config)
    made = random_model(whole, Statistics.from_mapping(shards.statistics)).objective
    assert isinstance(made, Distillation)
    return made


@pytest.mark.parametrize("whitening", ["channels", "full"])
def test_the_tokens_of_the_training_shards_are_white(shards: Path, tmp_path: Path, whitening: str) -> None:
    shard_set = ShardSet(shards)
    made = objective(shard_set, tiny_galileo(tmp_path / "galileo"), whitening=whitening)
    prepare_teacher(made, shard_set, shard_set.indices(), 60)
    assert not made.kept  # crops differ from epoch to epoch
    assert int(made.seen) == 100 * len(shard_set.indices())
    tokens = []
    for index in shard_set.indices():
        groups = {}
        for gsd, group in shard_set.read(int(index)).groups.items():
            start, side = 300 // gsd, 600 // gsd
            groups[gsd] = torch.from_numpy(group[None, :, start : start + side, start : start + side])
        tokens.append(made.target(DeviceBatch(get_sensor("sentinel2-l1c"), groups, ("x",), np.zeros(1), None, None))[0])
    white = torch.cat(tokens).flatten(0, 1)
    assert white.mean(0).abs().max() < 1e-3
    deviation = white.std(0)
    assert deviation.max() < 1.01
    assert deviation.median() > (0.9 if whitening == "channels" else 0.3)  # directions without variance stay small


def test_tokens_of_samples_that_are_seen_whole_are_kept(shards: Path, tmp_path: Path) -> None:
    shard_set = ShardSet(shards)
    made = objective(shard_set, tiny_galileo(tmp_path / "galileo"))
    with pytest.raises(ConfigError, match="crop_px=72"):  # a public teacher takes 720 m, the samples are 1,200
        prepare_teacher(made, shard_set, shard_set.indices(), None)
    own = Encoder(EncoderConfig.of_size("demo"), Statistics.from_mapping(shard_set.statistics))
    save_encoder(tmp_path / "own", own, list(shard_set.sensors.values()), {})
    made = objective(shard_set, tmp_path / "own")
    prepare_teacher(made, shard_set, shard_set.indices()[:3], None)
    for index in shard_set.indices()[:3]:
        sample = shard_set.read(int(index))
        groups = {gsd: torch.from_numpy(group)[None] for gsd, group in sample.groups.items()}
        said, read = made.teacher.tokens(groups, sample.sensor)
        torch.testing.assert_close(made.kept[sample.key][0], said[0], rtol=1e-4, atol=1e-5)
        assert torch.equal(made.kept[sample.key][1], read[0])


def test_a_level_that_the_teacher_does_not_take_is_refused_before_the_first_step(shards: Path, tmp_path: Path) -> None:
    shard_set = ShardSet(shards)
    name = next(iter(shard_set.sensors))
    shard_set.sensors[name] = get_sensor("sentinel2-l2a")
    for more in ({}, {"untaught": "pixels", "pixel_weight": 1.0}):  # nor may no sensor at all be taught
        made = objective(shard_set, tiny_galileo(tmp_path / f"galileo-{len(more)}"), **more)
        with pytest.raises(CheckpointError, match="was pretrained on top-of-atmosphere"):
            prepare_teacher(made, shard_set, shard_set.indices(), 60)


def test_statistics_of_a_snapshot_stay(shards: Path, tmp_path: Path) -> None:
    shard_set = ShardSet(shards)
    made = objective(shard_set, tiny_galileo(tmp_path / "galileo"))
    made.set_statistics(7, torch.full((32,), 3.0), torch.eye(32))
    prepare_teacher(made, shard_set, shard_set.indices()[:2], 60)
    assert int(made.seen) == 7
    assert (made.centre == 3).all()
