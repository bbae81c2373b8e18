from dataclasses import replace

import pytest

from bandloom.errors import ConfigError
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.split_choice import make_split, scene_of
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import TEST, BlockSplit, SampleSplit
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2


def test_many_far_scenes_get_larger_blocks_than_one_small_scene():
    one = make_split(SplitConfig(), FakeShards(1, 120), PixelData, S2)
    many = make_split(SplitConfig(), FakeShards(40, 120), PixelData, S2)
    assert isinstance(one, BlockSplit)
    assert isinstance(many, BlockSplit)
    assert one.block_m == 300 < many.block_m


def test_the_side_asked_for_is_the_side_used():
    split = make_split(SplitConfig(block_m=480), FakeShards(2), PixelData, S2)
    assert split == BlockSplit(480, 60)


def test_the_chosen_split_has_labels_for_every_role():
    shards = FakeShards(4, 120)
    PixelData(shards, make_split(SplitConfig(), shards, PixelData, S2), S2).check()


def test_a_random_split_is_warned_of(caplog):
    import logging

    logging.getLogger("bandloom").propagate = True
    split = make_split(SplitConfig(kind="random"), FakeShards(2), PixelData, S2)
    assert "lets the model see its test pixels' neighbours" in caplog.text
    assert split.describe()["kind"] == "random"


@pytest.mark.parametrize("kind", ["scene", "longitude", "time"])
def test_whole_samples_go_by_scene_date_or_longitude(kind):
    shards = FakeShards(10, 24)
    shards.entries = [
        replace(e, key=f"scene{i // 2}_r0000_c{i:04d}", datetime=f"2020-0{i // 2 + 1}")
        for i, e in enumerate(shards.entries)
    ]
    split = make_split(SplitConfig(kind=kind), shards, PixelData, S2)
    assert isinstance(split, SampleSplit)
    assert set(split.role_of.values()) == {0, 1, 2}
    if kind == "longitude":
        assert max(split.role_of, key=lambda key: int(key[-4:])) in [
            key for key, role in split.role_of.items() if role == TEST
        ]
    else:
        assert all(
            split.role_of[f"scene{i}_r0000_c{2 * i:04d}"] == split.role_of[f"scene{i}_r0000_c{2 * i + 1:04d}"]
            for i in range(5)
        )


def test_samples_without_a_date_cannot_be_split_by_time():
    with pytest.raises(ConfigError, match="'s0' has no time"):
        make_split(SplitConfig(kind="time"), FakeShards(3), PixelData, S2)


def test_samples_without_a_place_are_refused_for_blocks():
    shards = FakeShards(2)
    shards.entries = [replace(entry, epsg=None) for entry in shards.entries]
    with pytest.raises(ConfigError, match=r"split\.kind=given, scene or random"):
        make_split(SplitConfig(), shards, PixelData, S2)


def test_one_scene_cannot_be_split_by_scene():
    with pytest.raises(ConfigError, match="finds 1 groups"):
        make_split(SplitConfig(kind="scene"), FakeShards(1), PixelData, S2)


def test_the_scene_of_a_sample_is_its_key_without_the_place():
    assert scene_of("T33UUP_20200604_r0000_c0012") == "T33UUP_20200604"
    assert scene_of("Forest") == "Forest"
