"""What is hidden: the exact share, the same on any rank, and never the only thing there is to see."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.masking import dropped_slots, random_masking
from bandloom.sensors import SLOTS, get_sensor

DRAWS = np.arange(1, 9).astype(np.uint64) * 977


def test_mask_keeps_exactly_a_quarter_of_the_tokens() -> None:
    ids_keep, ids_restore, mask = random_masking(
        DRAWS, torch.ones(8, 144, dtype=torch.bool), ObjectiveConfig(), (12, 12)
    )
    assert ids_keep.shape == (8, 36)
    assert mask.sum(1).tolist() == [108] * 8
    assert torch.equal(ids_restore.sort(1).values, torch.arange(144).expand(8, -1))
    assert not mask.gather(1, ids_keep).any()


def test_a_samples_mask_does_not_depend_on_its_batch() -> None:
    measured = torch.ones(8, 144, dtype=torch.bool)
    whole = random_masking(DRAWS, measured, ObjectiveConfig(), (12, 12))[2]
    part = random_masking(DRAWS[5:6], measured[:1], ObjectiveConfig(), (12, 12))[2]
    assert torch.equal(whole[5:6], part)


def test_tokens_without_a_measured_sample_are_hidden_first() -> None:
    measured = torch.zeros(8, 144, dtype=torch.bool)
    measured[:, 50:90] = True
    ids_keep, _, _ = random_masking(DRAWS, measured, ObjectiveConfig(), (12, 12))
    assert measured.gather(1, ids_keep).all()


@given(st.integers(2, 5), st.floats(0.1, 0.9), st.integers(4, 15), st.integers(4, 15))
def test_blocks_hide_the_same_share(block: int, ratio: float, rows: int, columns: int) -> None:
    objective = ObjectiveConfig(mask_block=block, mask_ratio=ratio)
    measured = torch.ones(1, rows * columns, dtype=torch.bool)
    _, _, mask = random_masking(DRAWS[:1], measured, objective, (rows, columns))
    assert int(mask.sum()) == rows * columns - max(1, round(rows * columns * (1 - ratio)))


def test_blocks_are_hidden_together() -> None:
    objective = ObjectiveConfig(mask_block=4, mask_ratio=0.75)
    _, _, mask = random_masking(DRAWS[:1], torch.ones(1, 144, dtype=torch.bool), objective, (12, 12))
    blocks = mask.reshape(3, 4, 3, 4).float().mean((1, 3))
    assert ((blocks == 0) | (blocks == 1)).sum() >= 8  # the exact count may cut one block


def test_bands_fall_out_for_the_asked_share_of_samples_and_never_all() -> None:
    sensor = get_sensor("sentinel2-l1c")
    draws = np.arange(4000).astype(np.uint64)
    dropped = dropped_slots(draws, sensor, ObjectiveConfig(band_dropout=0.4))
    assert abs(dropped.any(1).float().mean() - 0.38) < 0.04  # a few of the forty percent lose no band by chance
    assert not dropped.all(1).any()
    assert dropped_slots(draws, sensor, ObjectiveConfig(band_dropout=0.0)).sum() == 0


def test_a_sensor_with_few_bands_keeps_at_least_one() -> None:
    sensor = get_sensor("sentinel2-l1c").subset(["B01", "B10"])
    dropped = dropped_slots(np.arange(2000).astype(np.uint64), sensor, ObjectiveConfig(band_dropout=1.0))
    own = [SLOTS.index(slot) for slot in sensor.slots]
    assert not dropped[:, own].all(1).any()
