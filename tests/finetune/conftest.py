"""Real labelled shards, made once for all processes from synthetic scenes, and a pretrained encoder's folder."""

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
from tests.made_once import made_once


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory) -> Path:
    def make(place: Path) -> None:
        write_scenes(place / "data", 2, 240, 5, cloud_fraction=0.0)

    return made_once(tmp_path_factory, "labelled_scenes", make) / "data"


@pytest.fixture(scope="session")
def scene_shards(scenes_folder, tmp_path_factory) -> Path:
    def make(place: Path) -> None:
        labels = {"labels": str(scenes_folder / "labels"), "label_set": str(scenes_folder / "label_set.yaml")}
        build([str(scenes_folder / "scenes")], place / "shards", BuildOptions(side_px=120, **labels))

    return made_once(tmp_path_factory, "scene_shards", make) / "shards"


@pytest.fixture(scope="session")
def chips_folder(tmp_path_factory) -> Path:
    def make(place: Path) -> None:
        write_chips(place / "data", 4, 240, 9, 24)

    return made_once(tmp_path_factory, "labelled_chips", make) / "data"


@pytest.fixture(scope="session")
def chip_shards(chips_folder, tmp_path_factory) -> Path:
    def make(place: Path) -> None:
        options = BuildOptions(side_px=24, class_folders=True, label_set=str(chips_folder / "label_set.yaml"))
        build([str(chips_folder / "chips")], place / "shards", options)

    return made_once(tmp_path_factory, "chip_shards", make) / "shards"


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory, scene_shards) -> Path:
    def make(place: Path) -> None:
        torch.manual_seed(0)  # whatever ran before in this process
        statistics = Statistics.from_mapping(ShardSet(scene_shards).statistics)
        config = EncoderConfig(embed_dim=32, depth=2, num_heads=2)
        save_encoder(place / "checkpoint", Encoder(config, statistics), [S2], {"made_by": "the tests"})

    return made_once(tmp_path_factory, "small_encoder", make) / "checkpoint"
