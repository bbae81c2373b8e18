"""Real labelled shards, made once a session from synthetic scenes, and a pretrained encoder's folder."""

from pathlib import Path

import pytest
import torch

from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.chips import write_chips
from bandloom.shards.synth.write import write_scenes
from tests.finetune.models import S2


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "data"
    write_scenes(folder, 2, 240, 5, cloud_fraction=0.0)
    return folder


@pytest.fixture(scope="session")
def scene_shards(scenes_folder) -> Path:
    out = scenes_folder.parent / "shards"
    options = BuildOptions(
        side_px=120, labels=str(scenes_folder / "labels"), label_set=str(scenes_folder / "label_set.yaml")
    )
    build([str(scenes_folder / "scenes")], out, options)
    return out


@pytest.fixture(scope="session")
def chips_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chips") / "data"
    write_chips(folder, 4, 240, 9, 24)
    return folder


@pytest.fixture(scope="session")
def chip_shards(chips_folder) -> Path:
    out = chips_folder.parent / "shards"
    options = BuildOptions(side_px=24, class_folders=True, label_set=str(chips_folder / "label_set.yaml"))
    build([str(chips_folder / "chips")], out, options)
    return out


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory, scene_shards) -> Path:
    torch.manual_seed(0)  # whatever ran before in this process
    folder = tmp_path_factory.mktemp("encoder") / "checkpoint"
    statistics = Statistics.from_mapping(ShardSet(scene_shards).statistics)
    config = EncoderConfig(embed_dim=32, depth=2, num_heads=2)
    save_encoder(folder, Encoder(config, statistics), [S2], {"made_by": "the tests"})
    return folder
