import logging

import numpy as np
import pytest

from bandloom.errors import ConfigError, ShardError
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.text.samples import centre_crop, chip_side, sample_roles
from bandloom.model.checkpoint import load_encoder
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.models import encoder
from tests.public_encoder_folders import tiny_galileo


def test_samples_of_one_block_have_one_role(chip_shards):
    shards = ShardSet(chip_shards)
    indices = np.arange(len(shards))
    split, roles = sample_roles(SplitConfig(block_m=600, buffer_m=0), shards, indices)
    assert (roles == TRAIN).any()
    assert (roles == TEST).any()
    by_block: dict[tuple[int, int, int], set[int]] = {}
    for index, role in zip(indices, roles, strict=True):
        entry = shards.entries[int(index)]
        middle_m = (entry.x_m + entry.side_px * 5 + 5, entry.y_m - entry.side_px * 5 - 5)
        if role != 255:
            by_block.setdefault((entry.epsg, int(middle_m[0] // 600), int(middle_m[1] // 600)), set()).add(int(role))
    assert all(len(roles) == 1 for roles in by_block.values())
    assert split.describe()["block_m"] == 600


def test_without_a_size_the_largest_block_that_serves_is_taken(chip_shards):
    shards = ShardSet(chip_shards)
    split, roles = sample_roles(SplitConfig(buffer_m=0), shards, np.arange(len(shards)))
    assert (roles == TEST).sum() >= 8
    assert split.describe()["block_m"] >= 300


def test_a_split_that_leaves_nothing_to_test_with_is_refused(chip_shards):
    shards = ShardSet(chip_shards)
    with pytest.raises(ConfigError, match="samples for training and"):
        sample_roles(SplitConfig(block_m=600), shards, np.arange(1))


def test_the_middle_lies_on_the_60_m_grid():
    groups = {10: np.arange(30 * 30).reshape(1, 30, 30), 60: np.arange(25).reshape(1, 5, 5)}
    cut = centre_crop(groups, 12)
    assert cut[60].tolist() == [[[6, 7], [11, 12]]]
    assert cut[10][0, 0, 0] == 6 * 30 + 6
    assert cut[10].shape == (1, 12, 12)


def test_a_chip_is_what_tokens_tile(chip_shards):
    shards = ShardSet(chip_shards)
    assert chip_side(shards, np.arange(3), encoder()) == 24
    assert chip_side(shards, np.arange(3), encoder(token_m=180)) == 18
    with pytest.raises(ShardError, match="less than a token of 300 m"):
        chip_side(shards, np.arange(3), encoder(token_m=300))


def test_a_chip_is_no_longer_than_a_public_encoder_was_pretrained_on_and_that_is_said(chip_shards, tmp_path, caplog):
    public = load_encoder(tiny_galileo(tmp_path / "galileo"))
    public.family = public.family.model_copy(update={"side_tokens": (1, 3)})
    with caplog.at_level(logging.WARNING):
        assert chip_side(ShardSet(chip_shards), np.arange(3), public) == 18
    assert "of samples of 24 pixels the model sees 18 (the encoder was pretrained on at most 18)" in caplog.text
    assert "--side 18" in caplog.text
